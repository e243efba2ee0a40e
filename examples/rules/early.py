"""As `unanswered.py`, and the chosen vCPU may run before its turn; what it has had too much it waits for later."""

from vcpu_env.policy import BOOST_BORROW

AS_KERNEL, FIRST_CANDIDATE = 1, 2


def choose_target(view):
    """The answer for one decision, and what the yield does for its target."""
    best = -1
    for i in range(view.nr_candidates):
        if view.unserved[i] and (best < 0 or view.waited_ns[i] > view.waited_ns[best]):
            best = i
    view.boost = BOOST_BORROW
    return FIRST_CANDIDATE + best if best >= 0 else AS_KERNEL
