"""The series' debooster on v7.3: this project's port, since the series is against v6.19.

There is no lowest common ancestor, since all tasks of a CPU compete on one level. Of v2 there remains a penalty that
moves the yielder past the target: the same limiter, debounce, formula and caps, with the yielder's own virtual time.
Different are: the yielder is charged for its run time before the gap is measured; the length of the queue, which
decides the cap, is the number of runnable tasks of the CPU; and who is penalised forfeits nothing beside that, since on
v6.19 the two mostly hit different entities, and here they would hit one twice.
"""

from vcpu_env.base.jit import NIL, entry_point, kjit
from vcpu_env.kernel.types import cfs_rq, cpu_rq, sched_entity, sched_tunables, task_struct
from vcpu_env.kernel.v7_3.entity import avg_vruntime, calc_delta_fair, update_curr_eevdf
from vcpu_env.kernel.yield_penalty import yield_deboost_debounce, yield_deboost_rate_limit
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
    deboost_params,
    yield_decision,
)


@kjit
def yield_deboost_may(w, cpu, p):
    """yield_deboost_validate_tasks(). Why this yield is not penalised, or SKIP_NOT if it is.

    The limiter comes first, so a yield that is refused for another reason still uses up the turn.
    """
    rq, params, decision = cpu_rq(w, cpu), deboost_params(w), yield_decision(w)
    if params.vcpu_debooster_enabled == 0:
        return SKIP_DISABLED
    same_rq = task_struct(w, p).cpu == cpu
    if params.late_limiter and not same_rq:
        return SKIP_NOT_SAME_RQ
    restamp = params.deboost == DEBOOST_V1
    if yield_deboost_rate_limit(rq, rq.clock_ns, params.rate_limit_ns, restamp):
        return SKIP_RATE_LIMIT
    if not same_rq:
        return SKIP_NOT_SAME_RQ
    decision.n = cfs_rq(w, cpu).h_nr_runnable
    return SKIP_LCA if decision.n <= 1 else SKIP_NOT


@entry_point
def yield_deboost_prepare(w, cpu, p):
    """yield_to_deboost(), the first half. Fill in the decision record of a yield of the running task to `p`.

    Afterwards ``pending`` says whether a penalty is to be chosen.
    """
    rq, params, decision = cpu_rq(w, cpu), deboost_params(w), yield_decision(w)
    decision.cpu, decision.yielder, decision.target = cpu, rq.curr, p
    decision.lca_q, decision.lca_y, decision.lca_t = NIL, NIL, NIL
    decision.applied, decision.forfeit, decision.pending, decision.skip = 0, 0, 0, SKIP_NOT
    if params.deboost == DEBOOST_NONE or (decision.boost != BOOST_RULE and decision.boost != BOOST_PENALTY):
        return 0
    if params.deboost == DEBOOST_V3:
        return 0
    debounced = False
    if params.live_debounce:
        debounced = yield_deboost_debounce(rq, rq.curr, p, rq.clock_ns, params.debounce_ns)
    decision.skip = yield_deboost_may(w, cpu, p)
    if decision.skip != SKIP_NOT:
        return 0
    update_curr_eevdf(w, cpu)
    yielder = sched_entity(w, rq.curr)
    decision.lca_q, decision.lca_y, decision.lca_t = cpu, rq.curr, p
    decision.y_v, decision.t_v = yielder.vruntime, sched_entity(w, p).vruntime
    decision.gran_ns = calc_delta_fair(sched_tunables(w).base_slice_ns, yielder)
    decision.slack_ns = calc_delta_fair(params.wakeup_gran_ns, yielder)
    decision.need_ns = max(decision.t_v - decision.y_v, 0)
    if not params.live_debounce:
        debounced = yield_deboost_debounce(rq, rq.curr, p, rq.clock_ns, params.debounce_ns)
    decision.debounced = 1 if debounced else 0
    decision.pending = 1
    return 0


@kjit
def yield_deboost_apply_penalty(w):
    """yield_deboost_apply_penalty(). Charge the pending decision's penalty to the yielder."""
    decision = yield_decision(w)
    decision.pending = 0
    if decision.penalty_ns <= 0:
        return
    se = sched_entity(w, decision.yielder)
    se.vruntime += decision.penalty_ns
    se.deadline = se.vruntime + calc_delta_fair(se.slice_ns, se)
    avg_vruntime(w, decision.cpu)
    decision.applied = 1
    decision.y_v1, decision.y_d1 = se.vruntime, se.deadline
