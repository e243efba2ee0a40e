"""A host without guests whose groups have quotas: ticks and timers, and tasks that never leave user mode for long."""

from collections.abc import Sequence

from tests.helpers.smp_driver import Host
from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.timeline import event, init_timeline, next_slot, timeline_arrays
from vcpu_env.base.world import World
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
        while p != NIL and task_struct(w, p).throttle_work and throttle_cfs_rq_work(w, p):
            p = schedule(w, cpu)
        cpu = pop_kicked(w)


@kjit
def run_until(w, now_ns, end_ns):
    """Let ticks and timers up to `end_ns` happen, at equal times the ticks first."""
    tun = sched_tunables(w, 0)
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
    while p != NIL and task_struct(w, p).throttle_work and throttle_cfs_rq_work(w, p):
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


def throttled_levels(world, q: int) -> int:
    """How many of a queue and those above it on its CPU are throttled."""
    tg, cpu = divmod(q, len(world["rq"]))
    levels = 0
    while tg != NIL:
        levels += int(world["cfs_rq_bandwidth"]["throttled"][tg * len(world["rq"]) + cpu])
        tg = int(world["task_group"]["parent"][tg])
    return levels


def check_limbo(world, q: int, levels: int) -> list[int]:
    """The tasks in a queue's limbo list: runnable, not queued, below a throttled queue."""
    limbo, p = [], int(world["cfs_rq_bandwidth"]["throttled_limbo"][q])
    while p != NIL:
        assert levels > 0 and p not in limbo
        assert world["sched_entity"]["cfs_rq"][p] == q
        assert not world["sched_entity"]["on_rq"][p] and not world["sched_entity"]["sched_delayed"][p]
        limbo.append(p)
        p = int(world["task_struct"]["throttle_next"][p])
    return limbo


def check_throttled_list(world, tg: int) -> None:
    """A group's list holds its throttled queues, each once, and can be walked both ways."""
    queues, pool, nr_cpus = world["cfs_rq_bandwidth"], world["cfs_bandwidth"][tg], len(world["rq"])
    listed, before, q = [], NIL, int(pool["throttled_head"])
    while q != NIL:
        assert queues["throttled_prev"][q] == before
        listed.append(q)
        before, q = q, int(queues["throttled_next"][q])
    assert pool["throttled_tail"] == before
    assert sorted(listed) == [q for q in range(tg * nr_cpus, (tg + 1) * nr_cpus) if queues["throttled"][q]]
    assert pool["runtime_ns"] >= 0


def check_throttling(world) -> None:
    """What must hold of bandwidth control after every event."""
    queues, cfs = world["cfs_rq_bandwidth"], world["cfs_rq"]
    limbo: list[int] = []
    for q, queue in enumerate(queues):
        levels = throttled_levels(world, q)
        assert cfs["throttle_count"][q] == levels
        assert queue["pelt_clock_throttled"] == (levels > 0 and cfs["nr_queued"][q] == 0)
        if queue["throttled"]:
            assert cfs["runtime_enabled"][q] and (queue["runtime_remaining_ns"] <= 0 or queue["csd_queued"])
        limbo += check_limbo(world, q, levels)
    unqueued = (world["task_struct"]["on_rq"] != 0) & (world["sched_entity"]["on_rq"][: len(world["task_struct"])] == 0)
    assert sorted(limbo) == [p for p, yes in enumerate(unqueued) if yes]
    for tg in range(1, len(world["cfs_bandwidth"])):
        check_throttled_list(world, tg)
