"""CFS bandwidth control, the tasks: they leave on their way into the guest, and come back when there is run time again.

A task that was picked below a throttled queue has work to do before it returns to user mode or enters the guest: it
takes itself off its queue, into *limbo*. It is runnable all the while (``task.on_rq``), only not queued
(``se.on_rq``): a directed yield refuses it, and nobody can pull it to another CPU. When no queue on its path is
throttled any more, it is enqueued as if it woke up.
"""

from vcpu_env._jit import NIL, entry_point, kjit
from vcpu_env.kernel.bandwidth import (
    MIN_BANDWIDTH_EXPIRATION_NS,
    RUNTIME_INF,
    SCHED_CFS_BANDWIDTH_SLICE_NS,
    cfs_bandwidth,
    cfs_rq_bandwidth,
    first_in_subtree,
    list_del_throttled,
    next_in_subtree,
    refill_cfs_bandwidth_runtime,
    runtime_refresh_within,
    start_cfs_bandwidth,
    start_pelt_clock,
)
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.entity import resched_curr
from vcpu_env.kernel.fair import dequeue_task_fair, enqueue_task_fair
from vcpu_env.kernel.timeline import NEVER, set_event
from vcpu_env.kernel.types import (
    DEQUEUE_SLEEP,
    DEQUEUE_THROTTLE,
    ENQUEUE_WAKEUP,
    cfs_rq,
    cpu_rq,
    sched_entity,
    sched_tunables,
    task_struct,
)


@kjit
def record_throttle_clock(w, q):
    """fair.c: record_throttle_clock(). From now on a throttled queue keeps a task from running."""
    queue = cfs_rq_bandwidth(w, q)
    if queue.throttled and queue.throttled_clock_ns == NIL:
        queue.throttled_clock_ns = cpu_rq(w, cfs_rq(w, q).cpu).clock_ns


@entry_point
def throttle_cfs_rq_work(w, p):
    """fair.c: throttle_cfs_rq_work(). The running task's work on its way out of the kernel.

    The CPU's clock must be current. Returns whether the task has left its queue; then schedule() must follow.
    """
    task, q = task_struct(w, p), sched_entity(w, p).cfs_rq
    task.throttle_work = 0
    if cfs_rq(w, q).throttle_count == 0:
        return 0
    dequeue_task_fair(w, p, DEQUEUE_SLEEP | DEQUEUE_THROTTLE)
    task.throttle_next = cfs_rq_bandwidth(w, q).throttled_limbo
    cfs_rq_bandwidth(w, q).throttled_limbo = p
    se_id = p
    while se_id != NIL:
        q = sched_entity(w, se_id).cfs_rq
        if cfs_rq(w, q).throttle_count:
            record_throttle_clock(w, q)
        se_id = sched_entity(w, se_id).parent
    return 1


@kjit
def leave_limbo(w, p):
    """A task in limbo ends: it is taken off its queue's list."""
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


@kjit
def tg_unthrottle_up(w, q):
    """fair.c: tg_unthrottle_up(). One level less keeps the tasks of this queue from running; after the last they come.

    The last that left comes first.
    """
    cfs, queue = cfs_rq(w, q), cfs_rq_bandwidth(w, q)
    cfs.throttle_count -= 1
    if cfs.throttle_count:
        return
    start_pelt_clock(w, q)
    p = queue.throttled_limbo
    queue.throttled_limbo = NIL
    while p != NIL:
        task = task_struct(w, p)
        following = task.throttle_next
        task.throttle_next = NIL
        enqueue_task_fair(w, p, ENQUEUE_WAKEUP)
        p = following


@kjit
def unthrottle_cfs_rq(w, q, now_ns):
    """fair.c: unthrottle_cfs_rq(). A queue with run time is no longer throttled; an idle CPU schedules."""
    cfs, queue = cfs_rq(w, q), cfs_rq_bandwidth(w, q)
    cpu = cfs.cpu
    if cfs.runtime_enabled and queue.runtime_remaining_ns <= 0:
        return
    queue.throttled = 0
    update_rq_clock(w, cpu, now_ns)
    rq = cpu_rq(w, cpu)
    rq.clock_read_ns = rq.clock_ns
    if queue.throttled_clock_ns != NIL:
        cfs_bandwidth(w, cfs.tg).throttled_time_ns += rq.clock_ns - queue.throttled_clock_ns
        queue.throttled_clock_ns = NIL
    list_del_throttled(w, q)
    nr_cpus = sched_tunables(w, 0).nr_cpus
    tg = first_in_subtree(w, cfs.tg)
    while tg != cfs.tg:
        tg_unthrottle_up(w, tg * nr_cpus + cpu)
        tg = next_in_subtree(w, tg)
    tg_unthrottle_up(w, q)
    if rq.curr == NIL and cfs_rq(w, cpu).nr_queued:
        resched_curr(w, cpu)


