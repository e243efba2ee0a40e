"""What a machine has counted, under the names of kvm_stat, schedstat and cpu.stat; one measurement of it."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from vcpu_env.base.jit import NIL
from vcpu_env.base.world import World
from vcpu_env.build.blueprint import Blueprint
from vcpu_env.build.cgroups import cgroup_changes, cpu_stat
from vcpu_env.engine.alignment import ALIGNMENT_COUNTS
from vcpu_env.kernel.yield_types import yield_stats
from vcpu_env.kvm.types import COUNTERS
from vcpu_env.scenario.model import Run
from vcpu_env.scenario.vm import Vm

VM_TIMES = ("user_ns", "kernel_ns", "spin_ns", "irq_ns", "cold_lost_ns", "smt_lost_ns", "idle_ns", "steal_ns", "run_ns")
VM_COUNTS = ("ipi_reschedule", "ipi_call", "timer_interrupts", "nvcsw", "nivcsw", "calls", "call_wait_ns", "lock_spins")
VM_LOCKS = ("lock_wait_ns", "preempt_in_lock", "preempt_as_waiter")
HOST_TIMES = ("guest_ns", "host_ns", "poll_ns", "idle_ns", "task_ns")
HOST_TASK_COUNTS = ("run_ns", "yields", "wakeups")
TASK_STRUCT_COUNTS = ("run_delay_ns", "nvcsw", "nivcsw", "nr_migrations")
VM_PARAVIRT = ("flushes_deferred",)
SCHEDSTAT = ("yld_count", "sched_count", "sched_goidle", "ttwu_count", "ttwu_local", "rq_cpu_time_ns", "run_delay_ns")


def counters(w: World, plan: Blueprint, now_ns: int) -> dict[str, Any]:
    """Everything counted since time 0 in a world in which all that was under way is booked."""
    clock, rq, vcpu = w["machine_clock"][0], w["rq"], w["kvm_vcpu"]
    yields = w["yield_stats"][0]
    return {
        "time_ns": now_ns,
        "events": int(clock["events"]),
        "decisions": int(w["engine"]["decisions"][0]),
        "vms": [vm_counters(w, plan, i, now_ns) for i in range(len(w["kvm"]))],
        "kvm": {name: int(vcpu[name].sum()) for name in COUNTERS},
        "sched": {name: int(rq[name].sum()) for name in SCHEDSTAT}
        | {
            "nr_switches": int(rq["nr_switches"].sum()),
            "nr_migrations": int(w["task_struct"]["nr_migrations"].sum()),
        },
        "deboost": {name: int(yields[name]) for name in yield_stats.fields},
        "host": {name: int(w["pcpu"][name].sum()) for name in HOST_TIMES},
        "alignment": {name: int(w["alignment"][name][0]) for name in ALIGNMENT_COUNTS},
        **cgroup_counters(w, plan),
        **host_task_counters(w, plan),
    }


def host_task_counters(w: World, plan: Blueprint) -> dict[str, Any]:
    """What the tasks that are no vCPUs have done; nothing if there are none."""
    specs = plan.scenario.expanded_host_tasks
    if not specs:
        return {}
    own, sched = w["host_task"], w["task_struct"][-len(specs) :]
    tasks = [
        {"name": spec.name}
        | {name: int(own[name][h]) for name in HOST_TASK_COUNTS}
        | {name: int(sched[name][h]) for name in TASK_STRUCT_COUNTS}
        for h, spec in enumerate(specs)
    ]
    return {"host_tasks": tasks}


def cgroup_counters(w: World, plan: Blueprint) -> dict[str, Any]:
    """cpu.stat of the task groups; nothing on a host without bandwidth control."""
    if "cfs_bandwidth" not in w.arrays:
        return {}
    return {"cgroups": cpu_stat(w, plan.groups, cgroup_changes(plan.scenario, plan.groups))}


def alive_ns(vm: Vm, start_ns: int, now_ns: int) -> int:
    """For how long a VM has existed so far."""
    until = now_ns if vm.stop_ns is None else min(now_ns, vm.stop_ns)
    return max(0, until - start_ns)


def vm_counters(w: World, plan: Blueprint, vm: int, now_ns: int) -> dict[str, Any]:
    """What one VM has done and lost."""
    spec = plan.scenario.expanded_vms[vm]
    first, count = int(w["kvm"]["first_vcpu"][vm]), int(w["kvm"]["nr_vcpus"][vm])
    vcpus, apics = w["guest_vcpu"][first : first + count], w["lapic"][first : first + count]
    lived_ns = alive_ns(spec, int(w["guest_vm"]["start_ns"][vm]), now_ns)
    return {
        "name": spec.name,
        "workload": spec.workload,
        "work_units": float(w["guest_vm"]["work"][vm]),
        "alive_ns": lived_ns,
        **thread_times(w, plan, range(first, first + count), lived_ns, now_ns),
        "together_ns": int(w["vm_alignment"]["together_ns"][vm]),
        "grace_periods": int(w["grace_period"]["completed"][2 * vm : 2 * vm + 2].sum()),
        **{name: int(vcpus[name].sum()) for name in VM_TIMES + VM_COUNTS + VM_LOCKS + VM_PARAVIRT},
        "lock_wait_log2": w["guest_vm"]["lock_wait_log2"][vm].tolist(),
        **{name: int(apics[name].sum()) for name in ("ipis", "ipi_latency_ns")},
        "ipi_latency_log2": apics["ipi_latency_log2"].sum(axis=0).tolist(),
    }


def thread_times(w: World, plan: Blueprint, vcpus: range, lived_ns: int, now_ns: int) -> dict[str, int]:
    """How the vCPUs' threads have spent their time, as the host's scheduler sees it; together it is all of their life.

    Returns:
        cpu_ns: on a CPU, halt polling and the host kernel's work for it included.
        ready_ns: runnable without one, throttled too: run_delay of schedstat, what is called CPU Ready.
        halted_ns: asleep, or not created yet.
        paused_ns: asleep since their VM is paused, or has not arrived; only where a VM ever is.
    """
    tasks, entities = w["task_struct"][vcpus.start : vcpus.stop], w["sched_entity"][vcpus.start : vcpus.stop]
    running = np.isin(np.arange(vcpus.start, vcpus.stop), w["rq"]["curr"])
    waiting = tasks["last_queued_ns"] != NIL
    cpu_ns = int(entities["sum_exec_runtime_ns"].sum() + (now_ns - entities["exec_start_ns"][running]).sum())
    ready_ns = int(tasks["run_delay_ns"].sum() + (now_ns - tasks["last_queued_ns"][waiting]).sum())
    spent = {"cpu_ns": cpu_ns, "ready_ns": ready_ns}
    if plan.scenario.has_lives:
        guests, stopped = w["guest_vcpu"][vcpus.start : vcpus.stop], w["kvm_vcpu"]["stopped"][vcpus.start : vcpus.stop]
        now = (now_ns - guests["sched_out_ns"][stopped != 0]).sum()
        spent["paused_ns"] = int(guests["paused_ns"].sum() + now)
    return spent | {"halted_ns": len(vcpus) * lived_ns - sum(spent.values())}


class Runs(Protocol):
    """What can be measured: a machine."""

    def run_until(self, end_ns: int) -> object:
        """Run up to a simulated time."""

    def counters(self) -> dict[str, Any]:
        """Everything counted since time 0."""


def difference(after: Any, before: Any) -> Any:
    """`after` - `before` in every number of two equally shaped trees of counters; text stays."""
    if isinstance(after, Mapping):
        return {name: difference(value, before[name]) for name, value in after.items()}
    if isinstance(after, list | tuple):
        return [difference(*pair) for pair in zip(after, before, strict=True)]
    if isinstance(after, str):
        return after
    change = after - before
    return change.item() if hasattr(change, "item") else change


def measure(machine: Runs, run: Run) -> dict[str, Any]:
    """Run a machine that is at time 0 and return the counters of the measured time.

    Args:
        machine: a `vcpu_env.machine.Machine`, or what runs as one.
        run: how long it warms up, and is measured: the scenario's `run`.

    Example:
        >>> from vcpu_env import Machine, apply_overrides, load_scenario, measure
        >>> short = ["run.warmup_ns=1_000_000", "run.duration_ns=1_000_000"]
        >>> scenario = apply_overrides(load_scenario("dedup-1vm-2vcpu"), short)
        >>> measure(Machine(scenario), scenario.run)["time_ns"]
        1000000
    """
    machine.run_until(run.warmup_ns)
    before = machine.counters()
    machine.run_until(run.warmup_ns + run.duration_ns)
    return difference(machine.counters(), before)
