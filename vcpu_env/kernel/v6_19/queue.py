"""One level of the hierarchy: entities join, leave, are delayed, picked, started and stopped on one queue."""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.bandwidth import (
    check_cfs_rq_runtime,
    check_enqueue_throttle,
    return_cfs_rq_runtime,
    start_pelt_clock,
    stop_pelt_clock,
)
from vcpu_env.kernel.cfs_tasks import list_add_task, list_del_task
from vcpu_env.kernel.load_avg import DO_ATTACH, DO_DETACH, UPDATE_TG, se_update_runnable, update_load_avg
from vcpu_env.kernel.types import (
    DEQUEUE_DELAYED,
    DEQUEUE_MIGRATING,
    DEQUEUE_SLEEP,
    DEQUEUE_SPECIAL,
    DEQUEUE_THROTTLE,
    ENQUEUE_MIGRATED,
    cfs_rq,
    cpu_rq,
    sched_entity,
    sched_features,
)
from vcpu_env.kernel.v6_19.entity import (
    __dequeue_entity,
    __enqueue_entity,
    clear_buddies,
    entity_before,
    entity_eligible,
    place_entity,
    protect_slice,
    se_is_idle,
    set_protect_slice,
    update_cfs_group,
    update_curr,
    update_entity_lag,
    vruntime_eligible,
)
from vcpu_env.kernel.weights import calc_delta_fair


@kjit
def set_next_buddy(w, se_id):
    """fair.c: set_next_buddy(). Nominate an entity, and its groups, as the next pick; stops at an idle-policy level."""
    while se_id != NIL:
        se = sched_entity(w, se_id)
        if se.on_rq == 0 or se_is_idle(w, se_id):
            return
        cfs = cfs_rq(w, se.cfs_rq)
        cfs.next, cfs.next_slack_ns = se_id, 0
        se_id = se.parent


@kjit
def may_pick_buddy(w, q):
    """fair.c: __pick_eevdf(), its condition on the buddy of a queue; one with slack may also be early by that much."""
    cfs = cfs_rq(w, q)
    if not sched_features(w).PICK_BUDDY or cfs.next == NIL:
        return False
    buddy = sched_entity(w, cfs.next)
    slack = calc_delta_fair(cfs.next_slack_ns, buddy) if cfs.next_slack_ns else 0
    return vruntime_eligible(w, q, buddy.vruntime - slack)


@kjit
def add_h_nr_runnable(w, se_id, count):
    """fair.c: set_delayed(), clear_delayed(). A task that stays queued while asleep is not runnable at any level."""
    if sched_entity(w, se_id).my_q != NIL:
        return
    while se_id != NIL:
        se = sched_entity(w, se_id)
        cfs_rq(w, se.cfs_rq).h_nr_runnable += count
        se_id = se.parent


@kjit
def enqueue_entity(w, q, se_id, flags):
    """fair.c: enqueue_entity(). An entity joins a queue."""
    cfs, se = cfs_rq(w, q), sched_entity(w, se_id)
    running = cfs.curr == se_id
    if running:
        place_entity(w, q, se_id, flags)
    update_curr(w, q)
    update_load_avg(w, q, se_id, UPDATE_TG | DO_ATTACH)
    se_update_runnable(w, se_id)
    update_cfs_group(w, se_id)
    if not running:
        place_entity(w, q, se_id, flags)
    cfs.load_weight += se.weight
    cfs.nr_queued += 1
    if se.my_q == NIL:
        list_add_task(w, se_id)
    if flags & ENQUEUE_MIGRATED:
        se.exec_start_ns = 0
    if not running:
        __enqueue_entity(w, q, se_id)
    se.on_rq = 1
    if cfs.nr_queued == 1:
        if cfs.runtime_enabled:
            check_enqueue_throttle(w, q)
        cfs.on_list = 1
        if cfs.throttle_count:
            start_pelt_clock(w, q)


