"""CFS bandwidth control, the tasks: they leave on their way into the guest, and come back when there is run time again.

A task that was picked below a throttled queue has work to do before it returns to user mode or enters the guest: it
takes itself off its queue, into *limbo*. It is runnable all the while (``task.on_rq``), only not queued
(``se.on_rq``): a directed yield refuses it, and nobody can pull it to another CPU. When no queue on its path is
throttled any more, it is enqueued as if it woke up.
"""

from vcpu_env.base.jit import NIL, entry_point, kjit
from vcpu_env.base.timeline import NEVER, set_event
from vcpu_env.kernel.bandwidth import (
    MAX_BW_QUOTA_PERIOD_NS,
    MAX_PERIODS_AT_ONCE,
    MIN_BANDWIDTH_EXPIRATION_NS,
    RUNTIME_INF,
    SCHED_CFS_BANDWIDTH_SLICE_NS,
    cfs_bandwidth,
    cfs_rq_bandwidth,
    first_in_subtree,
    join_limbo,
    list_del_throttled,
    next_in_subtree,
    refill_cfs_bandwidth_runtime,
    rq_bandwidth,
    runtime_refresh_within,
    start_cfs_bandwidth,
    start_pelt_clock,
)
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.fair_class import charge_running
from vcpu_env.kernel.load_avg import cfs_rq_is_decayed
from vcpu_env.kernel.resched import resched_curr, smp_call_function_single_async
from vcpu_env.kernel.sched_class import dequeue_task, enqueue_task
from vcpu_env.kernel.sched_trace import trace_cfs_throttle, trace_task_throttle
from vcpu_env.kernel.types import (
    CSD_UNTHROTTLE,
    DEQUEUE_SLEEP,
    DEQUEUE_THROTTLE,
    ENQUEUE_WAKEUP,
    WORK_THROTTLE,
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
    task.exit_work &= ~WORK_THROTTLE
    if cfs_rq(w, q).throttle_count == 0:
        return 0
    dequeue_task(w, p, DEQUEUE_SLEEP | DEQUEUE_THROTTLE)
    join_limbo(w, p)
    trace_task_throttle(w, p, 1)
    se_id = p
    while se_id != NIL:
        q = sched_entity(w, se_id).cfs_rq
        if cfs_rq(w, q).throttle_count:
            record_throttle_clock(w, q)
        se_id = sched_entity(w, se_id).parent
    return 1


@kjit
def tg_unthrottle_up(w, q):
    """fair.c: tg_unthrottle_up(). One level less keeps the tasks of this queue from running; after the last they come.

    The last that left comes first.
    """
    cfs, queue = cfs_rq(w, q), cfs_rq_bandwidth(w, q)
    charge_running(w, q, cpu_rq(w, cfs.cpu).clock_ns)
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
        enqueue_task(w, p, ENQUEUE_WAKEUP)
        trace_task_throttle(w, p, 0)
        p = following
    if not cfs_rq_is_decayed(w, q):
        cfs.on_list = 1


@kjit
def complete_branch(w, se_id):
    """fair.c: list_add_leaf_cfs_rq(). The blocked load of all queues above is aged, too."""
    while se_id != NIL:
        se = sched_entity(w, se_id)
        cfs_rq(w, se.cfs_rq).on_list = 1
        se_id = se.parent


@kjit
def unthrottle_cfs_rq(w, q, now_ns):
    """fair.c: unthrottle_cfs_rq(). A queue with run time is no longer throttled; an idle CPU schedules.

    Returns what that takes (ns).
    """
    cfs, queue, tun = cfs_rq(w, q), cfs_rq_bandwidth(w, q), sched_tunables(w)
    cpu, cost_ns = cfs.cpu, tun.unthrottle_cost_ns
    charge_running(w, q, now_ns)
    if cfs.runtime_enabled and queue.runtime_remaining_ns <= 0:
        return 0
    queue.throttled = 0
    update_rq_clock(w, cpu, now_ns)
    rq = cpu_rq(w, cpu)
    rq.clock_read_ns = rq.clock_ns
    trace_cfs_throttle(w, q, 0)
    if queue.throttled_clock_ns != NIL:
        cfs_bandwidth(w, cfs.tg).throttled_time_ns += rq.clock_ns - queue.throttled_clock_ns
        queue.throttled_clock_ns = NIL
    list_del_throttled(w, q)
    tg = first_in_subtree(w, cfs.tg)
    while tg != cfs.tg:
        tg_unthrottle_up(w, tg * tun.nr_cpus + cpu)
        cost_ns += tun.tg_walk_cost_ns
        tg = next_in_subtree(w, tg)
    tg_unthrottle_up(w, q)
    if cfs.on_list:
        complete_branch(w, cfs.se)
    if rq.curr == NIL and cfs_rq(w, cpu).nr_queued:
        resched_curr(w, cpu)
    return cost_ns


@kjit
def unthrottle_cfs_rq_async(w, q):
    """fair.c: __unthrottle_cfs_rq_async(). Let another CPU unthrottle its queue, by interrupt."""
    cpu = cfs_rq(w, q).cpu
    asked = rq_bandwidth(w, cpu)
    cfs_rq_bandwidth(w, q).csd_queued, cfs_rq_bandwidth(w, q).csd_next = 1, NIL
    if asked.cfsb_csd_head == NIL:
        asked.cfsb_csd_head = q
        smp_call_function_single_async(w, cpu, CSD_UNTHROTTLE)
    else:
        cfs_rq_bandwidth(w, asked.cfsb_csd_tail).csd_next = q
    asked.cfsb_csd_tail = q


@entry_point
def cfsb_csd_unthrottle(w, cpu, now_ns):
    """fair.c: __cfsb_csd_unthrottle(). A CPU unthrottles the queues that it was asked to.

    Returns what that takes (ns).
    """
    asked, cost_ns = rq_bandwidth(w, cpu), 0
    q = asked.cfsb_csd_head
    asked.cfsb_csd_head = NIL
    cpu_rq(w, cpu).csd_pending &= ~CSD_UNTHROTTLE
    while q != NIL:
        queue = cfs_rq_bandwidth(w, q)
        following = queue.csd_next
        queue.csd_queued, queue.csd_next = 0, NIL
        if queue.throttled:
            cost_ns += unthrottle_cfs_rq(w, q, now_ns)
        q = following
    return cost_ns


@kjit
def give_runtime(w, q):
    """fair.c: distribute_cfs_runtime(), one queue. It gets what it owes and 1 ns, if the pool has that much.

    Returns whether it may run again.
    """
    queue, pool = cfs_rq_bandwidth(w, q), cfs_bandwidth(w, cfs_rq(w, q).tg)
    runtime_ns = min(1 - queue.runtime_remaining_ns, pool.runtime_ns)
    pool.runtime_ns -= runtime_ns
    queue.runtime_remaining_ns += runtime_ns
    return queue.runtime_remaining_ns > 0


@kjit
def distribute_cfs_runtime(w, tg, this_cpu, now_ns):
    """fair.c: distribute_cfs_runtime(). Hand out the pool to throttled queues, longest throttled first.

    Other CPUs are asked to unthrottle theirs; the queue of `this_cpu` comes last. Returns what that takes (ns).
    """
    pool, own, cost_ns = cfs_bandwidth(w, tg), NIL, 0
    q = pool.throttled_head
    while q != NIL and pool.runtime_ns > 0:
        if cfs_rq_bandwidth(w, q).csd_queued == 0:
            cost_ns += sched_tunables(w).distribute_cost_ns
            charge_running(w, q, now_ns)
            if give_runtime(w, q):
                if cfs_rq(w, q).cpu == this_cpu:
                    own = q
                else:
                    unthrottle_cfs_rq_async(w, q)
        q = cfs_rq_bandwidth(w, q).throttled_next
    if own != NIL:
        cost_ns += unthrottle_cfs_rq(w, own, now_ns)
    return cost_ns


@kjit
def do_sched_cfs_period_timer(w, tg, overrun, now_ns):
    """fair.c: do_sched_cfs_period_timer(). `overrun` periods have ended: fill the pool, unthrottle.

    Returns what that takes (ns), or -1 if the timer is to stop: nobody has drawn anything in a whole period.
    """
    pool = cfs_bandwidth(w, tg)
    if pool.quota_ns == RUNTIME_INF:
        return -1
    throttled = pool.throttled_head != NIL
    pool.nr_periods += overrun
    refill_cfs_bandwidth_runtime(w, tg)
    if not throttled:
        was_idle = pool.idle != 0
        pool.idle = 1
        return -1 if was_idle else 0
    pool.nr_throttled += overrun
    cost_ns = distribute_cfs_runtime(w, tg, pool.period_cpu, now_ns)
    pool.idle = 0
    return cost_ns


@kjit
def scale_period_up(w, tg):
    """fair.c: sched_cfs_period_timer(). The work of a period takes longer than that: make it twice as long."""
    pool = cfs_bandwidth(w, tg)
    if 2 * pool.period_ns < MAX_BW_QUOTA_PERIOD_NS:
        pool.period_ns *= 2
        pool.quota_ns *= 2
        pool.burst_ns *= 2
        pool.nr_scaled += 1


@kjit
def sched_cfs_period_timer(w, tg, now_ns):
    """fair.c: sched_cfs_period_timer(). The end of a group's period, and of those that end while that is dealt with.

    Returns what that takes (ns).
    """
    pool, spent_ns, count = cfs_bandwidth(w, tg), 0, 0
    while pool.period_expires_ns <= now_ns + spent_ns:
        overrun = (now_ns + spent_ns - pool.period_expires_ns) // pool.period_ns + 1
        pool.period_expires_ns += overrun * pool.period_ns
        cost_ns = do_sched_cfs_period_timer(w, tg, overrun, now_ns)
        if cost_ns < 0:
            pool.period_active = 0
            set_event(w, pool.period_timer, NEVER)
            return spent_ns
        spent_ns += cost_ns
        count += 1
        if count > MAX_PERIODS_AT_ONCE:
            scale_period_up(w, tg)
            count = 0
    set_event(w, pool.period_timer, pool.period_expires_ns)
    return spent_ns


@kjit
def sched_cfs_slack_timer(w, tg, now_ns):
    """fair.c: do_sched_cfs_slack_timer(). Hand out what queues have given back, unless the pool is filled soon.

    Returns what that takes (ns).
    """
    pool, cost_ns = cfs_bandwidth(w, tg), 0
    pool.slack_started = 0
    set_event(w, pool.slack_timer, NEVER)
    if runtime_refresh_within(w, tg, MIN_BANDWIDTH_EXPIRATION_NS, now_ns):
        return cost_ns
    if pool.quota_ns != RUNTIME_INF and pool.runtime_ns > SCHED_CFS_BANDWIDTH_SLICE_NS:
        cost_ns = distribute_cfs_runtime(w, tg, pool.slack_cpu, now_ns)
    return cost_ns


@kjit
def tg_set_cfs_bandwidth(w, tg, quota_ns, period_ns, burst_ns, cpu, now_ns):
    """core.c: tg_set_cfs_bandwidth(). Write a group's cpu.max and cpu.max.burst: the pool is filled, all run again."""
    pool, nr_cpus = cfs_bandwidth(w, tg), sched_tunables(w).nr_cpus
    pool.quota_ns, pool.period_ns, pool.burst_ns = quota_ns, period_ns, burst_ns
    refill_cfs_bandwidth_runtime(w, tg)
    if quota_ns != RUNTIME_INF:
        start_cfs_bandwidth(w, tg, cpu, now_ns)
    for other in range(nr_cpus):
        q = tg * nr_cpus + other
        queue = cfs_rq_bandwidth(w, q)
        cfs_rq(w, q).runtime_enabled = 1 if quota_ns != RUNTIME_INF else 0
        queue.runtime_remaining_ns = 1
        if queue.throttled:
            unthrottle_cfs_rq(w, q, now_ns)