@kjit
def distribute_cfs_runtime(w, tg, now_ns):
    """fair.c: distribute_cfs_runtime(). Each throttled queue gets what it owes and 1 ns, as far as the pool lasts."""
    pool = cfs_bandwidth(w, tg)
    q = pool.throttled_head
    while q != NIL and pool.runtime_ns > 0:
        queue = cfs_rq_bandwidth(w, q)
        runtime_ns = min(1 - queue.runtime_remaining_ns, pool.runtime_ns)
        pool.runtime_ns -= runtime_ns
        queue.runtime_remaining_ns += runtime_ns
        q = queue.throttled_next
    q = pool.throttled_head
    while q != NIL:
        following = cfs_rq_bandwidth(w, q).throttled_next
        unthrottle_cfs_rq(w, q, now_ns)
        q = following


@kjit
def do_sched_cfs_period_timer(w, tg, now_ns):
    """fair.c: do_sched_cfs_period_timer(). A new period: fill the pool, unthrottle; returns whether to stop the timer.

    It stops after a whole period in which nobody drew anything.
    """
    pool = cfs_bandwidth(w, tg)
    if pool.quota_ns == RUNTIME_INF:
        return True
    throttled = pool.throttled_head != NIL
    pool.nr_periods += 1
    refill_cfs_bandwidth_runtime(w, tg)
    if not throttled:
        was_idle = pool.idle != 0
        pool.idle = 1
        return was_idle
    pool.nr_throttled += 1
    distribute_cfs_runtime(w, tg, now_ns)
    pool.idle = 0
    return False


@kjit
def sched_cfs_period_timer(w, tg, now_ns):
    """fair.c: sched_cfs_period_timer(). The end of a group's period."""
    pool = cfs_bandwidth(w, tg)
    pool.period_expires_ns = now_ns + pool.period_ns
    if do_sched_cfs_period_timer(w, tg, now_ns):
        pool.period_active = 0
        set_event(w, pool.period_timer, NEVER)
    else:
        set_event(w, pool.period_timer, pool.period_expires_ns)


@kjit
def sched_cfs_slack_timer(w, tg, now_ns):
    """fair.c: do_sched_cfs_slack_timer(). Hand out what queues have given back, unless the pool is filled soon."""
    pool = cfs_bandwidth(w, tg)
    pool.slack_started = 0
    set_event(w, pool.slack_timer, NEVER)
    if runtime_refresh_within(w, tg, MIN_BANDWIDTH_EXPIRATION_NS, now_ns):
        return
    if pool.quota_ns != RUNTIME_INF and pool.runtime_ns > SCHED_CFS_BANDWIDTH_SLICE_NS:
        distribute_cfs_runtime(w, tg, now_ns)


@kjit
def tg_set_cfs_bandwidth(w, tg, quota_ns, period_ns, burst_ns, now_ns):
    """core.c: tg_set_cfs_bandwidth(). Write a group's cpu.max and cpu.max.burst: the pool is filled, all run again."""
    pool, nr_cpus = cfs_bandwidth(w, tg), sched_tunables(w, 0).nr_cpus
    pool.quota_ns, pool.period_ns, pool.burst_ns = quota_ns, period_ns, burst_ns
    refill_cfs_bandwidth_runtime(w, tg)
    if quota_ns != RUNTIME_INF:
        start_cfs_bandwidth(w, tg, now_ns)
    for cpu in range(nr_cpus):
        q = tg * nr_cpus + cpu
        queue = cfs_rq_bandwidth(w, q)
        cfs_rq(w, q).runtime_enabled = 1 if quota_ns != RUNTIME_INF else 0
        queue.runtime_remaining_ns = 1
        if queue.throttled:
            unthrottle_cfs_rq(w, q, now_ns)
