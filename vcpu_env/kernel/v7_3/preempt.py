"""Whether a task that has woken up takes the CPU, and what that does to the protection of the one that runs."""

from vcpu_env.base.jit import NIL, entry_point, kjit
from vcpu_env.kernel.group import task_has_idle_policy
from vcpu_env.kernel.resched import resched_curr_lazy
from vcpu_env.kernel.types import (
    SCHED_NORMAL,
    TIF_NEED_RESCHED,
    WF_FORK,
    WF_RQ_SELECTED,
    WF_SYNC,
    cfs_rq,
    cpu_rq,
    sched_entity,
    sched_features,
    sched_tunables,
    task_struct,
)
from vcpu_env.kernel.v7_3.entity import (
    cancel_protect_slice,
    entity_before,
    entity_eligible,
    update_curr_fair,
    update_protect_slice,
)
from vcpu_env.kernel.v7_3.fair import pick_next_entity, set_next_buddy

PREEMPT_NO, PREEMPT, PREEMPT_SHORT, PREEMPT_IGNORE = range(4)
"""What a wake-up does: shorten the protection of the running task, take the CPU (with a shorter slice), nothing."""


@kjit
def set_preempt_buddy(w, cpu, p):
    """fair.c: set_preempt_buddy(). NEXT_BUDDY: nominate the wakee unless an earlier deadline is nominated already."""
    buddy = cfs_rq(w, cpu).next
    if buddy != NIL and entity_before(w, buddy, p):
        return False
    set_next_buddy(w, p)
    return True


@kjit
def set_short_buddy(w, cpu, p):
    """fair.c: set_short_buddy(). Nominate a wakee with a short slice, unless a shorter one is nominated already."""
    buddy = cfs_rq(w, cpu).next
    if buddy == NIL or sched_entity(w, buddy).slice_ns >= sched_entity(w, p).slice_ns:
        set_next_buddy(w, p)


@kjit
def preempt_sync(w, cpu, wake_flags, p, curr):
    """fair.c: preempt_sync(). Whether a synchronous wakeup of the new buddy may preempt.

    Hardly ever: the waker has just been charged, so its time since then is 0.
    """
    delta = cpu_rq(w, cpu).clock_ns - sched_entity(w, curr).exec_start_ns
    threshold = sched_tunables(w).migration_cost_ns
    if wake_flags & WF_RQ_SELECTED:
        threshold >>= 2
    return entity_before(w, p, curr) and delta >= threshold


@kjit
def is_next_pick(w, cpu, p, protect):
    """Whether a queued task would be picked now. Sleepers that would be picked before it leave for good."""
    while True:
        picked = pick_next_entity(w, cpu, protect)
        if picked != NIL:
            return picked == p


@kjit
def wakeup_decision(w, cpu, p, wake_flags):
    """fair.c: wakeup_preempt_fair(), the decision: PREEMPT_*."""
    curr, feat = cpu_rq(w, cpu).curr, sched_features(w)
    curr_is_idle, p_is_idle = task_has_idle_policy(w, curr), task_has_idle_policy(w, p)
    if curr_is_idle and not p_is_idle:
        return PREEMPT
    update_curr_fair(w, cpu)
    se = sched_entity(w, p)
    if curr_is_idle != p_is_idle or task_struct(w, p).policy != SCHED_NORMAL or se.sched_delayed:
        return PREEMPT_NO
    if feat.PREEMPT_SHORT and se.slice_ns < sched_entity(w, curr).slice_ns:
        if is_next_pick(w, cpu, p, False) or entity_eligible(w, cpu, p):
            return PREEMPT_SHORT
        return PREEMPT_NO
    if wake_flags & WF_FORK:
        return PREEMPT_NO
    if feat.NEXT_BUDDY and set_preempt_buddy(w, cpu, p) and wake_flags & WF_SYNC:
        return PREEMPT if preempt_sync(w, cpu, wake_flags, p, curr) else PREEMPT_IGNORE
    return PREEMPT if is_next_pick(w, cpu, p, True) else PREEMPT_NO


@entry_point
def wakeup_preempt_fair(w, cpu, p, wake_flags):
    """fair.c: wakeup_preempt_fair(). Whether a woken or new task takes the CPU from the running one."""
    rq, feat = cpu_rq(w, cpu), sched_features(w)
    curr = rq.curr
    if curr == p or not feat.WAKEUP_PREEMPTION:
        return 0
    if not feat.PREEMPT_SHORT and rq.need_resched & TIF_NEED_RESCHED:
        return 0
    decision = wakeup_decision(w, cpu, p, wake_flags)
    if decision == PREEMPT or decision == PREEMPT_SHORT:
        cancel_protect_slice(sched_entity(w, curr))
        if decision == PREEMPT_SHORT:
            set_short_buddy(w, cpu, p)
        resched_curr_lazy(w, cpu)
    elif decision == PREEMPT_NO and feat.RUN_TO_PARITY:
        update_protect_slice(w, cpu, curr)
    return 0
