"""A rule to begin a search with: siblings with an unanswered interrupt first, and a bounded loan for the one chosen."""

from vcpu_env.policy import BOOST_BORROW

AS_KERNEL, FIRST_CANDIDATE = 1, 2

# EVOLVE-BLOCK-START
LEAST_WAIT_NS = 100000
LARGEST_DEBT_NS = 4000000
LEAST_SPIN_NS = 50000


def choose_target(view):
    """The answer for one decision: AS_KERNEL, or FIRST_CANDIDATE + i."""
    best = -1
    for i in range(view.nr_candidates):
        if view.unserved[i] and view.waited_ns[i] >= LEAST_WAIT_NS:
            if best < 0 or view.waited_ns[i] > view.waited_ns[best]:
                best = i
    if best < 0:
        return AS_KERNEL
    if view.candidate_chain_lag_ns[best] >= -LARGEST_DEBT_NS and view.spin_ns >= LEAST_SPIN_NS:
        view.boost = BOOST_BORROW
    return FIRST_CANDIDATE + best


# EVOLVE-BLOCK-END
