"""The fair scheduling class: tasks join a CPU, leave it, are picked, run and yield."""

from vcpu_env.base.jit import NIL, entry_point, kjit
from vcpu_env.kernel.cfs_tasks import list_move_task
from vcpu_env.kernel.clock import jiffies_ns
from vcpu_env.kernel.group import task_has_idle_policy
from vcpu_env.kernel.load_avg import UPDATE_TG, update_load_avg
from vcpu_env.kernel.nr_running import add_nr_running, sched_idle_rq
from vcpu_env.kernel.resched import resched_curr
from vcpu_env.kernel.types import (
    DEQUEUE_DELAYED,
    DEQUEUE_SLEEP,
    DEQUEUE_SPECIAL,
    DEQUEUE_THROTTLE,
    ENQUEUE_DELAYED,
    WORK_THROTTLE,
    cfs_rq,
    cpu_rq,
    sched_entity,
    sched_features,
    task_struct,
)
from vcpu_env.kernel.util_est import util_est_dequeue, util_est_enqueue, util_est_update
from vcpu_env.kernel.v7_3.bandwidth import account_cfs_rq_runtime
from vcpu_env.kernel.v7_3.entity import (
    __dequeue_entity,
    __enqueue_entity,
    calc_delta_fair,
    clear_buddies,
    entity_before,
    entity_eligible,
    place_entity,
    protect_slice,
    reweight_joining,
    reweight_queued,
    set_protect_slice,
    update_curr,
    update_curr_eevdf,
    update_deadline,
    update_entity_lag,
    virtual_time,
)
from vcpu_env.kernel.v7_3.group import hierarchical_weight, update_cfs_group
from vcpu_env.kernel.v7_3.hrtick import hrtick_start_fair, hrtick_update
from vcpu_env.kernel.v7_3.level import (
    add_h_nr_runnable,
    dequeue_hierarchy,
    enqueue_hierarchy,
    put_prev_entity,
    set_next_entity,
)


@kjit
def requeue_delayed_entity(w, cpu, p):
    """fair.c: requeue_delayed_entity(). A task that sleeps without having left wakes up.

    It stays where it is, unless what it owes has become less; then it is placed anew.
    """
    se, waits = sched_entity(w, p), cfs_rq(w, cpu).curr_task != p
    if update_entity_lag(w, cpu, p):
        if waits:
            __dequeue_entity(w, cpu, p)
        place_entity(w, cpu, p, cfs_rq(w, cpu).h_nr_queued - 1, 0)
        if waits:
            __enqueue_entity(w, cpu, p)
    update_load_avg(w, cpu, p, 0)
    se.sched_delayed = 0
    add_h_nr_runnable(w, p, 1)


@entry_point
def enqueue_task_fair(w, p, flags):
    """fair.c: enqueue_task_fair(). A task joins its CPU."""
    cpu, se = task_struct(w, p).cpu, sched_entity(w, p)
    if flags & ENQUEUE_DELAYED or not se.sched_delayed:
        util_est_enqueue(w, p)
    update_curr_eevdf(w, cpu)
    if flags & ENQUEUE_DELAYED:
        requeue_delayed_entity(w, cpu, p)
        return 0
    root = cfs_rq(w, cpu)
    running = root.curr_task == p
    if running:
        place_entity(w, cpu, p, root.h_nr_queued, flags)
    enqueue_hierarchy(w, p, flags)
    if not running:
        reweight_joining(se, hierarchical_weight(w, p))
        place_entity(w, cpu, p, root.h_nr_queued - 1, flags)
        __enqueue_entity(w, cpu, p)
    add_nr_running(w, cpu, 1)
    hrtick_update(w, cpu)
    return 0


