"""The parts of what the trained agents do, one at a time, and attempts to make lag credit fair."""

from dataclasses import replace

from vcpu_env.policy.named import POLICIES
from vcpu_env.policy.types import BOOST_CREDIT, BOOST_TRANSFER

VEE21 = POLICIES["vee21"]
LITTLE_NS = 1_000_000


def kernels_choice_credited(view):
    """Whom the kernel's loop picks, with credit."""
    view.boost = BOOST_CREDIT
    return 1


def kernels_choice_transferred(view):
    """Whom the kernel's loop picks, with credit that the spinner pays."""
    view.boost = BOOST_TRANSFER
    return 1


def unserved_that_owes_little(view):
    """Credit for an unserved interrupt only where no level of the chain is far ahead of its share."""
    for i in range(view.nr_candidates):
        if view.unserved[i] and view.candidate_chain_lag_ns[i] > -LITTLE_NS:
            view.boost = BOOST_CREDIT
            return 2 + i
    return 1


TEACHER = replace(
    VEE21,
    name="teacher",
    summary="unserved interrupts first with credit, else VEE'21's rules",
    target_rule=POLICIES["unserved-credit"].target_rule,
)
SERIES_CREDIT = replace(
    POLICIES["series-v2"],
    name="series-credit",
    summary="the series' choice, with credit",
    target_rule=kernels_choice_credited,
)
TRANSFER = replace(
    VEE21,
    name="strict-transfer",
    summary="VEE'21's choice, with lag transfer",
    target_rule=kernels_choice_transferred,
)
OWES_LITTLE = replace(
    VEE21,
    name="owes-little",
    summary="unserved interrupts of those that owe less than 1 ms, with credit",
    target_rule=unserved_that_owes_little,
)
