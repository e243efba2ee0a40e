"""The scheduler core: schedule, wake, tick, yield. The only kernel functions that the rest of the machine calls.

Before any of them, `update_rq_clock` must have been called for the CPU at the current time. ``rq.curr`` is the running
task or NIL (idle); ``rq.need_resched`` holds the TIF bits. A CPU whose bits are set joins a list that `pop_kicked`
empties: whoever runs the machine delivers the interrupt and lets that CPU call `schedule`.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.balance import active_load_balance
from vcpu_env.kernel.balance_trigger import sched_balance_newidle
from vcpu_env.kernel.clock import sched_clock, update_rq_clock
from vcpu_env.kernel.fair_class import only_one_queued, set_next_buddy, stops_running
from vcpu_env.kernel.group import set_task_rq
from vcpu_env.kernel.load_avg import post_init_entity_util_avg, remove_entity_load_avg
from vcpu_env.kernel.nohz import enter_idle, nohz_idle_balance, sched_balance_trigger
from vcpu_env.kernel.resched import resched_curr
from vcpu_env.kernel.rt_balance import balance_rt, push_rt_tasks, task_woken_rt
from vcpu_env.kernel.runqueue import (
    activate_task,
    sched_info_queued,
    sched_info_switch,
    set_task_cpu,
    wakeup_preempt,
)
from vcpu_env.kernel.sched_change import (
    CHANGE_QUEUED,
    CHANGE_RUNNING,
    sched_change_begin,
    sched_change_end,
    set_load_weight,
    stop_and_migrate,
)
from vcpu_env.kernel.sched_class import (
    dequeue_task,
    enqueue_task,
    is_rt,
    pick_task,
    put_prev_set_next_task,
    put_prev_task,
    set_next_task,
    task_tick,
    yield_task,
)
from vcpu_env.kernel.sched_trace import trace_sched_tick, trace_sched_waking
from vcpu_env.kernel.select_cpu import select_task_rq, update_idle_core
from vcpu_env.kernel.ttwu import sched_ttwu_pending, ttwu_do_activate, ttwu_queue_cond, ttwu_queue_wakelist
from vcpu_env.kernel.types import (
    CSD_NOHZ,
    CSD_TTWU,
    DEQUEUE_SLEEP,
    DEQUEUE_SPECIAL,
    ENQUEUE_DELAYED,
    ENQUEUE_INITIAL,
    ENQUEUE_MIGRATED,
    ESRCH,
    TASK_DEAD,
    TASK_RUNNING,
    TASK_SPECIAL,
    TIF_NEED_RESCHED_LAZY,
    WF_FORK,
    WF_TTWU,
    WORK_THROTTLE,
    cfs_rq,
    cpu_rq,
    kicked_cpus,
    sched_entity,
    sched_features,
    sched_tunables,
    task_struct,
)
from vcpu_env.kernel.yield_class import boost_yield, forfeit, yield_deboost_prepare
from vcpu_env.kernel.yield_penalty import choose_penalty
from vcpu_env.kernel.yield_types import (
    BOOST_STAY,
    BOOST_STAY_CREDIT,
    yield_decision,
)


@kjit
def pop_kicked(w):
    """A CPU that was asked to reschedule since it was last popped, first asked first; NIL when there is none."""
    kicked = kicked_cpus(w)
    cpu = kicked.head
    if cpu != NIL:
        kicked.head = cpu_rq(w, cpu).kicked_next
        cpu_rq(w, cpu).kicked = 0
    return cpu


@kjit
def try_to_block_task(w, cpu):
    """core.c: try_to_block_task(). Take the running task off its queue if its state says that it sleeps."""
    p = cpu_rq(w, cpu).curr
    if p == NIL:
        return
    task = task_struct(w, p)
    if task.state == TASK_RUNNING or task.on_rq == 0:
        return
    flags = DEQUEUE_SLEEP
    if task.state & TASK_SPECIAL:
        flags |= DEQUEUE_SPECIAL
    if dequeue_task(w, p, flags):
        task.on_rq = 0


@kjit
def take_forced(w, cpu, p):
    """The task that an oracle forced on this CPU, if it still waits here; else `p`. Not a rule of any kernel."""
    rq = cpu_rq(w, cpu)
    forced = rq.forced
    rq.forced = NIL
    task = task_struct(w, forced)
    se = sched_entity(w, forced)
    if task.cpu != cpu or se.on_rq == 0 or se.sched_delayed or task.state != TASK_RUNNING:
        return p
    if cfs_rq(w, se.cfs_rq).throttle_count:
        task.exit_work |= WORK_THROTTLE
    return forced


@kjit
def pick_and_switch(w, cpu):
    """core.c: __schedule() after the block: pick the next task, switch to it, drop the resched bits; returns it."""
    rq = cpu_rq(w, cpu)
    rq.clock_read_ns = rq.clock_ns
    rq.sched_count += 1
    prev = rq.curr
    if sched_tunables(w).rt_used:
        balance_rt(w, cpu, prev)
    p = pick_task(w, cpu)
    if p == NIL and sched_balance_newidle(w, cpu):
        p = pick_task(w, cpu)
        if prev != NIL and task_struct(w, prev).on_rq:
            rq.clock_skip = 1  # wakeup_preempt() takes a task in limbo for one that is about to be preempted
    if rq.forced != NIL:
        p = take_forced(w, cpu, p)
    if p != prev:
        switch_tasks(w, cpu, prev, p)
    rq.need_resched = 0
    if p == NIL:
        stops_running(w, cpu)
        enter_idle(w, cpu)
    elif is_rt(w, p):
        push_rt_tasks(w, cpu)
    return p


@kjit
def switch_tasks(w, cpu, prev, p):
    """fair.c: pick_next_task_fair(), the second half; core.c: context_switch(). Stop `prev`, start `p` (NIL: idle)."""
    rq = cpu_rq(w, cpu)
    if prev == NIL:
        set_next_task(w, p, 1)
    elif p == NIL:
        put_prev_task(w, prev)
        rq.sched_goidle += 1
    else:
        put_prev_set_next_task(w, prev, p)
    sched_info_switch(w, cpu, prev, p)
    rq.curr = p
    if p == NIL:
        update_idle_core(w, cpu)


@kjit
def schedule(w, cpu):
    """core.c: __schedule(). Returns the next task (NIL: idle); the running one stays queued unless its state is set."""
    try_to_block_task(w, cpu)
    if cpu_rq(w, cpu).active_balance:
        active_load_balance(w, cpu)
    return pick_and_switch(w, cpu)


@kjit
def block_task(w, cpu, state):
    """The running task goes to sleep in `state`; returns the next task."""
    task_struct(w, cpu_rq(w, cpu).curr).state = state
    return schedule(w, cpu)


@kjit
def migration_cpu_stop(w, cpu, dst):
    """core.c: migration_cpu_stop(). The running task may not stay here and goes to `dst`; returns the next task."""
    stop_and_migrate(w, cpu, dst)
    return pick_and_switch(w, cpu)


@kjit
def exit_task(w, cpu):
    """exit.c: do_task_dead(), fair.c: task_dead_fair(). The running task ends; returns the next task."""
    prev = cpu_rq(w, cpu).curr
    p = block_task(w, cpu, TASK_DEAD)
    remove_entity_load_avg(w, prev)
    return p


@kjit
def tick_running(w, cpu):
    """core.c: sched_tick(), the running task's part. A pending lazy resched becomes a real one."""
    rq = cpu_rq(w, cpu)
    rq.clock_read_ns = rq.clock_ns
    trace_sched_tick(w, cpu)
    if rq.need_resched & TIF_NEED_RESCHED_LAZY:
        resched_curr(w, cpu)
    if rq.curr != NIL:
        task_tick(w, cpu, rq.curr)


