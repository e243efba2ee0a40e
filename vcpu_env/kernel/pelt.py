"""Per-entity load tracking (PELT), the sums: how much load an entity has been, and a queue has had, lately.

Time is cut into periods of 1024 us; a contribution loses half its weight in 32 periods (y^32 = 1/2). Of entities and
queues there are three sums, each with an average that is what the sum is worth: *load*, while on a queue (waiting,
running, or asleep with a delayed dequeue), *runnable*, while waiting or running, and *util*, while running. Functions
here take an entity or a queue (`sa`, struct sched_avg); `kernel.load_avg` says what joins and leaves.
"""

import numpy as np

from vcpu_env.base.jit import kjit

LOAD_AVG_PERIOD = 32
LOAD_AVG_MAX = 47742
PELT_MIN_DIVIDER = LOAD_AVG_MAX - 1024
SCHED_CAPACITY_SCALE = 1024
"""Utilisation of a CPU that is always busy."""

RUNNABLE_AVG_YN_INV = np.array([int((2**32 - 1) * 0.5 ** (n / 32)) for n in range(LOAD_AVG_PERIOD)], np.int64)
"""y^n as 32-bit fractions."""


@kjit
def multiply_fraction(value, inverse):
    """math64.h: mul_u64_u32_shr() by 32 bits, exact for values below 2^62."""
    high, low = value >> 31, value & 0x7FFFFFFF
    return (high * inverse + ((low * inverse) >> 31)) >> 1


@kjit
def decay_load(value, periods):
    """pelt.c: decay_load(). ``value * y^periods``."""
    if periods > LOAD_AVG_PERIOD * 63:
        return 0
    return multiply_fraction(value >> (periods >> 5), RUNNABLE_AVG_YN_INV[periods & 31])


@kjit
def decay_sums(sa, periods):
    """pelt.c: accumulate_sum(), step 1. All three sums lose what `periods` periods take."""
    if periods > LOAD_AVG_PERIOD * 63:
        sa.load_sum = sa.runnable_sum = sa.util_sum = 0
        return
    half_lives, inverse = periods >> 5, RUNNABLE_AVG_YN_INV[periods & 31]
    sa.load_sum = multiply_fraction(sa.load_sum >> half_lives, inverse)
    sa.runnable_sum = multiply_fraction(sa.runnable_sum >> half_lives, inverse)
    sa.util_sum = multiply_fraction(sa.util_sum >> half_lives, inverse)


@kjit
def __accumulate_pelt_segments(periods, first, last):
    """pelt.c: __accumulate_pelt_segments(). The elapsed time, cut at `periods` ends of a period."""
    full = LOAD_AVG_MAX - decay_load(LOAD_AVG_MAX, periods) - 1024
    return decay_load(first, periods) + full + last


@kjit
def get_pelt_divider(sa):
    """pelt.h: get_pelt_divider(). The largest sum that is possible at this point of a period."""
    return PELT_MIN_DIVIDER + sa.period_contrib


@kjit
def ___update_load_sum(now, sa, load, runnable, running):
    """pelt.c: ___update_load_sum(). Age the sums up to `now`; the arguments are what was there in the meantime.

    Returns whether a period has ended, so that the averages have to follow.
    """
    delta = now - sa.last_update_time_ns
    if delta < 1024:
        if delta < 0:
            sa.last_update_time_ns = now
        return False
    delta >>= 10
    sa.last_update_time_ns += delta << 10
    contrib = delta
    delta += sa.period_contrib
    periods = delta >> 10
    if periods:
        delta &= 1023
        decay_sums(sa, periods)
        if load:
            contrib = __accumulate_pelt_segments(periods, 1024 - sa.period_contrib, delta)
    sa.period_contrib = delta
    if load:
        sa.load_sum += load * contrib
        sa.runnable_sum += runnable * contrib << 10
        if running:
            sa.util_sum += contrib << 10
    return periods != 0


@kjit
def ___update_load_avg(sa, load):
    """pelt.c: ___update_load_avg(). The averages, of an entity of weight `load`; 1 for a queue."""
    divider = get_pelt_divider(sa)
    sa.load_avg = load * sa.load_sum // divider
    sa.runnable_avg = sa.runnable_sum // divider
    sa.util_avg = sa.util_sum // divider


@kjit
def load_avg_is_decayed(sa):
    """fair.c: load_avg_is_decayed(). Whether nothing is left of any load."""
    return sa.load_sum == 0 and sa.util_sum == 0 and sa.runnable_sum == 0
