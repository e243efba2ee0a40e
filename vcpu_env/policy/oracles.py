"""Ceilings: rules that know whom the spinner waits for, which no host kernel can.

The naive one can lose to stock: a hint for a vCPU that is not eligible is in vain, and the forfeit costs all the same.
"""

from numba import njit

from vcpu_env.kernel.yield_types import (
    BOOST_BORROW,
    BOOST_CREDIT,
    BOOST_FORCE,
    BOOST_HINT,
    BOOST_PENALTY,
    BOOST_PLAIN,
    BOOST_RULE,
    BOOST_STAY,
    BOOST_STAY_CREDIT,
    BOOST_TRANSFER,
)
from vcpu_env.policy.policy import Policy, Search
from vcpu_env.policy.rivals import AS_KERNEL, FIRST_CANDIDATE, RIVALS
from vcpu_env.policy.rules import Rule
from vcpu_env.policy.series import SERIES_PATCHES, SERIES_V2

NOBODY_AWAITED = 0

PENALTIES = (0.0, 0.5, 1.0, 2.0, 4.0)
WIDE = tuple(
    (boost, 1.0)
    for boost in (
        BOOST_HINT, BOOST_PENALTY, BOOST_CREDIT, BOOST_TRANSFER, BOOST_PLAIN, BOOST_STAY, BOOST_STAY_CREDIT,
        BOOST_BORROW,
    )
)  # fmt: skip
(UNSERVED_CREDIT,) = (policy for policy in RIVALS if policy.name == "unserved-credit")


@njit
def awaited(view):
    """The candidate whom the spinner waits for, 0 if it is none of them (it runs, or it is not known)."""
    for i in range(view.nr_candidates):
        if view.candidate[i] == view.awaited:
            return FIRST_CANDIDATE + i
    return 0


def oracle_rule(boost: int, otherwise: int, only_eligible: bool, same_rq_only: bool) -> Rule:
    """Yield to whom the spinner waits for with a boost; otherwise the kernel's loop, a plain yield or nobody."""

    def rule(view):
        answer = awaited(view)
        if answer == 0 or (only_eligible and view.candidate_lag_ns[answer - FIRST_CANDIDATE] < 0):
            if otherwise == BOOST_PLAIN:
                view.boost = BOOST_PLAIN
                return AS_KERNEL
            return otherwise
        if not same_rq_only or view.same_rq[answer - FIRST_CANDIDATE]:
            view.boost = boost
        return answer

    return rule


def oracle(
    name: str,
    how: str,
    boost: int,
    otherwise: int = AS_KERNEL,
    only_eligible: bool = False,
    same_rq_only: bool = False,
    patches: frozenset[int] = frozenset(),
    knobs: bool = False,
) -> Policy:
    """A ceiling."""
    rule = oracle_rule(boost, otherwise, only_eligible, same_rq_only)
    summary = f"knows whom the spinner waits for: {how}"
    return Policy(f"oracle-{name}", summary, patches, target_rule=rule, oracle=True, knobs=knobs, source="ceiling")


def lookahead(name: str, rule: Policy, how: str, *boosts: tuple[int, float], knobs: bool = False) -> Policy:
    """A ceiling by search on top of a rule."""
    summary = f"tries {how} on copies of the host for 0.2 ms, once in 0.05 ms; else {rule.name}"
    return Policy(
        f"lookahead-{name}", summary, rule.patches, target_rule=rule.target_rule, settings=rule.settings, oracle=True,
        knobs=knobs, search=Search(boosts), source="ceiling",
    )  # fmt: skip


ORACLES = (
    oracle("naive", "hint", BOOST_HINT, knobs=True),
    oracle("eligible", "hint if it is eligible, else the kernel's loop", BOOST_HINT, only_eligible=True, knobs=True),
    oracle("eligible-plain", "hint if eligible, else a plain yield", BOOST_HINT, BOOST_PLAIN, only_eligible=True),
    oracle("series", "v2's penalty for it, else v2", BOOST_RULE, patches=SERIES_PATCHES, knobs=True),
    oracle("credit", "lag credit", BOOST_CREDIT),
    oracle("credit-same-rq", "lag credit on the own run queue, else a hint", BOOST_CREDIT, same_rq_only=True),
    oracle("transfer", "lag transfer", BOOST_TRANSFER),
    oracle("transfer-plain", "lag transfer, else a plain yield", BOOST_TRANSFER, BOOST_PLAIN),
    oracle("transfer-nobody", "lag transfer, else nobody", BOOST_TRANSFER, NOBODY_AWAITED),
    oracle("borrow", "a hint that may be 4 ms early", BOOST_BORROW),
    oracle("force", "it runs next, eligible or not", BOOST_FORCE),
    oracle("force-nobody", "it runs next, eligible or not, else nobody", BOOST_FORCE, NOBODY_AWAITED),
    oracle("stay", "hint, the spinner stays", BOOST_STAY, NOBODY_AWAITED),
    oracle("stay-credit", "lag credit, the spinner stays", BOOST_STAY_CREDIT, NOBODY_AWAITED),
    lookahead("candidate", SERIES_V2, "every candidate", (BOOST_RULE, 1.0), knobs=True),
    lookahead("joint", SERIES_V2, "every candidate and penalty", *((BOOST_RULE, p) for p in PENALTIES), knobs=True),
    lookahead("wide", UNSERVED_CREDIT, "every candidate and boost", *WIDE),
)
