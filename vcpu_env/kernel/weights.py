"""Fixed-point weights: nice tables, reciprocals, and the conversion of service time to virtual time.

A weight is kept *scaled* (nice 0 = 2^20) as in the kernel; sums over a queue use the scaled-down value (nice 0 = 1024).
The kernel multiplies by a cached 32-bit reciprocal instead of dividing; each such product rounds down, and bit-exact
vruntimes depend on that rounding.
"""

import numpy as np

from vcpu_env.base.jit import kjit

NICE_0_LOAD = 1 << 20
WMULT_CONST = (1 << 32) - 1
WEIGHT_IDLEPRIO = 3
WMULT_IDLEPRIO = 1431655765
MIN_SHARES = 2
MAX_SHARES = 1 << 18
INT64_MAX = (1 << 63) - 1

SCHED_PRIO_TO_WEIGHT = np.array(
    [88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916]
    + [9548, 7620, 6100, 4904, 3906, 3121, 2501, 1991, 1586, 1277]
    + [1024, 820, 655, 526, 423, 335, 272, 215, 172, 137, 110, 87, 70, 56, 45, 36, 29, 23, 18, 15],
    np.int64,
)
SCHED_PRIO_TO_WMULT = np.array(
    [48388, 59856, 76040, 92818, 118348, 147320, 184698, 229616, 287308, 360437]
    + [449829, 563644, 704093, 875809, 1099582, 1376151, 1717300, 2157191, 2708050, 3363326]
    + [4194304, 5237765, 6557202, 8165337, 10153587, 12820798, 15790321, 19976592, 24970740, 31350126]
    + [39045157, 49367440, 61356676, 76695844, 95443717, 119304647, 148102320, 186737708, 238609294, 286331153],
    np.int64,
)


def sched_weight_from_cgroup(weight: int) -> int:
    """sched.h: sched_weight_from_cgroup(). ``cpu.shares`` of a ``cpu.weight`` (1..10000): 1024 of 100, nice 0."""
    return max(MIN_SHARES, (weight * 1024 + 50) // 100)


@kjit
def scale_load_down(weight):
    """sched.h: scale_load_down(). A weight as it enters the sums of a queue; never below 2 unless it is 0."""
    if weight == 0:
        return 0
    return max(2, weight >> 10)


@kjit
def div_trunc(a, b):
    """C's division, b > 0: the quotient is truncated towards zero."""
    if a >= 0:
        return a // b
    return -(-a // b)


@kjit
def logical_shift_right(x, n):
    """``x >> n`` of an unsigned 64-bit value held in an int64, n >= 1."""
    return ((x >> 1) & INT64_MAX) >> (n - 1)


@kjit
def update_load_set(load, weight, inv_weight):
    """sched.h: update_load_set(), __update_inv_weight(). Set an entity's weight and what calc_delta_fair() makes of it.

    `inv_weight` is the table entry for a nice level, or 0 to compute the reciprocal. ``delta_fact`` and ``delta_shift``
    are what __calc_delta() would normalise `NICE_0_LOAD * inv_weight` to at every call.
    """
    if inv_weight == 0:
        down = scale_load_down(weight)
        inv_weight = 1 if down >= WMULT_CONST else WMULT_CONST // down
    fact = (NICE_0_LOAD >> 10) * inv_weight
    shift = 32
    while fact >> 32:
        fact >>= 1
        shift -= 1
    load.weight = weight
    load.delta_fact = fact
    load.delta_shift = shift


@kjit
def calc_delta_fair(delta, load):
    """fair.c: calc_delta_fair(). Service time to virtual time of an entity, rounded as the kernel's 128-bit product."""
    if load.weight == NICE_0_LOAD:
        return delta
    if delta >> 31 == 0:
        return (delta * load.delta_fact) >> load.delta_shift
    high, low = (delta >> 32) & WMULT_CONST, delta & WMULT_CONST
    shift = load.delta_shift
    return ((high * load.delta_fact) << (32 - shift)) + logical_shift_right(low * load.delta_fact, shift)
