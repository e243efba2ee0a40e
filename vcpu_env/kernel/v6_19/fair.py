"""The fair scheduling class: tasks through all levels of the group hierarchy."""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.bandwidth import check_cfs_rq_runtime
from vcpu_env.kernel.cfs_tasks import list_move_task
from vcpu_env.kernel.clock import jiffies_ns
from vcpu_env.kernel.group import task_has_idle_policy
from vcpu_env.kernel.load_avg import UPDATE_TG, se_update_runnable, update_load_avg
from vcpu_env.kernel.nr_running import add_nr_running, sched_idle_rq
from vcpu_env.kernel.rbtree import rb_propagate
from vcpu_env.kernel.resched import resched_curr_lazy
from vcpu_env.kernel.types import (
    DEQUEUE_DELAYED,
    DEQUEUE_SLEEP,
    DEQUEUE_SPECIAL,
    ENQUEUE_DELAYED,
    ENQUEUE_WAKEUP,
    SCHED_NORMAL,
    TIF_NEED_RESCHED,
    WF_FORK,
    WF_RQ_SELECTED,
    WF_SYNC,
    WORK_THROTTLE,
    cfs_rq,
    cpu_rq,
    sched_entity,
    sched_features,
    sched_tunables,
    task_struct,
)
from vcpu_env.kernel.util_est import util_est_dequeue, util_est_enqueue, util_est_update
from vcpu_env.kernel.v6_19.entity import (
    cfs_rq_min_slice,
    clear_buddies,
    entity_before,
    entity_eligible,
    protect_slice,
    se_is_idle,
    update_cfs_group,
    update_curr,
    update_protect_slice,
)
from vcpu_env.kernel.v6_19.queue import (
    __pick_eevdf,
    dequeue_entity,
    enqueue_entity,
    put_prev_entity,
    requeue_delayed_entity,
    set_next_buddy,
    set_next_entity,
)
from vcpu_env.kernel.weights import calc_delta_fair


@kjit
def refresh_ancestors(w, se_id, slice_ns, queued, runnable, idle):
    """fair.c: the second loop of enqueue_task_fair() and dequeue_entities(): levels that stay queued.

    A group's slice follows the shortest slice inside it; the counters change by `queued`, `runnable` and `idle`.
    """
    while se_id != NIL:
        se = sched_entity(w, se_id)
        q = se.cfs_rq
        cfs = cfs_rq(w, q)
        update_load_avg(w, q, se_id, UPDATE_TG)
        se_update_runnable(w, se_id)
        update_cfs_group(w, se_id)
        se.slice_ns = slice_ns
        if cfs.curr != se_id:
            rb_propagate(w, se_id, NIL)
        slice_ns = cfs_rq_min_slice(w, q)
        cfs.h_nr_runnable += runnable
        cfs.h_nr_queued += queued
        cfs.h_nr_idle += idle
        if cfs.idle:
            idle = queued
        se_id = se.parent


@kjit
def enqueue_task_fair(w, p, flags):
    """fair.c: enqueue_task_fair(). A task joins its queue, and its groups join theirs as far as they were empty."""
    if flags & ENQUEUE_DELAYED or not sched_entity(w, p).sched_delayed:
        util_est_enqueue(w, p)
    if flags & ENQUEUE_DELAYED:
        requeue_delayed_entity(w, p)
        return
    idle = 1 if task_has_idle_policy(w, p) else 0
    runnable = 0 if sched_entity(w, p).sched_delayed and not flags & ENQUEUE_WAKEUP else 1
    slice_ns = 0
    se_id = p
    while se_id != NIL:
        se = sched_entity(w, se_id)
        if se.on_rq:
            if se.sched_delayed:
                requeue_delayed_entity(w, se_id)
            break
        q = se.cfs_rq
        cfs = cfs_rq(w, q)
        if slice_ns:
            se.slice_ns = slice_ns
            se.custom_slice = 1
        enqueue_entity(w, q, se_id, flags)
        slice_ns = cfs_rq_min_slice(w, q)
        cfs.h_nr_runnable += runnable
        cfs.h_nr_queued += 1
        cfs.h_nr_idle += idle
        if cfs.idle:
            idle = 1
        flags = ENQUEUE_WAKEUP
        se_id = se.parent
    refresh_ancestors(w, se_id, slice_ns, 1, runnable, idle)
    add_nr_running(w, task_struct(w, p).cpu, 1)