@kjit
def sched_tick(w, cpu):
    """core.c: sched_tick(). The periodic timer interrupt."""
    tick_running(w, cpu)
    sched_balance_trigger(w, cpu)


@kjit
def flush_smp_call_function_queue(w, cpu):
    """smp.c: flush_smp_call_function_queue(). A CPU does what others have asked it for, unthrottling aside.

    Its clock must be current.
    """
    rq = cpu_rq(w, cpu)
    if rq.csd_pending & CSD_NOHZ:
        nohz_idle_balance(w, cpu)
    if rq.csd_pending & CSD_TTWU:
        sched_ttwu_pending(w, cpu)


@kjit
def try_to_wake_up(w, p, waker_cpu, wake_flags):
    """core.c: try_to_wake_up(). Returns 0 if `p` was not asleep, 2 if it had never left its queue, else 1.

    In the last case it is queued, or on its way to the other CPU that will do that.

    The clock of `waker_cpu` must be current; `wake_flags` are WF_SYNC, WF_RQ_SELECTED or 0.
    """
    task = task_struct(w, p)
    if task.state == TASK_RUNNING or task.state == TASK_DEAD:
        return 0
    wake_flags |= WF_TTWU
    delayed = task.on_rq != 0
    cpu = task.cpu
    if not delayed:
        cpu = select_task_rq(w, p, waker_cpu, wake_flags)
    task.state = TASK_RUNNING
    rq = cpu_rq(w, cpu)
    rq.ttwu_count += 1
    if cpu == waker_cpu:
        rq.ttwu_local += 1
    trace_sched_waking(w, cpu, p, waker_cpu, 0)
    if delayed:
        update_rq_clock(w, cpu, sched_clock(w))
        rq.clock_read_ns = rq.clock_ns
        if sched_entity(w, p).sched_delayed:
            sched_info_queued(w, cpu, p)
            enqueue_task(w, p, ENQUEUE_DELAYED)
        if rq.curr != p:
            wakeup_preempt(w, cpu, p, wake_flags)
        return 2
    flags = 0
    if cpu != task.cpu:
        set_task_cpu(w, p, cpu)
        flags = ENQUEUE_MIGRATED
    if sched_features(w).TTWU_QUEUE and ttwu_queue_cond(w, cpu, waker_cpu):
        ttwu_queue_wakelist(w, p, cpu, flags)
    else:
        update_rq_clock(w, cpu, sched_clock(w))
        ttwu_do_activate(w, p, cpu, flags, wake_flags)
    return 1


