"""Other boosts than the series' penalty: virtual time given to the target of a yield, or moved to it from the yielder.

A hint alone is often passed over: the scheduler picks the hinted entity only where it is eligible. v2 makes the yielder
pay so that the average moves past the target; here the target itself is moved:

* credit: every level of the target's chain that is not eligible is placed a margin behind the average. Nobody is
  charged, so all others on those queues pay a little. The idea is v3's; its margin was not published, the one here is
  a stand-in, and v3 acts on the yielder's own run queue only.
* transfer: the same, and the yielder's chain is charged with the service that the target was credited with, as far as
  its lag may fall. On one queue the average stays where it is.
* borrow: nobody's virtual time is touched; the hint itself may be early. At each level it is honoured as long as the
  target is not more than `borrow_ns` of service ahead of its share (times the scale of the decision), as CFS honoured
  a buddy within its wakeup granularity (wakeup_preempt_entity() in pick_next_entity(), up to v6.5). What was run early
  is waited for later, so shares stay as they are, and no queue is owed much more than that.
* minimal: the yielder's entity at the lowest common queue is charged with as little as makes the target eligible, as
  far as its lag may fall; on one run queue only.

Three more need no arithmetic: a plain yield has no target, "stay" hints (or credits) the target while the spinner keeps
its own CPU, and "force" lets the target's CPU pick it next, eligible or not, at nobody's expense: a ceiling, no policy.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.resched import resched_curr
from vcpu_env.kernel.types import cfs_rq, cpu_rq, sched_entity, sched_tunables, task_struct
from vcpu_env.kernel.v6_19.entity import (
    __dequeue_entity,
    __enqueue_entity,
    avg_vruntime,
    entity_eligible,
    place_entity,
    protect_slice,
    update_curr,
)
from vcpu_env.kernel.v6_19.fair import matching_ancestor
from vcpu_env.kernel.v6_19.yield_deboost import yield_deboost_apply_penalty
from vcpu_env.kernel.weights import calc_delta_fair, scale_load_down
from vcpu_env.kernel.yield_penalty import scaled, yield_deboost_rate_limit
from vcpu_env.kernel.yield_types import (
    BOOST_BORROW,
    BOOST_CREDIT,
    BOOST_FORCE,
    BOOST_MINIMAL,
    BOOST_RULE,
    BOOST_STAY_CREDIT,
    BOOST_TRANSFER,
    DEBOOST_V3,
    MARGIN_FULL_DEPTH,
    deboost_params,
    yield_decision,
)


@kjit
def lag_limit(w, se):
    """The largest lag that the scheduler lets an entity keep."""
    tun = sched_tunables(w)
    return calc_delta_fair(max(2 * se.slice_ns, tun.tick_ns), se)


@kjit
def credit_margin(w, q, se):
    """Lag that a credited entity is given: an eighth of its base slice for each entity queued, at most all of it."""
    depth = min(cfs_rq(w, q).nr_queued, MARGIN_FULL_DEPTH)
    margin = calc_delta_fair(sched_tunables(w).base_slice_ns, se) * depth // MARGIN_FULL_DEPTH
    return min(margin * deboost_params(w).credit_margin_1024 >> 10, lag_limit(w, se))


@kjit
def shift_running(w, q, se_id, vlag):
    """Move the running entity of a queue, with its protection and deadline, to the given lag."""
    cfs, se = cfs_rq(w, q), sched_entity(w, se_id)
    if cfs.avg_load == 0:
        return
    weight = scale_load_down(se.weight)
    rest = cfs.zero_vruntime + cfs.avg_vruntime // cfs.avg_load
    shift = rest - vlag * (cfs.avg_load + weight) // cfs.avg_load - se.vruntime
    se.vruntime += shift
    se.deadline += shift
    se.vlag += shift


@kjit
def place_waiting(w, q, se_id, vlag):
    """Take a waiting entity out of its queue and place it with the given lag, as requeue_delayed_entity() does."""
    cfs, se = cfs_rq(w, q), sched_entity(w, se_id)
    cfs.nr_queued -= 1
    __dequeue_entity(w, q, se_id)
    se.vlag = vlag
    place_entity(w, q, se_id, 0)
    __enqueue_entity(w, q, se_id)
    cfs.nr_queued += 1


@kjit
def credit_target(w, p):
    """Make every level of a waiting task's chain eligible. Returns the service credited (ns), the most of any level.

    The clock of the task's CPU must be current.
    """
    service = 0
    se_id = p
    while se_id != NIL:
        se = sched_entity(w, se_id)
        q = se.cfs_rq
        update_curr(w, q)
        if not entity_eligible(w, q, se_id):
            before = se.vruntime
            if cfs_rq(w, q).curr == se_id:
                shift_running(w, q, se_id, credit_margin(w, q, se))
            else:
                place_waiting(w, q, se_id, credit_margin(w, q, se))
            service = max(service, (before - se.vruntime) * scale_load_down(se.weight) // 1024)
        se_id = se.parent
    return service


@kjit
def charge_yielder(w, cpu, p, service_ns):
    """Charge the running task of `cpu` with service that went to `p`, on every level below a queue that both share."""
    se_id = cpu_rq(w, cpu).curr
    here = task_struct(w, p).cpu == cpu
    while se_id != NIL:
        se = sched_entity(w, se_id)
        q = se.cfs_rq
        update_curr(w, q)
        room = lag_limit(w, se) + avg_vruntime(w, q) - se.vruntime
        delta = min(service_ns * 1024 // max(scale_load_down(se.weight), 1), room)
        if delta > 0:
            se.vruntime += delta
            se.deadline += delta
        if here and shares_queue(w, q, p):
            return
        se_id = se.parent


@kjit
def shares_queue(w, q, p):
    """Whether a task, or a group that it is in, waits on queue `q`."""
    while p != NIL:
        if sched_entity(w, p).cfs_rq == q:
            return True
        p = sched_entity(w, p).parent
    return False


@kjit
def boost_minimal(w, cpu, p):
    """The smallest bounded charge on the running task's chain that makes the target eligible, where they meet."""
    if task_struct(w, p).cpu != cpu:
        return
    y, t = matching_ancestor(w, cpu_rq(w, cpu).curr, p), matching_ancestor(w, p, cpu_rq(w, cpu).curr)
    q = sched_entity(w, y).cfs_rq
    update_curr(w, q)
    if entity_eligible(w, q, t):
        return
    cfs, se = cfs_rq(w, q), sched_entity(w, y)
    weight = max(scale_load_down(se.weight), 1)
    missing = (sched_entity(w, t).vruntime - cfs.zero_vruntime) * (cfs.avg_load + weight)
    missing -= cfs.avg_vruntime + (se.vruntime - cfs.zero_vruntime) * weight
    room = lag_limit(w, se) + avg_vruntime(w, q) - se.vruntime
    delta = min((missing + weight - 1) // weight, room)
    if delta > 0:
        se.vruntime += delta
        se.deadline += delta
        yield_decision(w).penalty_ns = delta
        yield_decision(w).applied = 1


@kjit
def boost_borrow(w, p):
    """Let the hint for a waiting task be early, on every level that names its branch."""
    while p != NIL:
        se = sched_entity(w, p)
        cfs = cfs_rq(w, se.cfs_rq)
        if cfs.next == p:
            cfs.next_slack_ns = scaled(deboost_params(w).borrow_ns, yield_decision(w).penalty_scale_q16)
        p = se.parent


@kjit
def boost_force(w, p):
    """The target's CPU will pick it next."""
    cpu_rq(w, task_struct(w, p).cpu).forced = p


@kjit
def boost_v3(w, cpu, p):
    """v3: credit the target on the yielder's own run queue; once in 6 ms end the yielder's slice protection as well.

    The forced reschedule is a model of yield_to_local_force_resched(), of which only the description is known.
    """
    if task_struct(w, p).cpu != cpu:
        return
    boost_credit(w, cpu, p)
    rq = cpu_rq(w, cpu)
    if yield_deboost_rate_limit(rq, rq.clock_ns, deboost_params(w).rate_limit_ns, False):
        return
    se_id = rq.curr
    while se_id != NIL:
        se = sched_entity(w, se_id)
        if protect_slice(se):
            se.vlag = se.vruntime
        se_id = se.parent
    resched_curr(w, cpu)


@kjit
def boost_credit(w, cpu, p):
    """Lag credit for the target of the current yield."""
    yield_decision(w).credit_ns = credit_target(w, p)


@kjit
def boost_transfer(w, cpu, p):
    """Lag moved from the yielder to the target of the current yield."""
    service_ns = credit_target(w, p)
    yield_decision(w).credit_ns = service_ns
    if service_ns > 0:
        charge_yielder(w, cpu, p, service_ns)


@kjit
def boost_yield(w, cpu, p):
    """What the current yield of the running task does for its target: the penalty chosen, or the boost in its place."""
    decision = yield_decision(w)
    boost = decision.boost
    if decision.pending:
        yield_deboost_apply_penalty(w)
    elif boost == BOOST_CREDIT or boost == BOOST_STAY_CREDIT:
        boost_credit(w, cpu, p)
    elif boost == BOOST_TRANSFER:
        boost_transfer(w, cpu, p)
    elif boost == BOOST_MINIMAL:
        boost_minimal(w, cpu, p)
    elif boost == BOOST_BORROW:
        boost_borrow(w, p)
    elif boost == BOOST_FORCE:
        boost_force(w, p)
    elif boost == BOOST_RULE and deboost_params(w).deboost == DEBOOST_V3:
        boost_v3(w, cpu, p)
