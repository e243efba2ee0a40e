"""The façade: a machine built from a scenario and a policy, run for as long as asked, read, copied."""

from typing import Any

import numpy as np

from vcpu_env.build import build_world
from vcpu_env.engine import run_until, settle, start_tasks
from vcpu_env.engine_state import YIELD_STATS
from vcpu_env.kvm.types import COUNTERS
from vcpu_env.policy.named import Policy, policy_named
from vcpu_env.scenario.model import Scenario

CONTROLS = {
    "vcpu_debooster_enabled": ("deboost_params", 2**31 - 1),
    "ipi_tracking_enabled": ("kvm_params", 1),
    "ipi_window_ns": ("kvm_params", 2**62),
    "enable_relaxed_boost": ("kvm_params", 1),
}
"""The series' run-time controls under their kernel names: the struct each is in, and its largest value."""

VM_TIMES = ("user_ns", "kernel_ns", "spin_ns", "irq_ns", "cold_lost_ns", "idle_ns", "steal_ns", "run_ns")
VM_COUNTS = ("ipi_reschedule", "ipi_call", "timer_interrupts", "nvcsw", "nivcsw", "calls", "call_wait_ns", "lock_spins")
VM_LOCKS = ("lock_wait_ns", "preempt_in_lock", "preempt_as_waiter")
SCHEDSTAT = ("yld_count", "sched_count", "sched_goidle", "ttwu_count", "ttwu_local", "rq_cpu_time_ns", "run_delay_ns")


class Machine:
    """A simulated host with its VMs.

    Args:
        scenario: what the host and its VMs are.
        policy: a policy or the name of one (`vcpu_env.policy.named.POLICIES`).
        seed: of all randomness; the same seed gives the same run, bit for bit.

    Raises:
        ValueError: unknown policy, workload or workload parameter, or a seed outside 0..2**31-1.
    """

    def __init__(self, scenario: Scenario, policy: Policy | str = "stock", seed: int = 0):
        if not 0 <= seed < 2**31:
            raise ValueError(f"seed: value {seed} (allowed: 0..{2**31 - 1})")
        self.scenario = scenario
        self.policy = policy_named(policy) if isinstance(policy, str) else policy
        self.seed = seed
        with np.errstate(over="ignore"):
            self.world = build_world(scenario, self.policy, seed)
            start_tasks(self.world.handle, len(self.world["task_struct"]))

    @property
    def now_ns(self) -> int:
        """Simulated time."""
        return int(self.world["machine_clock"]["now_ns"][0])

    def run_until(self, end_ns: int) -> None:
        """Run up to and including the absolute simulated time `end_ns`."""
        with np.errstate(over="ignore"):
            run_until(self.world.handle, end_ns)

    def set_control(self, name: str, value: int) -> None:
        """Change one of the series' run-time controls, as an administrator would during a run.

        Raises:
            ValueError: no such control, or a value that it can't have.
        """
        if name not in CONTROLS:
            raise ValueError(f"control: value '{name}' (allowed: {', '.join(CONTROLS)})")
        struct, largest = CONTROLS[name]
        if not 0 <= value <= largest:
            raise ValueError(f"{name}: value {value} (allowed: 0..{largest})")
        self.world[struct][name] = value

    def fork(self) -> "Machine":
        """An independent machine in the same state, with the same future."""
        other = object.__new__(Machine)
        other.scenario, other.policy, other.seed = self.scenario, self.policy, self.seed
        other.world = self.world.copy()
        return other

    def counters(self) -> dict[str, Any]:
        """Everything counted since time 0, under the names of kvm_stat and schedstat where these have one."""
        settle(self.world.handle, self.now_ns)
        w = self.world
        clock, rq, vcpu = w["machine_clock"][0], w["rq"], w["kvm_vcpu"]
        yields = w["yield_stats"][0]
        return {
            "time_ns": self.now_ns,
            "events": int(clock["events"]),
            "decisions": int(w["engine"]["decisions"][0]),
            "vms": [self._vm_counters(i) for i in range(len(w["kvm"]))],
            "kvm": {name: int(vcpu[name].sum()) for name in COUNTERS},
            "sched": {name: int(rq[name].sum()) for name in SCHEDSTAT}
            | {
                "nr_switches": int(rq["nr_switches"].sum()),
                "nr_migrations": int(w["task_struct"]["nr_migrations"].sum()),
            },
            "deboost": {name: int(yields[name]) for name in YIELD_STATS.names or ()},
            "host": {name: int(w["pcpu"][name].sum()) for name in ("guest_ns", "host_ns", "poll_ns", "idle_ns")},
        }

    def _vm_counters(self, vm: int) -> dict[str, Any]:
        w = self.world
        spec = self.scenario.expanded_vms[vm]
        first, count = int(w["kvm"]["first_vcpu"][vm]), int(w["kvm"]["nr_vcpus"][vm])
        vcpus = w["guest_vcpu"][first : first + count]
        return {
            "name": spec.name,
            "workload": spec.workload,
            "vcpus": spec.vcpus,
            "work_units": float(w["guest_vm"]["work"][vm]),
            **{name: int(vcpus[name].sum()) for name in VM_TIMES + VM_COUNTS + VM_LOCKS},
        }
