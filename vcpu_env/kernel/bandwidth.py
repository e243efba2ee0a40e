"""CFS bandwidth control (cpu.max): a group's pool of run time, what its queues draw from it, and their throttling.

A group with a quota has a pool that is filled once a period. Its queue on each CPU draws 5 ms at a time and is charged
for what runs below it. A queue that has run out, and cannot draw, is *throttled*: so far only a mark on it and on all
queues below. Its tasks stay queued; each leaves when it has been picked and is about to enter the guest (`throttle`). Nothing
here happens to groups without quota; a world without any quota does not even have these arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vcpu_env.base.jit import NIL, entry_point, kjit
from vcpu_env.base.structs import Struct, StructArray
from vcpu_env.base.timeline import set_event
from vcpu_env.kernel.sched_trace import trace_cfs_throttle
from vcpu_env.kernel.types import cfs_rq, cpu_rq, sched_entity, sched_tunables, task_group, task_struct

RUNTIME_INF = -1
"""Quota of a group that has none."""

DEFAULT_PERIOD_NS = 100_000_000
SCHED_CFS_BANDWIDTH_SLICE_NS = 5_000_000
MIN_CFS_RQ_RUNTIME_NS = 1_000_000
MIN_BANDWIDTH_EXPIRATION_NS = 2_000_000
CFS_BANDWIDTH_SLACK_PERIOD_NS = 5_000_000
MAX_BW_QUOTA_PERIOD_NS = 1_000_000_000
MAX_PERIODS_AT_ONCE = 3
"""A period timer that finds more of them over before it is done makes the period longer."""

cfs_bandwidth = Struct(
    "cfs_bandwidth",
    [
        ("quota_ns", "i8"),  # RUNTIME_INF: none
        ("period_ns", "i8"),
        ("burst_ns", "i8"),
        ("runtime_ns", "i8"),  # what is left in the pool
        ("runtime_snap_ns", "i8"),  # what was in it after the last refill
        ("idle", "i8"),  # nothing drawn in this period so far
        ("period_active", "i8"),
        ("slack_started", "i8"),
        ("period_expires_ns", "i8"),
        ("period_timer", "i8"),  # slots on the timeline
        ("slack_timer", "i8"),
        ("period_cpu", "i8"),  # the CPUs that have started them, and serve them
        ("slack_cpu", "i8"),
        ("throttled_head", "i8"),  # the group's throttled queues, longest throttled first
        ("throttled_tail", "i8"),
        ("first_child", "i8"),  # of the groups: the youngest child first, as in task_group.children
        ("next_sibling", "i8"),
        ("nr_periods", "i8"),
        ("nr_throttled", "i8"),
        ("throttled_time_ns", "i8"),
        ("nr_burst", "i8"),
        ("burst_time_ns", "i8"),
        ("nr_scaled", "i8"),  # how often the period was too short for the timer's work, and has been doubled
    ],
)

cfs_rq_bandwidth = Struct(
    "cfs_rq_bandwidth",
    [
        ("runtime_remaining_ns", "i8"),
        ("throttled", "i8"),
        ("throttled_next", "i8"),
        ("throttled_prev", "i8"),
        ("csd_queued", "i8"),  # its CPU has been asked to unthrottle it
        ("csd_next", "i8"),
        ("throttled_limbo", "i8"),  # the last task that left, the head of a list; NIL
        ("throttled_clock_ns", "i8"),  # since when a task below is kept from running; NIL
        ("pelt_clock_throttled", "i8"),
        ("throttled_clock_pelt_ns", "i8"),  # where the queue's load tracking stands still
        ("throttled_clock_pelt_time_ns", "i8"),  # for how long it has stood still, in all
    ],
)

rq_bandwidth = Struct("rq_bandwidth", [("cfsb_csd_head", "i8"), ("cfsb_csd_tail", "i8")])
"""The queues that a CPU has been asked to unthrottle."""


@dataclass(frozen=True)
class Bandwidth:
    """A group's cpu.max and cpu.max.burst."""

    quota_ns: int = RUNTIME_INF
    period_ns: int = DEFAULT_PERIOD_NS
    burst_ns: int = 0


def bandwidth_arrays(nr_cpus: int, nr_groups: int) -> list[StructArray]:
    """The struct arrays of bandwidth control; `nr_groups` does not count the root group."""
    return [
        cfs_bandwidth.array(nr_groups + 1),
        cfs_rq_bandwidth.array((nr_groups + 1) * nr_cpus),
        rq_bandwidth.array(nr_cpus),
    ]


