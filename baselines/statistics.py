"""Statistics of paired comparisons: ratios on common seeds, bootstrap intervals, robust means, fairness.

Samples come in strata: one array per scenario, one entry per seed. Resampling draws seeds within each stratum, never
between them, from a generator with a fixed seed, so that a table is the same every time it is made.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

RATIO_FLOOR = 0.01
"""Smallest throughput ratio: one stalled cell must not decide a geometric mean."""

RESAMPLES = 10_000
CONFIDENCE = 0.95

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value and its bootstrap interval."""

    value: float
    low: float
    high: float


def paired_ratios(values: ArrayLike, baseline: ArrayLike) -> Array:
    """Ratio of each value to the baseline of its seed, at least `RATIO_FLOOR`; NaN where the baseline did nothing."""
    values, baseline = np.asarray(values, float), np.asarray(baseline, float)
    if values.shape != baseline.shape:
        raise ValueError(f"values: {values.shape} (allowed: one for each baseline, {baseline.shape})")
    ratios = np.full(values.shape, np.nan)
    np.divide(values, baseline, out=ratios, where=baseline > 0)
    return np.maximum(ratios, RATIO_FLOOR)


def geometric_mean(ratios: ArrayLike, axis: int = -1) -> Array:
    """Geometric mean of positive numbers along an axis."""
    return np.exp(np.mean(np.log(np.asarray(ratios, float)), axis=axis))


def paired_change(values: ArrayLike, baseline: ArrayLike) -> Estimate:
    """Relative change of the geometric mean of paired ratios, 0.05 for +5 %, with its interval over seeds."""
    return change([paired_ratios(values, baseline)])


def change(strata: Sequence[Array]) -> Estimate:
    """Relative change of the geometric mean over all strata of ratios, with its interval."""
    low, high = bootstrap_interval(strata, geometric_mean)
    return Estimate(float(geometric_mean(np.concatenate(strata))) - 1.0, low - 1.0, high - 1.0)


def bootstrap_interval(
    strata: Sequence[ArrayLike],
    statistic: Callable[[Array], Array],
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic.

    Args:
        strata: samples; resampled with replacement, each within itself.
        statistic: reduces the last axis of an array (resamples, all samples).
    """
    generator = np.random.default_rng(seed)
    drawn = []
    for stratum in strata:
        samples = np.asarray(stratum, float)
        drawn.append(samples[generator.integers(0, len(samples), (resamples, len(samples)))])
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(statistic(np.concatenate(drawn, axis=-1)), [tail, 1.0 - tail])
    return float(low), float(high)


def iqm(values: ArrayLike, axis: int = -1) -> Array:
    """Interquartile mean: the mean without the lowest and the highest quarter (rounded down) of the values."""
    ordered = np.sort(np.asarray(values, float), axis=axis)
    count = ordered.shape[axis]
    cut = count // 4
    return np.mean(np.take(ordered, range(cut, count - cut), axis=axis), axis=axis)


def probability_of_improvement(values: Sequence[ArrayLike], baseline: Sequence[ArrayLike]) -> float:
    """Mean over strata of the probability that a run of `values` beats a run of `baseline`; ties count one half."""
    chances = []
    for ours, theirs in zip(values, baseline, strict=True):
        difference = np.subtract.outer(np.asarray(ours, float), np.asarray(theirs, float))
        chances.append(np.mean((difference > 0) + 0.5 * (difference == 0)))
    return float(np.mean(chances))


def jain(values: ArrayLike) -> float:
    """Jain's fairness index of non-negative shares: 1 if all are equal, 1/n if one has everything."""
    shares = np.asarray(values, float)
    squares = float(np.sum(shares**2))
    return float(np.sum(shares)) ** 2 / (len(shares) * squares) if squares > 0 else 1.0
