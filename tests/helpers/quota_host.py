"""A host without guests whose groups have quotas: ticks and timers, and tasks that never leave user mode for long."""

from collections.abc import Sequence

from tests.helpers.invariants import check_throttling
from tests.helpers.smp_driver import Host
from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.timeline import event, init_timeline, next_slot, timeline_arrays
from vcpu_env.base.world import World
from vcpu_env.kernel.bandwidth import RUNTIME_INF, Bandwidth
from vcpu_env.kernel.build import Group, Task, Tunables, build_kernel
from vcpu_env.kernel.cgroup import Change, cgroup_arrays, cgroup_event, cgroup_slots, init_cgroups
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.core import (
    flush_smp_call_function_queue,
    pop_kicked,
    sched_tick,
    schedule,
    try_to_wake_up,
    wake_up_new_task,
)
from vcpu_env.kernel.throttle import cfsb_csd_unthrottle, tg_set_cfs_bandwidth, throttle_cfs_rq_work
from vcpu_env.kernel.types import CSD_UNTHROTTLE, TASK_INTERRUPTIBLE, cpu_rq, kernel_arrays, sched_tunables, task_struct

MSEC = 1_000_000


@kjit
def back_to_user(w, now_ns):
    """Every CPU that was asked to reschedules; then its task, and the one after it, do their work and leave or run."""
    cpu = pop_kicked(w)
    while cpu != NIL:
        update_rq_clock(w, cpu, now_ns)
        if cpu_rq(w, cpu).csd_pending & CSD_UNTHROTTLE:
            cfsb_csd_unthrottle(w, cpu, now_ns)
        flush_smp_call_function_queue(w, cpu)
        if cpu_rq(w, cpu).need_resched:
            schedule(w, cpu)
        p = cpu_rq(w, cpu).curr
        while p != NIL and task_struct(w, p).exit_work and throttle_cfs_rq_work(w, p):
            p = schedule(w, cpu)
        cpu = pop_kicked(w)


