"""How many seeds it takes to see a gain: power of the paired t-test on log ratios."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

GAINS = (0.01, 0.02, 0.05)
POWER = 0.8
SIGNIFICANCE = 0.05

CERTAIN = 20.0
"""A true mean of so many standard errors is always seen; beyond it the noncentral t distribution is inexact."""


def power(spread: float, gain: float, strata: int, seeds: int) -> float:
    """Probability that a two-sided paired t-test sees a relative gain.

    Args:
        spread: standard deviation of one seed's mean of log ratios over strata.
        strata: number of strata, whose variances are estimated from `seeds` runs each.
    """
    freedom = strata * (seeds - 1)
    shift = math.log1p(gain) * math.sqrt(seeds) / spread
    if shift > CERTAIN:
        return 1.0
    critical = stats.t.ppf(1.0 - SIGNIFICANCE / 2.0, freedom)
    return float(stats.nct.sf(critical, freedom, shift) + stats.nct.cdf(-critical, freedom, shift))


def seeds_needed(strata: Sequence[ArrayLike], gain: float) -> int | None:
    """Seeds at which a relative gain of the geometric mean is seen with probability `POWER`; None if unknown.

    Args:
        strata: paired ratios, one array per scenario; their variances are taken for the true ones.
    """
    logs = [np.log(np.asarray(ratios, float)) for ratios in strata]
    if any(len(log) < 2 or not np.isfinite(log).all() for log in logs):
        return None
    spread = math.sqrt(sum(float(np.var(log, ddof=1)) for log in logs)) / len(logs)
    if spread == 0.0:
        return 2
    few, many = 1, 2
    while power(spread, gain, len(logs), many) < POWER:
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (middle, many) if power(spread, gain, len(logs), middle) < POWER else (few, middle)
    return many
