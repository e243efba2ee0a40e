"""Scheduler events of a simulated host as an array, as tracing sched_switch and sched_wakeup would give them."""

import numpy as np

from vcpu_env.base.jit import NIL
from vcpu_env.base.trace_ring import SCHED, SCHED_SWITCH, SCHED_WAKING
from vcpu_env.machine import Machine
from vcpu_env.scenario.model import Scenario

SWITCH, WAKEUP = range(2)
SCHED_EVENT = np.dtype(
    [(name, "i8") for name in ("time_ns", "cpu", "event", "prev_pid", "prev_state", "next_pid")], align=True
)

STEP_NS = 1_000_000
RING = 1 << 14
"""Events that a step may have; a CPU has one in tens of nanoseconds at most."""


def pids(scenario: Scenario) -> list[str]:
    """Names of all tasks of a scenario; a task's pid is its place: host tasks as expanded, then vCPUs as ``vm/0``."""
    vcpus = [f"{vm.name}/{i}" for vm in scenario.expanded_vms for i in range(vm.vcpus)]
    return [task.name for task in scenario.expanded_host_tasks] + vcpus


def simulate_tasks(scenario: Scenario, duration_ns: int, seed: int = 0, policy: str = "stock") -> np.ndarray:
    """Run a scenario from time 0 and return every switch and wake-up of its tasks, in order.

    Args:
        scenario: may have host tasks only, VMs only, or both.
        duration_ns: simulated time.

    Returns:
        An array of `SCHED_EVENT`s: time_ns, cpu, event (0 a switch, 1 a wake-up, a fork's too), prev_pid, prev_state (0
        runnable, 1 sleeps or has ended), next_pid. Pids are places in `pids(scenario)`, -1 is the idle task; a wake-up
        has the task that wakes in next_pid, and -1 in prev_pid. Between switches to and from a task it has the CPU;
        that includes the host kernel's work for it.

    Raises:
        ValueError: duration or seed out of range, or more events in a millisecond than can be kept.
    """
    if duration_ns < 0:
        raise ValueError(f"duration_ns: value {duration_ns} (allowed: integer >= 0)")
    machine = Machine(scenario, policy, seed, trace_events=RING, traced=SCHED)
    records, ring = machine.world["trace_record"], machine.world["trace_ring"]
    parts = []
    for now_ns in [*range(0, duration_ns, STEP_NS), duration_ns]:
        machine.run_until(now_ns)
        written = ring["written"][0]
        if written > RING:
            raise ValueError(f"duration_ns: more than {RING} events before {now_ns} ns (allowed: costs above 0)")
        parts.append(sched_events(records[:written]))
        ring["written"] = 0
    events = np.concatenate(parts)
    nr_vcpus = len(machine.world["kvm_vcpu"])
    nr_host_tasks = len(scenario.expanded_host_tasks)
    for field in ("prev_pid", "next_pid"):
        task = events[field]
        events[field] = np.where(task < 0, task, np.where(task < nr_vcpus, task + nr_host_tasks, task - nr_vcpus))
    return events


def sched_events(records: np.ndarray) -> np.ndarray:
    """The switches and wake-ups among a machine's records."""
    records = records[(records["kind"] == SCHED_SWITCH) | (records["kind"] == SCHED_WAKING)]
    switch = records["kind"] == SCHED_SWITCH
    events = np.empty(len(records), SCHED_EVENT)
    events["time_ns"], events["cpu"], events["event"] = records["time_ns"], records["cpu"], ~switch
    events["prev_pid"] = np.where(switch, records["who"], NIL)
    events["prev_state"] = np.where(switch, records["b"], 0)
    events["next_pid"] = np.where(switch, records["a"], records["who"])
    return events
