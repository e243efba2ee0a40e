"""Histograms of times with a bin for each power of two: small enough to keep always, fine enough for percentiles."""

from vcpu_env.base.jit import kjit

LOG2_BINS = 36
"""Bin *i* counts times from 2^i ns up to twice that; bin 0 also holds 0, the last one all longer times (34 s)."""


@kjit
def log2_bin(time_ns):
    """The bin of a time."""
    i = 0
    while time_ns > 1 and i < LOG2_BINS - 1:
        time_ns >>= 1
        i += 1
    return i
