"""The parts of what the trained agents do, one at a time, and attempts to make lag credit fair."""

from dataclasses import replace

from vcpu_env.policy import BOOST_BORROW, BOOST_CREDIT, BOOST_TRANSFER
from vcpu_env.policy.named import POLICIES, Policy
from vcpu_env.policy.rivals import kernel_loop_with

VEE21 = POLICIES["vee21"]
LITTLE_NS = 1_000_000


def unserved_that_owes_little(view):
    """Credit for an unserved interrupt only where no level of the chain is far ahead of its share."""
    for i in range(view.nr_candidates):
        if view.unserved[i] and view.candidate_chain_lag_ns[i] > -LITTLE_NS:
            view.boost = BOOST_CREDIT
            return 2 + i
    return 1


def boosted(base: str, name: str, summary: str, boost: int) -> Policy:
    """The choice of a policy that leaves it to the kernel's loop, with another boost."""
    return replace(POLICIES[base], name=name, summary=summary, target_rule=kernel_loop_with(boost))


def borrowing(name: str, ms: int) -> Policy:
    """`strict-borrow` with another loan."""
    borrow = POLICIES["strict-borrow"]
    settings = {**borrow.settings, ("deboost_params", "borrow_ns"): ms * 1_000_000}
    return replace(borrow, name=name, summary=f"hints may be {ms} ms early", settings=settings)


SERIES_CREDIT = boosted("series-v2", "series-credit", "the series' choice, with credit", BOOST_CREDIT)
SERIES_BORROW = boosted("series-v2", "series-borrow", "the series' choice, may be 4 ms early", BOOST_BORROW)
TRANSFER = boosted("vee21", "strict-transfer", "VEE'21's choice, with lag transfer", BOOST_TRANSFER)
OWES_LITTLE = replace(
    VEE21,
    name="owes-little",
    summary="unserved interrupts of those that owe less than 1 ms, with credit",
    target_rule=unserved_that_owes_little,
)
BORROW_1 = borrowing("strict-borrow-1", 1)
BORROW_16 = borrowing("strict-borrow-16", 16)
BORROW_UNLIMITED = borrowing("strict-borrow-unlimited", 1_000_000)
