"""The candidate that has waited longest."""


def choose_target(view):
    """The answer for one decision: 0 is nobody, 2 + i the i-th candidate."""
    best = 0  # yield to nobody
    for i in range(view.nr_candidates):
        if best == 0 or view.waited_ns[i] > view.waited_ns[best - 2]:
            best = 2 + i  # the i-th candidate
    return best
