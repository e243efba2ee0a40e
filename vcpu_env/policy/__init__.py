"""The rules that answer the machine's two decision points. The series' own rules are the baseline of every other.

Rules name boosts by the constants that this package hands on: ``from vcpu_env.policy import BOOST_CREDIT``.
"""

from vcpu_env.kernel.yield_types import (
    BOOST_BORROW,
    BOOST_CREDIT,
    BOOST_FORCE,
    BOOST_HINT,
    BOOST_MINIMAL,
    BOOST_PENALTY,
    BOOST_PLAIN,
    BOOST_RULE,
    BOOST_STAY,
    BOOST_STAY_CREDIT,
    BOOST_TRANSFER,
)

__all__ = [
    "BOOST_BORROW",
    "BOOST_CREDIT",
    "BOOST_FORCE",
    "BOOST_HINT",
    "BOOST_MINIMAL",
    "BOOST_PENALTY",
    "BOOST_PLAIN",
    "BOOST_RULE",
    "BOOST_STAY",
    "BOOST_STAY_CREDIT",
    "BOOST_TRANSFER",
]