def bandwidth_slots(nr_groups: int) -> int:
    """How many slots of the timeline the groups' timers need: first all period timers, then all slack timers."""
    return 2 * (nr_groups + 1)


def init_bandwidth(world, limits: Sequence[Bandwidth], phases_ns: Sequence[int], first_slot: int) -> None:
    """init_cfs_bandwidth(), tg_set_cfs_bandwidth() at time 0; `limits` are those of the groups from 1 on.

    Args:
        world: laid out and built, with no task started.
        limits: cpu.max of each group.
        phases_ns: when each group's first period ends.
        first_slot: on the timeline, of `bandwidth_slots` slots.
    """
    pools, queues, cfs = world["cfs_bandwidth"], world["cfs_rq_bandwidth"], world["cfs_rq"]
    nr_cpus = len(world["rq"])
    pools["quota_ns"], pools["period_ns"] = RUNTIME_INF, DEFAULT_PERIOD_NS
    pools["period_timer"] = first_slot + np.arange(len(pools))
    pools["slack_timer"] = pools["period_timer"] + len(pools)
    for field in ("throttled_head", "throttled_tail", "first_child", "next_sibling"):
        pools[field] = NIL
    for field in ("throttled_next", "throttled_prev", "throttled_limbo", "throttled_clock_ns", "csd_next"):
        queues[field] = NIL
    world["rq_bandwidth"]["cfsb_csd_head"] = world["rq_bandwidth"]["cfsb_csd_tail"] = NIL
    world["task_struct"]["throttle_next"] = NIL
    world["sched_tunables"]["cfs_bandwidth_used"] = 1
    for tg, (limit, phase_ns) in enumerate(zip(limits, phases_ns, strict=True), start=1):
        pool, parent = pools[tg], pools[world["task_group"]["parent"][tg]]
        pool["next_sibling"], parent["first_child"] = parent["first_child"], tg
        pool["period_expires_ns"] = phase_ns
        pool["quota_ns"], pool["period_ns"], pool["burst_ns"] = limit.quota_ns, limit.period_ns, limit.burst_ns
        if limit.quota_ns != RUNTIME_INF:
            pool["runtime_ns"] = pool["runtime_snap_ns"] = limit.quota_ns
            own = slice(tg * nr_cpus, (tg + 1) * nr_cpus)
            cfs["runtime_enabled"][own], queues["runtime_remaining_ns"][own] = 1, 1
            start_cfs_bandwidth(world.handle, tg, 0, 0)


# Load tracking stands still on a queue that is empty because its tasks have been taken away


@kjit
def pelt_clock(w, q, now_ns):
    """pelt.h: cfs_rq_clock_pelt(), at the CPU's time `now_ns`."""
    if not sched_tunables(w).cfs_bandwidth_used:
        return now_ns
    queue = cfs_rq_bandwidth(w, q)
    if queue.pelt_clock_throttled:
        now_ns = queue.throttled_clock_pelt_ns
    return now_ns - queue.throttled_clock_pelt_time_ns


@kjit
def cfs_rq_clock_pelt(w, q):
    """pelt.h: cfs_rq_clock_pelt(). The time by which a queue's load is tracked."""
    return pelt_clock(w, q, cpu_rq(w, cfs_rq(w, q).cpu).clock_ns)


@kjit
def stop_pelt_clock(w, q):
    """fair.c: tg_throttle_down(), dequeue_entity(). A throttled queue is empty: its load stays what it is."""
    queue = cfs_rq_bandwidth(w, q)
    cfs_rq(w, q).on_list = 0
    queue.throttled_clock_pelt_ns = cpu_rq(w, cfs_rq(w, q).cpu).clock_ns
    queue.pelt_clock_throttled = 1


@kjit
def start_pelt_clock(w, q):
    """fair.c: tg_unthrottle_up(), enqueue_entity(). A queue's load is tracked again, if it was not."""
    queue = cfs_rq_bandwidth(w, q)
    if queue.pelt_clock_throttled:
        stood_ns = cpu_rq(w, cfs_rq(w, q).cpu).clock_ns - queue.throttled_clock_pelt_ns
        queue.throttled_clock_pelt_time_ns += stood_ns
        queue.pelt_clock_throttled = 0


# The pool


