"""Other boosts of a directed yield's target on v7.3: what `v6_19.yield_boost` does on each level, on the only one.

None of them is a rule of any kernel; v3 of the series is, on v6.19, and what stands for it here is this project's.
"""

from vcpu_env.base.jit import entry_point, kjit
from vcpu_env.kernel.resched import resched_curr
from vcpu_env.kernel.types import cfs_rq, cpu_rq, sched_entity, sched_tunables, task_struct
from vcpu_env.kernel.v7_3.entity import (
    __dequeue_entity,
    __enqueue_entity,
    avg_vruntime,
    calc_delta_fair,
    cancel_protect_slice,
    cfs_rq_max_slice,
    entity_eligible,
    place_entity,
    update_curr_eevdf,
)
from vcpu_env.kernel.v7_3.yield_deboost import yield_deboost_apply_penalty
from vcpu_env.kernel.weights import NICE_0_LOAD
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
def lag_limit(w, cpu, se):
    """The largest lag that the scheduler lets a task keep."""
    return calc_delta_fair(cfs_rq_max_slice(w, cpu) + sched_tunables(w).tick_ns, se)


@kjit
def credit_margin(w, cpu, se):
    """Lag that a credited task is given: an eighth of its base slice for each task queued, at most all of it."""
    depth = min(cfs_rq(w, cpu).h_nr_queued, MARGIN_FULL_DEPTH)
    margin = calc_delta_fair(sched_tunables(w).base_slice_ns, se) * depth // MARGIN_FULL_DEPTH
    return min(margin * deboost_params(w).credit_margin_1024 >> 10, lag_limit(w, cpu, se))


@kjit
def credit_target(w, p):
    """Make a waiting task eligible: it is placed that margin behind the average. Returns the service credited (ns).

    The clock of the task's CPU must be current.
    """
    cpu, se = task_struct(w, p).cpu, sched_entity(w, p)
    update_curr_eevdf(w, cpu)
    if entity_eligible(w, cpu, p):
        return 0
    before = se.vruntime
    __dequeue_entity(w, cpu, p)
    se.vlag = credit_margin(w, cpu, se)
    place_entity(w, cpu, p, cfs_rq(w, cpu).h_nr_queued - 1, 0)
    __enqueue_entity(w, cpu, p)
    return (before - se.vruntime) * se.h_load // NICE_0_LOAD


@kjit
def charge(w, cpu, delta):
    """Charge the running task with virtual time, as far as its lag may fall. Returns how much that was."""
    se = sched_entity(w, cpu_rq(w, cpu).curr)
    delta = min(delta, lag_limit(w, cpu, se) + avg_vruntime(w, cpu) - se.vruntime)
    if delta <= 0:
        return 0
    se.vruntime += delta
    se.deadline += delta
    avg_vruntime(w, cpu)
    return delta


@kjit
def boost_credit(w, p):
    """Lag credit for the target of the current yield, at the expense of all others on its CPU."""
    yield_decision(w).credit_ns = credit_target(w, p)


@kjit
def boost_transfer(w, cpu, p):
    """Lag moved from the yielder to the target of the current yield."""
    service_ns = credit_target(w, p)
    yield_decision(w).credit_ns = service_ns
    if service_ns > 0:
        update_curr_eevdf(w, cpu)
        charge(w, cpu, service_ns * NICE_0_LOAD // sched_entity(w, cpu_rq(w, cpu).curr).h_load)


@kjit
def boost_minimal(w, cpu, p):
    """The smallest bounded charge on the running task that makes the target eligible, on one CPU."""
    if task_struct(w, p).cpu != cpu:
        return
    update_curr_eevdf(w, cpu)
    root, se = cfs_rq(w, cpu), sched_entity(w, cpu_rq(w, cpu).curr)
    lead = sched_entity(w, p).vruntime - avg_vruntime(w, cpu)  # the sums are relative to V now
    if lead <= 0:
        return
    missing = lead * (root.avg_load + se.h_load) - root.avg_vruntime - (se.vruntime - root.zero_vruntime) * se.h_load
    delta = charge(w, cpu, (missing + se.h_load - 1) // se.h_load)
    if delta:
        yield_decision(w).penalty_ns = delta
        yield_decision(w).applied = 1


@kjit
def boost_borrow(w, p):
    """Let the hint for a waiting task be early."""
    root = cfs_rq(w, task_struct(w, p).cpu)
    if root.next == p:
        root.next_slack_ns = scaled(deboost_params(w).borrow_ns, yield_decision(w).penalty_scale_q16)


@kjit
def boost_v3(w, cpu, p):
    """v3: credit the target on the yielder's own CPU; once in 6 ms end the yielder's slice protection as well."""
    if task_struct(w, p).cpu != cpu:
        return
    boost_credit(w, p)
    rq = cpu_rq(w, cpu)
    if not yield_deboost_rate_limit(rq, rq.clock_ns, deboost_params(w).rate_limit_ns, False):
        cancel_protect_slice(sched_entity(w, rq.curr))
        resched_curr(w, cpu)


@entry_point
def boost_yield(w, cpu, p):
    """What the current yield of the running task does for its target: the penalty chosen, or the boost in its place."""
    decision = yield_decision(w)
    boost = decision.boost
    if decision.pending:
        yield_deboost_apply_penalty(w)
    elif boost == BOOST_CREDIT or boost == BOOST_STAY_CREDIT:
        boost_credit(w, p)
    elif boost == BOOST_TRANSFER:
        boost_transfer(w, cpu, p)
    elif boost == BOOST_MINIMAL:
        boost_minimal(w, cpu, p)
    elif boost == BOOST_BORROW:
        boost_borrow(w, p)
    elif boost == BOOST_FORCE:
        cpu_rq(w, task_struct(w, p).cpu).forced = p
    elif boost == BOOST_RULE and deboost_params(w).deboost == DEBOOST_V3:
        boost_v3(w, cpu, p)
    return 0