@kjit
def dequeue_task(w, p, flags):
    """fair.c: __dequeue_task(). A task leaves, or its leaving is delayed; then it returns False.

    A sleeper that is ahead of V stays to compete until V has caught up, so that sleeping does not forgive its debt.
    """
    cpu, se = task_struct(w, p).cpu, sched_entity(w, p)
    sleep, was_sched_idle = flags & DEQUEUE_SLEEP, sched_idle_rq(w, cpu)
    clear_buddies(w, cpu, p)
    update_curr_eevdf(w, cpu)
    update_entity_lag(w, cpu, p)
    if sleep and not flags & (DEQUEUE_DELAYED | DEQUEUE_SPECIAL | DEQUEUE_THROTTLE):
        if sched_features(w).DELAY_DEQUEUE and not entity_eligible(w, cpu, p):
            update_load_avg(w, se.cfs_rq, p, 0)
            util_est_update(w, p)
            se.sched_delayed = 1
            add_h_nr_runnable(w, p, -1)
            return False
    dequeue_hierarchy(w, p, flags)
    if sched_features(w).PLACE_REL_DEADLINE and not sleep:
        se.deadline -= se.vruntime
        se.rel_deadline = 1
    if cfs_rq(w, cpu).curr_task != p:
        __dequeue_entity(w, cpu, p)
    add_nr_running(w, cpu, -1)
    if sched_idle_rq(w, cpu) and not was_sched_idle:
        cpu_rq(w, cpu).next_balance_ns = jiffies_ns(w)  # pull something better at the next tick
    if flags & DEQUEUE_DELAYED:
        se.sched_delayed = 0
        add_h_nr_runnable(w, p, 1)  # it has left this count twice: when its leaving was delayed, and now
        task_struct(w, p).on_rq = 0
    return True


@entry_point
def dequeue_task_fair(w, p, flags):
    """fair.c: dequeue_task_fair(). Returns 0 if the leaving is delayed, else 1."""
    if not sched_entity(w, p).sched_delayed:
        util_est_dequeue(w, p)
    return 1 if dequeue_task(w, p, flags) else 0


@kjit
def pick_eevdf_tree(w, cpu):
    """fair.c: pick_eevdf(), the heap search: the eligible task with the earliest deadline in the tree, or NIL."""
    root, vruntime = cfs_rq(w, cpu), virtual_time(w, cpu)
    first = root.rb_leftmost
    if first != NIL and sched_entity(w, first).vruntime - vruntime <= 0:
        return first
    node = root.rb_root
    while node != NIL:
        se = sched_entity(w, node)
        if se.rb_left != NIL and sched_entity(w, se.rb_left).min_vruntime - vruntime <= 0:
            node = se.rb_left
        elif se.vruntime - vruntime <= 0:
            break
        else:
            node = se.rb_right
    return node


@kjit
def may_pick_buddy(w, cpu):
    """fair.c: pick_eevdf(), its condition on the buddy; one with slack may also be early by that much."""
    root = cfs_rq(w, cpu)
    if not sched_features(w).PICK_BUDDY or root.next == NIL:
        return False
    buddy = sched_entity(w, root.next)
    slack = calc_delta_fair(root.next_slack_ns, buddy) if root.next_slack_ns else 0
    return buddy.vruntime - slack - virtual_time(w, cpu) <= 0


@kjit
def pick_eevdf(w, cpu, protect):
    """fair.c: pick_eevdf(). Earliest eligible virtual deadline first.

    An eligible buddy beats slice protection, protection beats deadlines, and on equal deadlines a waiting task beats
    the running one. Without `protect` there are neither buddies nor protection.
    """
    root = cfs_rq(w, cpu)
    curr = root.curr_task
    if curr != NIL and sched_entity(w, curr).on_rq == 0:
        curr = NIL
    if root.h_nr_queued == 1:
        return curr if curr != NIL else root.rb_leftmost
    if protect and may_pick_buddy(w, cpu):
        return root.next
    if curr != NIL and not entity_eligible(w, cpu, curr):
        curr = NIL
    if curr != NIL and protect and protect_slice(sched_entity(w, curr)):
        return curr
    best = pick_eevdf_tree(w, cpu)
    if best == NIL or (curr != NIL and entity_before(w, curr, best)):
        best = curr
    return best


@kjit
def pick_next_entity(w, cpu, protect):
    """fair.c: pick_next_entity(). A task; NIL if that sleeps: then it has left now, and another pick must follow."""
    p = pick_eevdf(w, cpu, protect)
    if sched_entity(w, p).sched_delayed:
        dequeue_task(w, p, DEQUEUE_SLEEP | DEQUEUE_DELAYED)
        return NIL
    return p


@entry_point
def pick_task_fair(w, cpu):
    """fair.c: pick_task_fair(). The task to run, NIL if there is none."""
    root = cfs_rq(w, cpu)
    while root.h_nr_queued:
        if root.curr_task != NIL and sched_entity(w, root.curr_task).on_rq:
            update_curr_eevdf(w, cpu)
        p = pick_next_entity(w, cpu, True)
        if p != NIL:
            return p
    return NIL


@kjit
def put_back(w, p):
    """fair.c: put_prev_task_fair(), the end. What ran goes back into the tree, if it is still queued."""
    cpu = task_struct(w, p).cpu
    cfs_rq(w, cpu).curr_task = NIL
    if sched_entity(w, p).on_rq:
        __enqueue_entity(w, cpu, p)