@kjit
def wake_up_new_task(w, p, cpu):
    """core.c: wake_up_new_task(). A task forked on `cpu` becomes runnable, on the idlest CPU."""
    task = task_struct(w, p)
    task.state = TASK_RUNNING
    task.recent_used_cpu = cpu
    parent_cpu = cpu
    cpu = select_task_rq(w, p, cpu, WF_FORK)
    update_rq_clock(w, cpu, sched_clock(w))
    set_task_rq(w, p, cpu)
    post_init_entity_util_avg(w, p)
    trace_sched_waking(w, cpu, p, parent_cpu, 1)
    activate_task(w, cpu, p, ENQUEUE_INITIAL)
    wakeup_preempt(w, cpu, p, WF_FORK)
    if sched_tunables(w).rt_used:
        task_woken_rt(w, cpu, p)


@kjit
def sched_yield(w, cpu):
    """syscalls.c: do_sched_yield(), without the schedule() that follows."""
    cpu_rq(w, cpu).yld_count += 1
    yield_task(w, cpu)


@kjit
def yield_to_begin(w, cpu, p):
    """syscalls.c: yield_to(), up to the penalty. Returns 1 if `p` was hinted; then `yield_to_end` must follow.

    Returns 0 if `p` cannot be hinted (running, asleep, or one of the two is a real-time task: only the fair class has
    yield_to_task()), -ESRCH if both CPUs have only one task.
    """
    rq, task = cpu_rq(w, cpu), task_struct(w, p)
    p_rq = cpu_rq(w, task.cpu)
    if rq.nr_running == 1 and p_rq.nr_running == 1:
        return -ESRCH
    if is_rt(w, rq.curr) or is_rt(w, p):
        return 0
    if p_rq.curr == p or task.state != TASK_RUNNING or sched_entity(w, p).on_rq == 0:
        return 0
    set_next_buddy(w, p)
    yield_deboost_prepare(w, cpu, p)
    return 1


@kjit
def yield_to_end(w, cpu, p):
    """syscalls.c: yield_to(), from the penalty on: it is charged if one was chosen, then the running task yields.

    A boost other than the kernel's own takes the penalty's place; one that stays leaves the yielder alone.
    """
    decision = yield_decision(w)
    rq, p_cpu = cpu_rq(w, cpu), task_struct(w, p).cpu
    decision.credit_ns = 0
    boost = decision.boost
    if p_cpu != cpu:
        update_rq_clock(w, p_cpu, rq.clock_ns)
    boost_yield(w, cpu, p)
    decision.forfeit = 0
    if boost != BOOST_STAY and boost != BOOST_STAY_CREDIT:
        decision.forfeit = 1 if forfeit(w, cpu) else 0
        rq.yld_count += 1
    if p_cpu != cpu:
        resched_curr(w, p_cpu)


@kjit
def yield_to(w, cpu, p):
    """syscalls.c: yield_to(), without the schedule() that follows a return of 1. Returns as `yield_to_begin`."""
    ret = yield_to_begin(w, cpu, p)
    if ret > 0:
        if yield_decision(w).pending:
            choose_penalty(w)
        yield_to_end(w, cpu, p)
    return ret


@kjit
def set_user_nice(w, p, nice):
    """syscalls.c: set_user_nice(). Change a task's weight: off its queue, reweighted, on again."""
    task = task_struct(w, p)
    if task.nice == nice:
        return
    old_nice, cpu = task.nice, task.cpu
    was = sched_change_begin(w, p)
    task.nice = nice
    set_load_weight(w, p)
    sched_change_end(w, p, was)
    if not was & CHANGE_QUEUED or only_one_queued(w, cpu):
        return
    if not was & CHANGE_RUNNING:
        wakeup_preempt(w, cpu, p, 0)
    elif nice > old_nice:
        resched_curr(w, cpu)
