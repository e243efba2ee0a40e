"""The series' debooster: a vruntime penalty for the vCPU that yields, so that the hinted one becomes eligible.

Three steps, so that another rule can take the middle one: `yield_deboost_prepare` decides whether this yield may be
penalised and measures it, `choose_penalty` computes the penalty, `yield_deboost_apply_penalty` charges it to the
yielder's entity at the lowest common ancestor. v2 is the posted series of December 2025, v1 that of November.

The kernel computes in u64. Here the same bits are held in int64: sums and products wrap alike, comparisons and
divisions go through `u64_less` and `u64_div`.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.types import cfs_rq, cpu_rq, sched_entity, sched_tunables, task_struct
from vcpu_env.kernel.v6_19.entity import avg_vruntime, update_curr
from vcpu_env.kernel.v6_19.fair import matching_ancestor
from vcpu_env.kernel.weights import INT64_MAX, calc_delta_fair
from vcpu_env.kernel.yield_types import (
    BOOST_PENALTY,
    BOOST_RULE,
    DEBOOST_NONE,
    DEBOOST_V1,
    DEBOOST_V3,
    DEBOOST_VEE21,
    PENALTY_SCALE_ONE,
    SKIP_DISABLED,
    SKIP_LCA,
    SKIP_NOT,
    SKIP_NOT_SAME_RQ,
    SKIP_RATE_LIMIT,
    SKIP_WRAP,
    deboost_params,
    yield_decision,
)

SIGN_BIT = -(1 << 63)


@kjit
def u64_less(a, b):
    """Whether a < b as unsigned 64-bit values."""
    return (a ^ SIGN_BIT) < (b ^ SIGN_BIT)


@kjit
def u64_div(a, b):
    """a / b as unsigned 64-bit values, b > 0 and below 2^63."""
    if a >= 0:
        return a // b
    quotient = (((a >> 1) & INT64_MAX) // b) << 1
    if not u64_less(a - quotient * b, b):
        quotient += 1
    return quotient


@kjit
def yield_deboost_rate_limit(rq, now, limit_ns, restamp):
    """yield_deboost_rate_limit(). Whether the last yield that passed was too short a time ago; a stamp of 0 is "never".

    v2 stamps when a yield passes. v1 stamps every time (`restamp`), so yields at a steady short interval never pass.
    """
    last = rq.yield_deboost_last_time_ns
    limited = last != 0 and not u64_less(limit_ns, now - last)
    if restamp or not limited:
        rq.yield_deboost_last_time_ns = now
    return limited


@kjit
def yield_deboost_debounce(rq, src, dst, now, window_ns):
    """yield_deboost_apply_debounce(), the test: was the last pair the opposite one, just now? Stamps this pair."""
    recent = not u64_less(window_ns, now - rq.yield_deboost_last_pair_time_ns)
    answer = rq.yield_deboost_last_src_pid == dst and rq.yield_deboost_last_dst_pid == src and recent
    rq.yield_deboost_last_src_pid = src
    rq.yield_deboost_last_dst_pid = dst
    rq.yield_deboost_last_pair_time_ns = now
    return answer


@kjit
def yield_deboost_may(w, cpu, p):
    """yield_deboost_validate_tasks(), yield_deboost_find_lca(). Why this yield is not penalised, or SKIP_NOT if it is.

    The limiter comes first, so a yield that is refused for another reason still uses up the slot. v2 looks at the fresh
    clock, v1 at the one that the CPU last read.
    """
    rq, params, decision = cpu_rq(w, cpu), deboost_params(w, 0), yield_decision(w, 0)
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
    rq, params, decision = cpu_rq(w, cpu), deboost_params(w, 0), yield_decision(w, 0)
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
    decision.gran = calc_delta_fair(sched_tunables(w, 0).base_slice_ns, yielder)
    decision.need = yield_deboost_need(decision.y_v, decision.t_v)
    if not params.live_debounce:
        debounced = yield_deboost_debounce(rq, rq.curr, p, rq.clock_ns, params.debounce_ns)
    decision.debounced = 1 if debounced else 0
    decision.pending = 1


@kjit
def yield_deboost_need(y_vruntime, t_vruntime):
    """yield_deboost_calculate_penalty(): the target's lead over the yielder, by a plain unsigned comparison."""
    if u64_less(y_vruntime, t_vruntime):
        return t_vruntime - y_vruntime
    return 0


@kjit
def yield_deboost_raw(params, gran, need):
    """yield_deboost_calculate_penalty(): the granularity, plus the lead and a tenth of it."""
    weighted = need + u64_div(need, params.surcharge_div)
    if u64_less(~gran, weighted):
        weighted = ~gran
    return gran + weighted


@kjit
def yield_deboost_limit(params, gran, need, n, penalty):
    """yield_deboost_calculate_penalty(): at least the granularity, at most a multiple that falls with queue length."""
    i = 0
    while i < 6 and n > params.cap_up_to[i]:
        i += 1
    limit = u64_div(gran * params.cap_num[i], params.cap_den[i])
    if u64_less(penalty, gran):
        penalty = gran
    if u64_less(limit, penalty):
        penalty = limit
    if need == 0 and params.live_baseline:
        penalty = 0
    if need == 0:
        i = 0
        while i < 5 and n > params.baseline_up_to[i]:
            i += 1
        base = u64_div(gran * params.baseline_num[i], params.baseline_den[i])
        if u64_less(penalty, base):
            penalty = base
    return penalty


@kjit
def choose_penalty(w):
    """The rule of the series (v1 and v2 alike): fill in the penalty of the pending decision.

    VEE'21's debooster has another: just enough for CFS's buddy test, which lets a target be ahead by a granularity.
    """
    params, decision = deboost_params(w, 0), yield_decision(w, 0)
    gran, need = decision.gran, decision.need
    if params.deboost == DEBOOST_VEE21:
        slack = calc_delta_fair(params.wakeup_gran_ns, sched_entity(w, decision.lca_y))
        decision.raw = need - slack if u64_less(slack, need) else 0
        decision.penalty = decision.raw
        return
    penalty = yield_deboost_raw(params, gran, need)
    decision.raw = penalty
    if decision.debounced:
        least = gran if u64_less(need, gran) else need
        if u64_less(least, penalty):
            penalty = least
    penalty = yield_deboost_limit(params, gran, need, decision.n, penalty)
    if params.penalty_scale != PENALTY_SCALE_ONE:
        penalty = (penalty * params.penalty_scale) >> 16
    if decision.scale != PENALTY_SCALE_ONE:
        penalty = (penalty * decision.scale) >> 16
    decision.penalty = penalty


@kjit
def yield_deboost_apply_penalty(w):
    """yield_deboost_apply_penalty(). Charge the pending decision's penalty, unless the vruntime would wrap."""
    params, decision = deboost_params(w, 0), yield_decision(w, 0)
    decision.pending = 0
    if decision.penalty == 0:
        return
    se = sched_entity(w, decision.lca_y)
    vruntime = se.vruntime + decision.penalty
    if u64_less(~decision.penalty, se.vruntime) or not u64_less(se.vruntime, vruntime):
        decision.skip = SKIP_WRAP
        return
    se.vruntime = vruntime
    se.deadline = vruntime + calc_delta_fair(se.slice_ns, se)
    if params.deboost == DEBOOST_V1:
        # v1 writes the lag of a running entity: in v6.19's union that is its slice protection.
        se.vlag = avg_vruntime(w, decision.lca_q) - vruntime
    decision.applied = 1
    decision.y_v1, decision.y_d1 = se.vruntime, se.deadline