@kjit
def dequeue_entities(w, se_id, flags):
    """fair.c: dequeue_entities(). A task, or a delayed group, leaves; groups that become empty leave with it.

    Returns False if the dequeue of the task was delayed. A *delayed* task that leaves is then really off its CPU.
    """
    first = se_id
    is_task = sched_entity(w, se_id).my_q == NIL
    queued = runnable = idle = 0
    if is_task:
        queued = 1
        idle = 1 if task_has_idle_policy(w, se_id) else 0
        if flags & (DEQUEUE_SLEEP | DEQUEUE_DELAYED) or sched_entity(w, se_id).sched_delayed == 0:
            runnable = 1
    task_sleep, task_delayed = flags & DEQUEUE_SLEEP, flags & DEQUEUE_DELAYED
    cpu = cfs_rq(w, sched_entity(w, se_id).cfs_rq).cpu
    was_sched_idle = sched_idle_rq(w, cpu)
    slice_ns = 0
    while se_id != NIL:
        se = sched_entity(w, se_id)
        q = se.cfs_rq
        cfs = cfs_rq(w, q)
        if not dequeue_entity(w, q, se_id, flags):
            if se_id == first and is_task:
                return False
            slice_ns = cfs_rq_min_slice(w, q)
            break
        cfs.h_nr_runnable -= runnable
        cfs.h_nr_queued -= queued
        cfs.h_nr_idle -= idle
        if cfs.idle:
            idle = queued
        se_id = se.parent
        if cfs.load_weight:
            slice_ns = cfs_rq_min_slice(w, q)
            if task_sleep and se_id != NIL and cfs.throttle_count == 0:
                set_next_buddy(w, se_id)
            break
        flags |= DEQUEUE_SLEEP
        flags &= ~(DEQUEUE_DELAYED | DEQUEUE_SPECIAL)
    refresh_ancestors(w, se_id, slice_ns, -queued, -runnable, -idle)
    add_nr_running(w, cpu, -queued)
    if sched_idle_rq(w, cpu) and not was_sched_idle:
        cpu_rq(w, cpu).next_balance_ns = jiffies_ns(w)  # pull something better at the next tick
    if is_task and task_delayed:
        task_struct(w, first).on_rq = 0
    return True


@kjit
def dequeue_task_fair(w, p, flags):
    """fair.c: dequeue_task_fair(). A task leaves, or its leaving is delayed; then it returns False."""
    if not sched_entity(w, p).sched_delayed:
        util_est_dequeue(w, p)
    if flags & DEQUEUE_SLEEP:
        util_est_update(w, p)
    return dequeue_entities(w, p, flags)


@kjit
def pick_task_fair(w, cpu):
    """fair.c: pick_task_fair(). The task to run, from the root downwards; delayed entities met on the way leave.

    A task below a queue without run time is picked like any other, but has to leave before it enters the guest.
    """
    q = cpu
    throttled = False
    while True:
        if q == cpu and cfs_rq(w, q).nr_queued == 0:
            return NIL
        cfs = cfs_rq(w, q)
        if cfs.curr != NIL and sched_entity(w, cfs.curr).on_rq:
            update_curr(w, q)
        if cfs.runtime_enabled and check_cfs_rq_runtime(w, q):
            throttled = True
        se_id = __pick_eevdf(w, q, True)
        se = sched_entity(w, se_id)
        if se.sched_delayed:
            dequeue_entities(w, se_id, DEQUEUE_SLEEP | DEQUEUE_DELAYED)
            q = cpu
            throttled = False
        elif se.my_q == NIL:
            if throttled:
                task_struct(w, se_id).exit_work |= WORK_THROTTLE
            return se_id
        else:
            q = se.my_q


@kjit
def put_prev_task_fair(w, p):
    """fair.c: put_prev_task_fair(). A task stops running, on every level."""
    while p != NIL:
        se = sched_entity(w, p)
        put_prev_entity(w, se.cfs_rq, p)
        p = se.parent


@kjit
def set_next_task_fair(w, p):
    """fair.c: set_next_task_fair(). A task starts to run, on every level."""
    list_move_task(w, p)
    while p != NIL:
        se = sched_entity(w, p)
        set_next_entity(w, se.cfs_rq, p)
        p = se.parent


@kjit
def switch_fair(w, prev, p):
    """fair.c: pick_next_task_fair(), the second half. Stop `prev` and start `p` below their common queue only."""
    list_move_task(w, p)
    while sched_entity(w, p).cfs_rq != sched_entity(w, prev).cfs_rq:
        next_se, prev_se = sched_entity(w, p), sched_entity(w, prev)
        next_depth, prev_depth = next_se.depth, prev_se.depth
        if next_depth <= prev_depth:
            put_prev_entity(w, prev_se.cfs_rq, prev)
            prev = prev_se.parent
        if next_depth >= prev_depth:
            set_next_entity(w, next_se.cfs_rq, p)
            p = next_se.parent
    q = sched_entity(w, p).cfs_rq
    put_prev_entity(w, q, prev)
    set_next_entity(w, q, p)