@entry_point
def put_prev_task_fair(w, p):
    """fair.c: put_prev_task_fair(), without a fair task to follow. A task stops running, on every level."""
    se_id = p
    while se_id != NIL:
        put_prev_entity(w, se_id)
        se_id = sched_entity(w, se_id).parent
    put_back(w, p)
    return 0


@entry_point
def set_next_task_fair(w, p, first):
    """fair.c: set_next_task_fair(). A task starts to run, where nothing of its groups runs already.

    `first`: it was picked, and is protected; else it goes on after a change of its weight, policy or group.
    """
    cpu, on_rq, throttled = task_struct(w, p).cpu, sched_entity(w, p).on_rq, False
    root = cfs_rq(w, cpu)
    clear_buddies(w, cpu, p)
    if on_rq:
        __dequeue_entity(w, cpu, p)
    se_id = p
    while se_id != NIL:
        q = sched_entity(w, se_id).cfs_rq
        cfs = cfs_rq(w, q)
        if not first or cfs.curr == NIL:
            set_next_entity(w, se_id)
        if cfs.runtime_enabled and account_cfs_rq_runtime(w, q, 0):
            throttled = True
        se_id = sched_entity(w, se_id).parent
    if throttled:
        task_struct(w, p).exit_work |= WORK_THROTTLE
    root.curr_task = p
    if on_rq:
        reweight_queued(w, cpu, p, hierarchical_weight(w, p))
        if first:
            set_protect_slice(w, cpu, p)
    list_move_task(w, p)
    if first:
        hrtick_start_fair(w, cpu, p)
    return 0


@entry_point
def switch_fair(w, prev, p):
    """fair.c: put_prev_task_fair() and set_next_task_fair(), from one task to another.

    Nothing happens above the lowest queue that both are below.
    """
    se_id, other = prev, p
    while True:
        se, next_se = sched_entity(w, se_id), sched_entity(w, other)
        same, depth, next_depth = se.cfs_rq == next_se.cfs_rq, se.depth, next_se.depth
        if next_depth <= depth:
            put_prev_entity(w, se_id)
            se_id = se.parent
        if next_depth >= depth:
            other = next_se.parent
        if same:
            break
    put_back(w, prev)
    set_next_task_fair(w, p, 1)
    return 0


@kjit
def tick_hierarchy(w, p):
    """fair.c: task_tick_fair(), entity_tick(). Charge every level; weights follow the shares, the task's with them."""
    if not sched_entity(w, p).on_rq:
        return
    se_id = p
    while se_id != NIL:
        se = sched_entity(w, se_id)
        update_curr(w, se.cfs_rq)
        update_load_avg(w, se.cfs_rq, se_id, UPDATE_TG)
        update_cfs_group(w, se_id)
        se_id = se.parent
    reweight_queued(w, task_struct(w, p).cpu, p, hierarchical_weight(w, p))


@entry_point
def task_tick_fair(w, p):
    """fair.c: task_tick_fair(). The periodic tick."""
    tick_hierarchy(w, p)
    return 0


@entry_point
def hrtick(w, cpu):
    """core.c: hrtick(). The slice of the running task is over: as a tick, and the CPU reschedules at once.

    The CPU's clock must be current.
    """
    rq = cpu_rq(w, cpu)
    rq.hrtick_expires_ns = NIL
    if rq.curr != NIL:
        tick_hierarchy(w, rq.curr)
        resched_curr(w, cpu)
    return 0


@kjit
def set_next_buddy(w, p):
    """fair.c: set_next_buddy(). Nominate a task as the next pick of its CPU, unless its policy is idle."""
    se = sched_entity(w, p)
    if se.on_rq and not se.sched_delayed and not task_has_idle_policy(w, p):
        root = cfs_rq(w, task_struct(w, p).cpu)
        root.next, root.next_slack_ns = p, 0


@entry_point
def yield_task_fair(w, cpu):
    """fair.c: yield_task_fair(). The running task gives up the rest of its request, if it is not ahead of its share.

    All tasks of the CPU gain by that. Returns whether it forfeited anything.
    """
    rq = cpu_rq(w, cpu)
    if rq.nr_running == 1:
        return 0
    p = rq.curr
    clear_buddies(w, cpu, p)
    rq.clock_read_ns = rq.clock_ns
    update_curr_eevdf(w, cpu)
    if not entity_eligible(w, cpu, p):
        return 0
    se = sched_entity(w, p)
    se.vruntime = se.deadline
    update_deadline(w, cpu, p)
    return 1
