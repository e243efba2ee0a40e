"""A host without guests: ticks on all CPUs, and the few operations that tests of the many-CPU scheduler need."""

from collections.abc import Sequence

import numpy as np

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.world import World
from vcpu_env.kernel.build import Group, Task, Tunables, build_kernel
from vcpu_env.kernel.core import (
    block_task,
    flush_smp_call_function_queue,
    pop_kicked,
    sched_tick,
    sched_yield,
    schedule,
    try_to_wake_up,
    update_rq_clock,
    wake_up_new_task,
)
from vcpu_env.kernel.rt_types import rt_arrays
from vcpu_env.kernel.topology import Cpu, domains_of
from vcpu_env.kernel.types import TASK_INTERRUPTIBLE, cpu_rq, kernel_arrays, sched_tunables
from vcpu_env.scenario.topology import parse_topology


@kjit
def reschedule_kicked(w, now_ns):
    """Every CPU that was asked to reschedules at once."""
    cpu = pop_kicked(w)
    while cpu != NIL:
        update_rq_clock(w, cpu, now_ns)
        flush_smp_call_function_queue(w, cpu)
        if cpu_rq(w, cpu).need_resched:
            schedule(w, cpu)
        cpu = pop_kicked(w)


@kjit
def run_ticks(w, now_ns, ticks):
    """Let ticks happen on all CPUs that are not idle; returns the time of the last one."""
    tun = sched_tunables(w)
    for _ in range(ticks):
        now_ns += tun.tick_ns
        for cpu in range(tun.nr_cpus):
            update_rq_clock(w, cpu, now_ns)
            if cpu_rq(w, cpu).curr != NIL:
                sched_tick(w, cpu)
            reschedule_kicked(w, now_ns)
    return now_ns


class Host:
    """A kernel, and the time."""

    def __init__(
        self,
        nr_cpus: int,
        tasks: list[Task],
        groups: Sequence[Group] = (),
        features=None,
        topology=None,
        cpus=None,
        **tunables,
    ):
        cpus = cpus or [Cpu(*place) for place in parse_topology(topology or f"{nr_cpus}c")]
        domains = domains_of(cpus)
        shape = len(domains.levels), domains.nr_llcs
        real_time = any(task.priority for task in tasks)
        arrays = kernel_arrays(nr_cpus, len(tasks), len(groups), *shape)
        self.world = World(arrays + (rt_arrays(nr_cpus, len(tasks)) if real_time else []))
        build_kernel(self.world, nr_cpus, tasks, groups, Tunables(**tunables), features, cpus)
        self.w, self.nr_cpus, self.now_ns = self.world.handle, nr_cpus, 0

    def __getitem__(self, name: str) -> np.ndarray:
        return self.world[name]

    def pin(self, p: int, cpu: int) -> None:
        self["task_struct"]["cpus_allowed"][p] = [1 << cpu, 0, 0, 0]

    def start(self, *tasks: int) -> None:
        """Fork tasks on the CPUs where they were placed."""
        for p in tasks:
            cpu = int(self["task_struct"]["cpu"][p])
            update_rq_clock(self.w, cpu, self.now_ns)
            wake_up_new_task(self.w, p, cpu)
            reschedule_kicked(self.w, self.now_ns)

    def run(self, ticks: int) -> None:
        self.now_ns = int(run_ticks(self.w, self.now_ns, ticks))

    def sleep(self, p: int) -> None:
        """The running task `p` blocks."""
        cpu = int(self["task_struct"]["cpu"][p])
        assert self["rq"]["curr"][cpu] == p
        update_rq_clock(self.w, cpu, self.now_ns)
        block_task(self.w, cpu, TASK_INTERRUPTIBLE)
        reschedule_kicked(self.w, self.now_ns)

    def wake(self, p: int, waker_cpu: int, flags: int = 0) -> None:
        update_rq_clock(self.w, waker_cpu, self.now_ns)
        try_to_wake_up(self.w, p, waker_cpu, flags)
        reschedule_kicked(self.w, self.now_ns)

    def yield_(self, p: int) -> None:
        """The running task `p` calls sched_yield()."""
        cpu = self.cpu_of(p)
        assert self["rq"]["curr"][cpu] == p
        update_rq_clock(self.w, cpu, self.now_ns)
        sched_yield(self.w, cpu)
        schedule(self.w, cpu)
        reschedule_kicked(self.w, self.now_ns)

    def cpu_of(self, p: int) -> int:
        return int(self["task_struct"]["cpu"][p])

    def running(self) -> list[int]:
        return self["rq"]["curr"].tolist()

    def service_ns(self) -> np.ndarray:
        return self["sched_entity"]["sum_exec_runtime_ns"].copy()