@kjit
def task_tick_fair(w, p):
    """fair.c: task_tick_fair(), entity_tick(). Charge every level; groups' weights follow their shares."""
    while p != NIL:
        se = sched_entity(w, p)
        update_curr(w, se.cfs_rq)
        update_load_avg(w, se.cfs_rq, p, UPDATE_TG)
        update_cfs_group(w, p)
        p = se.parent


@kjit
def matching_ancestor(w, se_id, other):
    """fair.c: find_matching_se(), one side: the ancestor of `se_id` on the lowest queue that `other` is below too."""
    while True:
        se, peer = sched_entity(w, se_id), sched_entity(w, other)
        if se.cfs_rq == peer.cfs_rq:
            return se_id
        depth, peer_depth = se.depth, peer.depth
        if depth >= peer_depth:
            se_id = se.parent
        if peer_depth >= depth:
            other = peer.parent


@kjit
def set_preempt_buddy(w, q, pse):
    """fair.c: set_preempt_buddy(). NEXT_BUDDY: nominate the wakee unless an earlier deadline is nominated already."""
    buddy = cfs_rq(w, q).next
    if buddy != NIL and entity_before(w, buddy, pse):
        return False
    set_next_buddy(w, pse)
    return True


@kjit
def preempt_sync(w, cpu, wake_flags, pse, se_id):
    """fair.c: preempt_sync(). Whether a synchronous wakeup of the new buddy may preempt.

    Never in v6.19: the waker has just been charged, so its time since then is 0.
    """
    delta = cpu_rq(w, cpu).clock_ns - sched_entity(w, se_id).exec_start_ns
    threshold = sched_tunables(w).migration_cost_ns
    if wake_flags & WF_RQ_SELECTED:
        threshold >>= 2
    return entity_before(w, pse, se_id) and delta >= threshold


@kjit
def check_preempt_wakeup_fair(w, cpu, p, wake_flags):
    """fair.c: check_preempt_wakeup_fair(). Whether a woken or new task takes the CPU from the running one."""
    rq, feat = cpu_rq(w, cpu), sched_features(w)
    if rq.curr == p or rq.need_resched & TIF_NEED_RESCHED or not feat.WAKEUP_PREEMPTION:
        return
    se_id = matching_ancestor(w, rq.curr, p)
    pse = matching_ancestor(w, p, rq.curr)
    se = sched_entity(w, se_id)
    cse_is_idle, pse_is_idle = se_is_idle(w, se_id), se_is_idle(w, pse)
    if cse_is_idle and not pse_is_idle:
        if protect_slice(se):
            se.vlag = se.vruntime
        resched_curr_lazy(w, cpu)
        return
    if cse_is_idle != pse_is_idle or task_struct(w, p).policy != SCHED_NORMAL:
        return
    q = se.cfs_rq
    update_curr(w, q)
    short = feat.PREEMPT_SHORT and sched_entity(w, pse).slice_ns < se.slice_ns
    if not short:
        if wake_flags & WF_FORK or sched_entity(w, pse).sched_delayed:
            return
        if feat.NEXT_BUDDY and set_preempt_buddy(w, q, pse) and wake_flags & WF_SYNC:
            if preempt_sync(w, cpu, wake_flags, pse, se_id):
                resched_curr_lazy(w, cpu)
            return
    if __pick_eevdf(w, q, not short) == pse:
        if short and protect_slice(se):
            se.vlag = se.vruntime
        resched_curr_lazy(w, cpu)
    elif feat.RUN_TO_PARITY:
        update_protect_slice(w, q, se)


@kjit
def yield_task_fair(w, cpu):
    """fair.c: yield_task_fair(). The running task gives up the rest of its request, if it is eligible.

    Only its own entity is touched, never its groups'. Returns whether it forfeited anything.
    """
    rq = cpu_rq(w, cpu)
    if rq.nr_running == 1:
        return False
    se_id = rq.curr
    se = sched_entity(w, se_id)
    q = se.cfs_rq
    clear_buddies(w, q, se_id)
    rq.clock_read_ns = rq.clock_ns
    update_curr(w, q)
    if not entity_eligible(w, q, se_id):
        return False
    se.vruntime = se.deadline
    se.deadline += calc_delta_fair(se.slice_ns, se)
    return True