@kjit
def dequeue_entity(w, q, se_id, flags):
    """fair.c: dequeue_entity(). An entity leaves a queue; returns False if its leaving was delayed.

    A sleeper that is ahead of V stays to compete until V has caught up, so that sleeping does not forgive its debt.
    """
    cfs, se = cfs_rq(w, q), sched_entity(w, se_id)
    update_curr(w, q)
    clear_buddies(w, q, se_id)
    sleep = flags & DEQUEUE_SLEEP
    if sleep and not flags & (DEQUEUE_DELAYED | DEQUEUE_SPECIAL | DEQUEUE_THROTTLE):
        if sched_features(w).DELAY_DEQUEUE and not entity_eligible(w, q, se_id):
            update_load_avg(w, q, se_id, 0)
            se.sched_delayed = 1
            add_h_nr_runnable(w, se_id, -1)
            return False
    migrating = flags & DEQUEUE_MIGRATING and se.my_q == NIL
    update_load_avg(w, q, se_id, UPDATE_TG | (DO_DETACH if migrating else 0))
    se_update_runnable(w, se_id)
    update_entity_lag(w, q, se_id)
    if sched_features(w).PLACE_REL_DEADLINE and not sleep:
        se.deadline -= se.vruntime
        se.rel_deadline = 1
    if cfs.curr != se_id:
        __dequeue_entity(w, q, se_id)
    se.on_rq = 0
    cfs.load_weight -= se.weight
    cfs.nr_queued -= 1
    if se.my_q == NIL:
        list_del_task(w, se_id)
    if cfs.runtime_enabled and cfs.nr_queued == 0:
        return_cfs_rq_runtime(w, q)
    update_cfs_group(w, se_id)
    if flags & DEQUEUE_DELAYED:
        se.sched_delayed = 0
        add_h_nr_runnable(w, se_id, 1)
        if sched_features(w).DELAY_ZERO and se.vlag > 0:
            se.vlag = 0
    if cfs.throttle_count and cfs.nr_queued == 0:
        stop_pelt_clock(w, q)
    return True


@kjit
def requeue_delayed_entity(w, se_id):
    """fair.c: requeue_delayed_entity(). A delayed entity wakes up: it just stays, without positive lag.

    The running entity is not charged first, so V, and with it the lag, may be a little old.
    """
    se = sched_entity(w, se_id)
    q = se.cfs_rq
    cfs = cfs_rq(w, q)
    if sched_features(w).DELAY_ZERO:
        update_entity_lag(w, q, se_id)
        if se.vlag > 0:
            running = cfs.curr == se_id
            cfs.nr_queued -= 1
            if not running:
                __dequeue_entity(w, q, se_id)
            se.vlag = 0
            place_entity(w, q, se_id, 0)
            if not running:
                __enqueue_entity(w, q, se_id)
            cfs.nr_queued += 1
    update_load_avg(w, q, se_id, 0)
    se.sched_delayed = 0
    add_h_nr_runnable(w, se_id, 1)


@kjit
def pick_eevdf_tree(w, q):
    """fair.c: __pick_eevdf(), the heap search: the eligible entity with the earliest deadline in the tree, or NIL."""
    cfs = cfs_rq(w, q)
    if cfs.rb_leftmost != NIL and entity_eligible(w, q, cfs.rb_leftmost):
        return cfs.rb_leftmost
    node = cfs.rb_root
    while node != NIL:
        se = sched_entity(w, node)
        left = se.rb_left
        if left != NIL and vruntime_eligible(w, q, sched_entity(w, left).min_vruntime):
            node = left
            continue
        if vruntime_eligible(w, q, se.vruntime):
            break
        node = se.rb_right
    return node


@kjit
def __pick_eevdf(w, q, protect):
    """fair.c: __pick_eevdf(). Earliest eligible virtual deadline first.

    An eligible buddy beats slice protection, protection beats deadlines, and on equal deadlines a waiting entity beats
    the running one.
    """
    cfs = cfs_rq(w, q)
    curr = cfs.curr
    if curr != NIL and sched_entity(w, curr).on_rq == 0:
        curr = NIL
    if cfs.nr_queued == 1:
        return curr if curr != NIL else cfs.rb_leftmost
    if may_pick_buddy(w, q):
        return cfs.next
    if curr != NIL and not entity_eligible(w, q, curr):
        curr = NIL
    if curr != NIL and protect and protect_slice(sched_entity(w, curr)):
        return curr
    best = pick_eevdf_tree(w, q)
    if best == NIL or (curr != NIL and entity_before(w, curr, best)):
        best = curr
    return best


@kjit
def set_next_entity(w, q, se_id):
    """fair.c: set_next_entity(). An entity starts to run: it leaves the tree, protected for its slice."""
    cfs, se = cfs_rq(w, q), sched_entity(w, se_id)
    clear_buddies(w, q, se_id)
    if se.on_rq:
        __dequeue_entity(w, q, se_id)
        update_load_avg(w, q, se_id, UPDATE_TG)
        set_protect_slice(w, q, se)
    se.exec_start_ns = cpu_rq(w, cfs.cpu).clock_ns
    cfs.curr = se_id


@kjit
def put_prev_entity(w, q, se_id):
    """fair.c: put_prev_entity(). An entity stops running: charged, and back into the tree if still queued."""
    cfs, se = cfs_rq(w, q), sched_entity(w, se_id)
    if se.on_rq:
        update_curr(w, q)
    if cfs.runtime_enabled:
        check_cfs_rq_runtime(w, q)
    if se.on_rq:
        __enqueue_entity(w, q, se_id)
        update_load_avg(w, q, se_id, 0)
    cfs.curr = NIL
