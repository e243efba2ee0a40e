"""Rules that came of trained policies: read off what they do (`agents.explain`), or made because of whom they harm."""

from vcpu_env.kernel.yield_types import BOOST_BORROW, BOOST_CREDIT
from vcpu_env.kvm.types import FILTER_STRICT
from vcpu_env.policy.policy import Policy
from vcpu_env.policy.rivals import kernel_loop_with

LEARNED = "read off the trained policies wide-es (agents/models)"
STRICT = ("kvm_params", "filter"), FILTER_STRICT

DISTILLED = (
    Policy(
        "strict-credit",
        "VEE'21's strict boost chooses, lag credit makes it run; nobody is charged",
        settings=dict([STRICT]),
        target_rule=kernel_loop_with(BOOST_CREDIT),
        ported=True,
        source=LEARNED,
    ),
    Policy(
        "strict-credit-least",
        "the same, credited no further than the average: just eligible",
        settings=dict([STRICT, (("deboost_params", "credit_margin_1024"), 0)]),
        target_rule=kernel_loop_with(BOOST_CREDIT),
        ported=True,
        source=LEARNED,
    ),
    Policy(
        "strict-borrow",
        "VEE'21's strict boost chooses, and its hint may be 4 ms early, as under CFS",
        settings=dict([STRICT]),
        target_rule=kernel_loop_with(BOOST_BORROW),
        ported=True,
        source="the same rule with a hint as fair.c honoured it before v6.6",
    ),
)