@kjit
def run_until(w, now_ns, end_ns):
    """Let ticks and timers up to `end_ns` happen, at equal times the ticks first."""
    tun = sched_tunables(w)
    while True:
        tick_ns = (now_ns // tun.tick_ns + 1) * tun.tick_ns
        slot = next_slot(w)
        when_ns = event(w, slot).when_ns
        if min(tick_ns, when_ns) > end_ns:
            return
        if when_ns < tick_ns:
            cgroup_event(w, slot, when_ns)
            back_to_user(w, when_ns)
            continue
        now_ns = tick_ns
        for cpu in range(tun.nr_cpus):
            update_rq_clock(w, cpu, now_ns)
            if cpu_rq(w, cpu).curr != NIL:
                sched_tick(w, cpu)
            back_to_user(w, now_ns)


@kjit
def start_task(w, p):
    """Fork a task on its CPU, now."""
    wake_up_new_task(w, p, task_struct(w, p).cpu)
    back_to_user(w, cpu_rq(w, task_struct(w, p).cpu).clock_ns)


@kjit
def wake_task(w, p, waker_cpu, now_ns):
    """Wake a task."""
    update_rq_clock(w, waker_cpu, now_ns)
    try_to_wake_up(w, p, waker_cpu, 0)
    back_to_user(w, now_ns)


@kjit
def block_task(w, p, now_ns):
    """The running task sleeps."""
    cpu = task_struct(w, p).cpu
    update_rq_clock(w, cpu, now_ns)
    task_struct(w, p).state = TASK_INTERRUPTIBLE
    schedule(w, cpu)
    p = cpu_rq(w, cpu).curr
    while p != NIL and task_struct(w, p).exit_work and throttle_cfs_rq_work(w, p):
        p = schedule(w, cpu)
    back_to_user(w, now_ns)


class QuotaHost(Host):
    """A kernel with bandwidth control, and the time in ms. Tasks stay where they are put.

    Args:
        tasks: each is a pair (group, CPU).
        phases_ms: when each group's first period ends; the default is a full period.
    """

    def __init__(
        self,
        nr_cpus: int,
        tasks: Sequence[tuple[int, int]],
        groups: Sequence[Group],
        phases_ms: Sequence[float] | None = None,
        changes: Sequence[Change] = (),
        **tunables,
    ):
        nr_groups = len(groups)
        self.world = World(
            [
                *kernel_arrays(nr_cpus, len(tasks), nr_groups),
                *timeline_arrays(cgroup_slots(nr_groups, len(changes))),
                *cgroup_arrays(nr_cpus, nr_groups, len(changes)),
            ]
        )
        build_kernel(self.world, nr_cpus, [Task(tg, cpu=cpu) for tg, cpu in tasks], groups, Tunables(**tunables))
        init_timeline(self.world)
        limits = [group.bandwidth for group in groups]
        phases = [limit.period_ns for limit in limits] if phases_ms is None else [round(p * MSEC) for p in phases_ms]
        init_cgroups(self.world, limits, phases, changes, 0)
        self.w, self.nr_cpus, self.now_ns = self.world.handle, nr_cpus, 0
        for p, (_, cpu) in enumerate(tasks):
            self.pin(p, cpu)

    def start(self, *tasks: int) -> None:
        for p in tasks:
            update_rq_clock(self.w, self.cpu_of(p), self.now_ns)
            start_task(self.w, p)

    def run_to(self, ms: float) -> None:
        """Let time pass up to and including `ms`."""
        end_ns = round(ms * MSEC)
        run_until(self.w, self.now_ns, end_ns)
        self.now_ns = end_ns

    def sleep(self, p: int) -> None:
        assert self["rq"]["curr"][self.cpu_of(p)] == p
        block_task(self.w, p, self.now_ns)

    def wake(self, p: int, waker_cpu: int = 0, flags: int = 0) -> None:
        wake_task(self.w, p, waker_cpu, self.now_ns)

    def set_bandwidth(self, tg: int, quota_ns: int, period_ms: int = 100) -> None:
        """Write cpu.max."""
        tg_set_cfs_bandwidth(self.w, tg, quota_ns, period_ms * MSEC, 0, 0, self.now_ns)
        back_to_user(self.w, self.now_ns)

    def pool(self, tg: int):
        return self["cfs_bandwidth"][tg]

    def queue(self, tg: int, cpu: int = 0):
        return self["cfs_rq_bandwidth"][tg * self.nr_cpus + cpu]

    def throttle_count(self, tg: int, cpu: int = 0) -> int:
        return int(self["cfs_rq"]["throttle_count"][tg * self.nr_cpus + cpu])

    def in_limbo(self, p: int) -> bool:
        return bool(self["task_struct"]["on_rq"][p] and not self["sched_entity"]["on_rq"][p])

    def usage_ns(self, tg: int) -> int:
        """Run time of a group on all CPUs, up to the last time that it was charged."""
        first = len(self["task_struct"]) + (tg - 1) * self.nr_cpus
        return int(self["sched_entity"]["sum_exec_runtime_ns"][first : first + self.nr_cpus].sum())


def group(quota_ms: float = 0, period_ms: float = 100, burst_ms: float = 0, parent: int = 0) -> Group:
    quota_ns = round(quota_ms * MSEC) if quota_ms else RUNTIME_INF
    return Group(parent, bandwidth=Bandwidth(quota_ns, round(period_ms * MSEC), round(burst_ms * MSEC)))


def spans(host: QuotaHost, end_ms: int, cpu: int = 0) -> list[tuple[int, int]]:
    """From when to when a CPU is busy, in whole ms, up to `end_ms`."""
    found, since = [], None
    for ms in range(round(host.now_ns / MSEC), end_ms + 1):
        host.run_to(ms)
        check_throttling(host.world)
        busy = host.running()[cpu] != NIL
        if busy and since is None:
            since = ms
        if since is not None and (not busy or ms == end_ms):
            found.append((since, ms))
            since = None
    return found