@kjit
def start_cfs_bandwidth(w, tg, cpu, now_ns):
    """fair.c: start_cfs_bandwidth(). Let a group's periods go on, in the phase that they have always had."""
    pool = cfs_bandwidth(w, tg)
    if pool.period_active:
        return
    pool.period_active, pool.period_cpu = 1, cpu
    late_ns = now_ns - pool.period_expires_ns
    if late_ns >= 0:
        pool.period_expires_ns += (late_ns // pool.period_ns + 1) * pool.period_ns
    set_event(w, pool.period_timer, pool.period_expires_ns)


@kjit
def refill_cfs_bandwidth_runtime(w, tg):
    """fair.c: __refill_cfs_bandwidth_runtime(). A quota more, up to quota and burst together."""
    pool = cfs_bandwidth(w, tg)
    if pool.quota_ns == RUNTIME_INF:
        return
    pool.runtime_ns += pool.quota_ns
    burst_ns = pool.runtime_snap_ns - pool.runtime_ns
    if burst_ns > 0:
        pool.burst_time_ns += burst_ns
        pool.nr_burst += 1
    pool.runtime_ns = min(pool.runtime_ns, pool.quota_ns + pool.burst_ns)
    pool.runtime_snap_ns = pool.runtime_ns


@kjit
def assign_cfs_rq_runtime(w, q, target_ns):
    """fair.c: __assign_cfs_rq_runtime(). Draw from the pool up to `target_ns`; returns whether any time is left."""
    cfs, queue = cfs_rq(w, q), cfs_rq_bandwidth(w, q)
    pool = cfs_bandwidth(w, cfs.tg)
    amount = target_ns - queue.runtime_remaining_ns
    if pool.quota_ns != RUNTIME_INF:
        start_cfs_bandwidth(w, cfs.tg, cfs.cpu, cpu_rq(w, cfs.cpu).clock_ns)
        amount = min(amount, pool.runtime_ns)
        pool.runtime_ns -= amount
        if amount > 0:
            pool.idle = 0
    queue.runtime_remaining_ns += amount
    return queue.runtime_remaining_ns > 0


@entry_point
def account_cfs_rq_runtime(w, q, delta_ns):
    """fair.c: __account_cfs_rq_runtime(). Charge a queue; returns whether its CPU has to reschedule."""
    queue = cfs_rq_bandwidth(w, q)
    queue.runtime_remaining_ns -= delta_ns
    if queue.runtime_remaining_ns > 0 or queue.throttled:
        return 0
    if assign_cfs_rq_runtime(w, q, SCHED_CFS_BANDWIDTH_SLICE_NS):
        return 0
    return 1 if cfs_rq(w, q).curr != NIL else 0


@kjit
def runtime_refresh_within(w, tg, min_ns, now_ns):
    """fair.c: runtime_refresh_within(). Whether the pool is filled soon anyway."""
    return cfs_bandwidth(w, tg).period_expires_ns - now_ns < min_ns


@kjit
def start_cfs_slack_bandwidth(w, tg, cpu, now_ns):
    """fair.c: start_cfs_slack_bandwidth(). Hand out returned run time in 5 ms, if the period lasts long enough."""
    pool = cfs_bandwidth(w, tg)
    if runtime_refresh_within(w, tg, CFS_BANDWIDTH_SLACK_PERIOD_NS + MIN_BANDWIDTH_EXPIRATION_NS, now_ns):
        return
    if pool.slack_started:
        return
    pool.slack_started, pool.slack_cpu = 1, cpu
    set_event(w, pool.slack_timer, now_ns + CFS_BANDWIDTH_SLACK_PERIOD_NS)


@entry_point
def return_cfs_rq_runtime(w, q):
    """fair.c: __return_cfs_rq_runtime(). A queue that has become empty keeps 1 ms and gives back the rest."""
    cfs, queue = cfs_rq(w, q), cfs_rq_bandwidth(w, q)
    pool = cfs_bandwidth(w, cfs.tg)
    slack_ns = queue.runtime_remaining_ns - MIN_CFS_RQ_RUNTIME_NS
    if slack_ns <= 0:
        return 0
    if pool.quota_ns != RUNTIME_INF:
        pool.runtime_ns += slack_ns
        if pool.runtime_ns > SCHED_CFS_BANDWIDTH_SLICE_NS and pool.throttled_head != NIL:
            start_cfs_slack_bandwidth(w, cfs.tg, cfs.cpu, cpu_rq(w, cfs.cpu).clock_ns)
    queue.runtime_remaining_ns -= slack_ns
    return 0


# Tasks that have left because they may not run


@kjit
def in_limbo(w, p):
    """fair.c: task_is_throttled(). Whether a task is runnable and not queued, for want of run time."""
    return task_struct(w, p).on_rq != 0 and sched_entity(w, p).on_rq == 0


@kjit
def join_limbo(w, p):
    """A task joins the list of its queue's tasks that wait for run time, as the first."""
    queue = cfs_rq_bandwidth(w, sched_entity(w, p).cfs_rq)
    task_struct(w, p).throttle_next = queue.throttled_limbo
    queue.throttled_limbo = p


@kjit
def leave_limbo(w, p):
    """fair.c: dequeue_throttled_task(). A task is taken off its queue's list."""
    queue = cfs_rq_bandwidth(w, sched_entity(w, p).cfs_rq)
    following = task_struct(w, p).throttle_next
    task_struct(w, p).throttle_next = NIL
    if queue.throttled_limbo == p:
        queue.throttled_limbo = following
        return
    other = queue.throttled_limbo
    while task_struct(w, other).throttle_next != p:
        other = task_struct(w, other).throttle_next
    task_struct(w, other).throttle_next = following


# The subtree of a group


@kjit
def first_in_subtree(w, tg):
    """sched.h: walk_tg_tree_from(), upwards: where the walk begins, at the end of the chain of first children."""
    while cfs_bandwidth(w, tg).first_child != NIL:
        tg = cfs_bandwidth(w, tg).first_child
    return tg


@kjit
def next_in_subtree(w, tg):
    """The group after `tg` in the walk: children before their parents."""
    sibling = cfs_bandwidth(w, tg).next_sibling
    return task_group(w, tg).parent if sibling == NIL else first_in_subtree(w, sibling)


# Throttling a queue


@kjit
def list_add_throttled(w, q):
    """A queue joins its group's list of throttled queues, at the end."""
    queue, pool = cfs_rq_bandwidth(w, q), cfs_bandwidth(w, cfs_rq(w, q).tg)
    queue.throttled_prev, queue.throttled_next = pool.throttled_tail, NIL
    if pool.throttled_tail == NIL:
        pool.throttled_head = q
    else:
        cfs_rq_bandwidth(w, pool.throttled_tail).throttled_next = q
    pool.throttled_tail = q


@kjit
def list_del_throttled(w, q):
    """A queue leaves its group's list of throttled queues."""
    queue, pool = cfs_rq_bandwidth(w, q), cfs_bandwidth(w, cfs_rq(w, q).tg)
    before, after = queue.throttled_prev, queue.throttled_next
    if before == NIL:
        pool.throttled_head = after
    else:
        cfs_rq_bandwidth(w, before).throttled_next = after
    if after == NIL:
        pool.throttled_tail = before
    else:
        cfs_rq_bandwidth(w, after).throttled_prev = before
    queue.throttled_prev = queue.throttled_next = NIL


@kjit
def tg_throttle_down(w, q):
    """fair.c: tg_throttle_down(). One more level keeps the tasks of this queue from running."""
    cfs = cfs_rq(w, q)
    cfs.throttle_count += 1
    if cfs.throttle_count == 1 and cfs.nr_queued == 0:
        stop_pelt_clock(w, q)


@kjit
def mark_throttled(w, q):
    """fair.c: throttle_cfs_rq(), the second half. A queue, and all below it, may not run."""
    list_add_throttled(w, q)
    cfs, nr_cpus = cfs_rq(w, q), sched_tunables(w).nr_cpus
    tg = first_in_subtree(w, cfs.tg)
    while tg != cfs.tg:
        tg_throttle_down(w, tg * nr_cpus + cfs.cpu)
        tg = next_in_subtree(w, tg)
    tg_throttle_down(w, q)
    cfs_rq_bandwidth(w, q).throttled = 1
    trace_cfs_throttle(w, q, 1)


@entry_point
def throttle_cfs_rq(w, q):
    """fair.c: throttle_cfs_rq(). Throttle a queue, unless the pool has something after all; returns whether it is."""
    if assign_cfs_rq_runtime(w, q, 1):
        return 0
    mark_throttled(w, q)
    return 1


@kjit
def check_cfs_rq_runtime(w, q):
    """fair.c: check_cfs_rq_runtime(), of a queue with a quota. Throttle it if it has run out; returns whether it is."""
    queue = cfs_rq_bandwidth(w, q)
    if queue.runtime_remaining_ns > 0:
        return False
    return queue.throttled != 0 or throttle_cfs_rq(w, q) != 0


@kjit
def check_enqueue_throttle(w, q):
    """fair.c: check_enqueue_throttle(), of a queue with a quota that is no longer empty. Throttle it if it is broke."""
    queue = cfs_rq_bandwidth(w, q)
    if cfs_rq(w, q).curr != NIL or queue.throttled:
        return
    account_cfs_rq_runtime(w, q, 0)
    if queue.runtime_remaining_ns <= 0:
        throttle_cfs_rq(w, q)
