"""The series' debooster: a vruntime penalty for the vCPU that yields, so that the hinted one becomes eligible.

Three steps, so that another rule can take the middle one: `yield_deboost_prepare` decides whether this yield may be
penalised and measures it, `yield_penalty.choose_penalty` computes the penalty, `yield_deboost_apply_penalty` charges it
to the yielder's entity at the lowest common ancestor. v2 is the posted series of December 2025, v1 that of November.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.types import cfs_rq, cpu_rq, sched_entity, sched_tunables, task_struct
from vcpu_env.kernel.v6_19.entity import avg_vruntime, update_curr
from vcpu_env.kernel.v6_19.fair import matching_ancestor
from vcpu_env.kernel.weights import calc_delta_fair
from vcpu_env.kernel.yield_penalty import (
    u64_less,
    yield_deboost_debounce,
    yield_deboost_need,
    yield_deboost_rate_limit,
)
from vcpu_env.kernel.yield_types import (
    BOOST_PENALTY,
    BOOST_RULE,
    DEBOOST_NONE,
    DEBOOST_V1,
    DEBOOST_V3,
    SKIP_DISABLED,
    SKIP_LCA,
    SKIP_NOT,
    SKIP_NOT_SAME_RQ,
    SKIP_RATE_LIMIT,
    SKIP_WRAP,
    deboost_params,
    yield_decision,
)


@kjit
def yield_deboost_may(w, cpu, p):
    """yield_deboost_validate_tasks(), yield_deboost_find_lca(). Why this yield is not penalised, or SKIP_NOT if it is.

    The limiter comes first, so a yield that is refused for another reason still uses up the turn. v2 looks at the fresh
    clock, v1 at the one that the CPU last read.
    """
    rq, params, decision = cpu_rq(w, cpu), deboost_params(w), yield_decision(w)
    if params.vcpu_debooster_enabled == 0:
        return SKIP_DISABLED
    v1 = params.deboost == DEBOOST_V1
    now = rq.clock_read_ns if v1 else rq.clock_ns
    if params.late_limiter and task_struct(w, p).cpu != cpu:
        return SKIP_NOT_SAME_RQ
    limited = yield_deboost_rate_limit(rq, now, params.rate_limit_ns, v1)
    if not v1:
        rq.clock_read_ns = rq.clock_ns
    if limited:
        return SKIP_RATE_LIMIT
    if task_struct(w, p).cpu != cpu:
        return SKIP_NOT_SAME_RQ
    rq.clock_read_ns = rq.clock_ns
    decision.lca_y = matching_ancestor(w, rq.curr, p)
    decision.lca_t = matching_ancestor(w, p, rq.curr)
    decision.lca_q = sched_entity(w, decision.lca_y).cfs_rq
    cfs = cfs_rq(w, decision.lca_q)
    decision.n = cfs.nr_queued if v1 else cfs.h_nr_queued
    return SKIP_LCA if decision.n <= 1 else SKIP_NOT


@kjit
def yield_deboost_prepare(w, cpu, p):
    """yield_to_deboost(), the first half. Fill in the decision record of a yield of the running task to `p`.

    Afterwards ``pending`` says whether a penalty is to be chosen. The yielder's vruntime is the one last charged: the
    series' guard before update_curr() is never true.
    """
    rq, params, decision = cpu_rq(w, cpu), deboost_params(w), yield_decision(w)
    debounced = False
    decision.cpu, decision.yielder, decision.target = cpu, rq.curr, p
    decision.lca_q, decision.lca_y, decision.lca_t = NIL, NIL, NIL
    decision.applied, decision.forfeit, decision.pending, decision.skip = 0, 0, 0, SKIP_NOT
    if params.deboost == DEBOOST_NONE or (decision.boost != BOOST_RULE and decision.boost != BOOST_PENALTY):
        return
    if params.deboost == DEBOOST_V3:
        return
    if params.live_debounce:
        debounced = yield_deboost_debounce(rq, rq.curr, p, rq.clock_ns, params.debounce_ns)
    decision.skip = yield_deboost_may(w, cpu, p)
    if decision.skip != SKIP_NOT:
        return
    yielder = sched_entity(w, decision.lca_y)
    if params.fresh_gap:
        update_curr(w, decision.lca_q)
    decision.y_v = yielder.vruntime
    decision.t_v = sched_entity(w, decision.lca_t).vruntime
    decision.gran_ns = calc_delta_fair(sched_tunables(w).base_slice_ns, yielder)
    decision.slack_ns = calc_delta_fair(params.wakeup_gran_ns, yielder)
    decision.need_ns = yield_deboost_need(decision.y_v, decision.t_v)
    if not params.live_debounce:
        debounced = yield_deboost_debounce(rq, rq.curr, p, rq.clock_ns, params.debounce_ns)
    decision.debounced = 1 if debounced else 0
    decision.pending = 1


@kjit
def yield_deboost_apply_penalty(w):
    """yield_deboost_apply_penalty(). Charge the pending decision's penalty, unless the vruntime would wrap."""
    params, decision = deboost_params(w), yield_decision(w)
    decision.pending = 0
    if decision.penalty_ns == 0:
        return
    se = sched_entity(w, decision.lca_y)
    vruntime = se.vruntime + decision.penalty_ns
    if u64_less(~decision.penalty_ns, se.vruntime) or not u64_less(se.vruntime, vruntime):
        decision.skip = SKIP_WRAP
        return
    se.vruntime = vruntime
    se.deadline = vruntime + calc_delta_fair(se.slice_ns, se)
    if params.deboost == DEBOOST_V1:
        # v1 writes the lag of a running entity: in v6.19's union that is its slice protection.
        se.vlag = avg_vruntime(w, decision.lca_q) - vruntime
    decision.applied = 1
    decision.y_v1, decision.y_d1 = se.vruntime, se.deadline
