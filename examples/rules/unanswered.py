"""The candidate that an interrupt waits for: whoever sent it spins until it runs. Else, as the kernel."""

AS_KERNEL, FIRST_CANDIDATE = 1, 2


def choose_target(view):
    """The answer for one decision."""
    best = -1
    for i in range(view.nr_candidates):
        if view.unserved[i] and (best < 0 or view.waited_ns[i] > view.waited_ns[best]):
            best = i
    return FIRST_CANDIDATE + best if best >= 0 else AS_KERNEL
