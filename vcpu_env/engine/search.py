"""Search as a policy: at a decision every answer is tried on a copy of the machine, and the best one is given.

A ceiling: it sees the future, the guests' random demands included, as far as `Search.horizon_ns`. What a try is worth
is the guest time of all VMs that was neither spinning nor interrupts nor lost to cold caches. In the copies, and at
decisions that are not searched, the policy's own rule answers, so that the search improves on that rule.
"""

import numpy as np

from vcpu_env.base.interrupts import INTERRUPTED, run_interruptibly
from vcpu_env.base.jit import kjit
from vcpu_env.base.stop import stop_asked
from vcpu_env.base.timeline import machine_clock
from vcpu_env.base.world import World
from vcpu_env.engine.loop import cut_short, run_until
from vcpu_env.engine.state import ANSWERED, FAILED, STOPPED_AT_DECISION, engine
from vcpu_env.guest.useful import useful_now_ns
from vcpu_env.kernel.yield_types import SCALE_ONE_Q16
from vcpu_env.policy.policy import Search
from vcpu_env.policy.view import AS_KERNEL, FIRST_CANDIDATE, NOBODY, rule_target, yield_view


@kjit
def give(w, answer, boost, penalty_scale_q16):
    """Leave an answer in a machine that has stopped at a decision."""
    view, state = yield_view(w), engine(w)
    view.boost, view.penalty_scale_q16 = boost, penalty_scale_q16
    state.answer, state.status = answer, ANSWERED


@kjit
def answer_as_rule(w, own_rule):
    """Answer as the policy's own rule, or the kernel's loop."""
    state = engine(w)
    state.answer, state.status = rule_target(w, own_rule), ANSWERED


@kjit
def follow(w, own_rule, end_ns):
    """Run an answered machine up to `end_ns` under the rule; returns all useful time until then."""
    while run_until(w, end_ns) == STOPPED_AT_DECISION:
        answer_as_rule(w, own_rule)
    return useful_now_ns(w)


@kjit
def search_answer(words, w, copy, copy_w, boosts, scales_q16, own_rule, horizon_ns):
    """Answer the decision at which the machine `words` stands; `copy` is overwritten. The rule wins ties.

    Returns whether it has been answered: it has not if a signal has cut a try short. If the rule fails on a copy, so
    does the machine, there.
    """
    end_ns = machine_clock(w).now_ns + horizon_ns
    copy[:] = words
    answer_as_rule(copy_w, own_rule)
    most, best, kind = follow(copy_w, own_rule, end_ns), AS_KERNEL, -1
    if cut_short(copy_w, end_ns):
        return False
    for answer in range(FIRST_CANDIDATE + yield_view(w).nr_candidates):
        if answer == AS_KERNEL:
            continue
        for k in range(1 if answer == NOBODY else len(boosts)):  # nobody is boosted in one way only
            copy[:] = words
            give(copy_w, answer, boosts[k], scales_q16[k])
            useful = follow(copy_w, own_rule, end_ns)
            if engine(copy_w).status == FAILED:
                words[:] = copy
                return True
            if stop_asked() or cut_short(copy_w, end_ns):
                return False
            if useful > most:
                most, best, kind = useful, answer, k
    if kind < 0:
        answer_as_rule(w, own_rule)
    else:
        give(w, best, boosts[kind], scales_q16[kind])
    return True


@kjit
def search_until(words, w, copy, copy_w, boosts, scales_q16, own_rule, horizon_ns, every_ns, end_ns):
    """Run to `end_ns`, searching one decision every `every_ns`. Returns the machine's status."""
    status = run_until(w, end_ns)
    while status == STOPPED_AT_DECISION:
        state, now_ns = engine(w), machine_clock(w).now_ns
        if now_ns < state.next_search_ns:
            answer_as_rule(w, own_rule)
        else:
            if not search_answer(words, w, copy, copy_w, boosts, scales_q16, own_rule, horizon_ns):
                return INTERRUPTED
            state.next_search_ns = now_ns + every_ns
        status = run_until(w, end_ns)
    return status


def run_search(world: World, search: Search, own_rule: bool, end_ns: int) -> int:
    """Run a machine's world up to `end_ns` under a policy that searches. Returns the machine's status."""
    copy = world.copy()
    boosts = np.array([boost for boost, _ in search.boosts])
    scales_q16 = np.array([round(scale * SCALE_ONE_Q16) for _, scale in search.boosts])
    with np.errstate(over="ignore"):
        return run_interruptibly(
            lambda: search_until(
                world.words, world.handle, copy.words, copy.handle, boosts, scales_q16, own_rule,
                search.horizon_ns, search.every_ns, end_ns,
            )
        )  # fmt: skip
