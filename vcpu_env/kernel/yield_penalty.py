"""What the series' penalty is computed from, of whatever fair class: limiter, debounce, gap, caps.

The kernel computes in u64. Here the same bits are held in int64: sums and products wrap alike, comparisons and
divisions go through `u64_less` and `u64_div`.
"""

from vcpu_env.base.jit import kjit
from vcpu_env.kernel.weights import INT64_MAX
from vcpu_env.kernel.yield_types import DEBOOST_VEE21, SCALE_ONE_Q16, deboost_params, yield_decision

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
def yield_deboost_need(y_vruntime, t_vruntime):
    """yield_deboost_calculate_penalty(): the target's lead over the yielder, by a plain unsigned comparison."""
    if u64_less(y_vruntime, t_vruntime):
        return t_vruntime - y_vruntime
    return 0


@kjit
def yield_deboost_raw(params, gran_ns, need_ns):
    """yield_deboost_calculate_penalty(): the granularity, plus the lead and a tenth of it."""
    weighted = need_ns + u64_div(need_ns, params.surcharge_div)
    if u64_less(~gran_ns, weighted):
        weighted = ~gran_ns
    return gran_ns + weighted


@kjit
def yield_deboost_limit(params, gran_ns, need_ns, n, penalty):
    """yield_deboost_calculate_penalty(): at least the granularity, at most a multiple that falls with queue length."""
    i = 0
    while i < 6 and n > params.cap_up_to[i]:
        i += 1
    limit = u64_div(gran_ns * params.cap_num[i], params.cap_den[i])
    if u64_less(penalty, gran_ns):
        penalty = gran_ns
    if u64_less(limit, penalty):
        penalty = limit
    if need_ns == 0 and params.live_baseline:
        penalty = 0
    if need_ns == 0:
        i = 0
        while i < 5 and n > params.baseline_up_to[i]:
            i += 1
        base = u64_div(gran_ns * params.baseline_num[i], params.baseline_den[i])
        if u64_less(penalty, base):
            penalty = base
    return penalty


@kjit
def scaled(penalty_ns, scale_q16):
    """A penalty times a fixed-point scale; as it is at `SCALE_ONE_Q16`, however large."""
    return penalty_ns if scale_q16 == SCALE_ONE_Q16 else (penalty_ns * scale_q16) >> 16


@kjit
def choose_penalty(w):
    """The rule of the series (v1 and v2 alike): fill in the penalty of the pending decision.

    VEE'21's debooster has another: just enough for CFS's buddy test, which lets a target be ahead by a granularity.
    """
    params, decision = deboost_params(w), yield_decision(w)
    gran_ns, need_ns = decision.gran_ns, decision.need_ns
    if params.deboost == DEBOOST_VEE21:
        decision.raw_ns = need_ns - decision.slack_ns if u64_less(decision.slack_ns, need_ns) else 0
        decision.penalty_ns = decision.raw_ns
        return
    penalty = yield_deboost_raw(params, gran_ns, need_ns)
    decision.raw_ns = penalty
    if decision.debounced:
        least = gran_ns if u64_less(need_ns, gran_ns) else need_ns
        if u64_less(least, penalty):
            penalty = least
    penalty = yield_deboost_limit(params, gran_ns, need_ns, decision.n, penalty)
    penalty = scaled(penalty, params.penalty_scale_q16)
    decision.penalty_ns = scaled(penalty, decision.penalty_scale_q16)
