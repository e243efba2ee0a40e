"""Statistics of paired comparisons: ratios on common seeds, bootstrap intervals, robust means, fairness.

Samples come in strata: one array per scenario, one entry per seed. Resampling draws seeds within each stratum, never
between them, from a generator with a fixed seed, so that a table is the same every time it is made. The measures and
their names are those of Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice"
(NeurIPS 2021), applied to ratios of paired runs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

RATIO_FLOOR = 0.01
"""Smallest throughput ratio: one stalled cell must not decide a geometric mean."""

CEILING_FLOOR = 1.05
"""Least gain of the best oracle over stock for a gap that is worth a share."""

RESAMPLES = 10_000
FEW_RESAMPLES = 2_000
"""For statistics of more than one number per seed."""

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


def change(strata: Sequence[Array]) -> Estimate:
    """Relative change of the geometric mean over all strata of ratios, 0.05 for +5 %, with its interval."""
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
    return middle(statistic(np.concatenate(drawn, axis=-1)), confidence)


def estimate(statistic: Callable[..., Array], *samples: ArrayLike, resamples: int = FEW_RESAMPLES) -> Estimate:
    """A statistic of what was measured with each seed, and its percentile bootstrap interval over seeds.

    Args:
        statistic: reduces the second axis, seeds, of arrays whose first axis is that of resamples.
        samples: arrays whose first axis is that of seeds; a resample draws the same seeds from all of them.
    """
    arrays = [np.asarray(array, float) for array in samples]
    seeds = np.random.default_rng(0).integers(0, len(arrays[0]), (resamples, len(arrays[0])))
    low, high = middle(statistic(*(array[seeds] for array in arrays)))
    return Estimate(float(statistic(*(array[None] for array in arrays))[0]), low, high)


def middle(values: Array, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The interval that holds the middle of resampled values."""
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(values, [tail, 1.0 - tail])
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


def improvements(ratios: ArrayLike) -> Array:
    """For each paired ratio 1 if it is a gain, one half if it is a tie, else 0; their mean is P(better)."""
    ratios = np.asarray(ratios, float)
    return np.where(np.isnan(ratios), np.nan, (ratios > 1.0) + 0.5 * (ratios == 1.0))


def gap_closed(strata: Sequence[tuple[ArrayLike, ArrayLike]]) -> Estimate | None:
    """Mean share of the gap from stock to the ceiling that a policy closes; None if no stratum has a gap.

    The ceiling is the best oracle's geometric mean in the stratum. A stratum counts only where that is at least
    `CEILING_FLOOR`; in a resample, a lower ceiling is taken for `CEILING_FLOOR`.

    Args:
        strata: ratios of the policy, one per seed, and of the oracles, shape (oracles, seeds).
    """
    values, drawn = [], []
    generator = np.random.default_rng(0)
    for policy, oracles in strata:
        policy, oracles = np.log(np.asarray(policy, float)), np.log(np.asarray(oracles, float))
        ceiling = np.exp(oracles.mean(axis=1).max())
        if not ceiling >= CEILING_FLOOR:
            continue
        seeds = generator.integers(0, len(policy), (FEW_RESAMPLES, len(policy)))
        ceilings = np.exp(oracles[:, seeds].mean(axis=-1).max(axis=0))
        values.append((np.exp(policy.mean()) - 1.0) / (ceiling - 1.0))
        drawn.append((np.exp(policy[seeds].mean(axis=-1)) - 1.0) / (np.maximum(ceilings, CEILING_FLOOR) - 1.0))
    if not values:
        return None
    return Estimate(float(np.mean(values)), *middle(np.mean(drawn, axis=0)))


def performance_profile(strata: Sequence[ArrayLike], thresholds: ArrayLike) -> tuple[Array, Array, Array]:
    """For every threshold the share of runs above it, mean over strata, and the ends of its pointwise interval."""
    thresholds = np.asarray(thresholds, float)
    generator = np.random.default_rng(0)
    shares, drawn = [], []
    for stratum in strata:
        above = np.asarray(stratum, float)[:, None] > thresholds
        shares.append(above.mean(axis=0))
        drawn.append(above[generator.integers(0, len(above), (FEW_RESAMPLES, len(above)))].mean(axis=1))
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(np.mean(drawn, axis=0), [tail, 1.0 - tail], axis=0)
    return np.mean(shares, axis=0), low, high


def jain(values: ArrayLike) -> Array:
    """Jain's fairness index of non-negative shares (last axis): 1 if all are equal, 1/n if one has everything."""
    shares = np.asarray(values, float)
    squares = np.sum(shares**2, axis=-1)
    index = np.ones(squares.shape)
    np.divide(np.sum(shares, axis=-1) ** 2, shares.shape[-1] * squares, out=index, where=squares > 0)
    return index


def log2_percentile(counts: ArrayLike, share: float) -> Array:
    """Percentile of a log2 histogram (last axis), whose i-th entry counts what lies in [2^i, 2^(i+1)); NaN if empty.

    Within a bucket, values are taken to be spread evenly on the logarithmic scale, so that the error is below the
    bucket's width, a factor of two.
    """
    counts = np.asarray(counts, float)
    cumulated = np.cumsum(counts, axis=-1)
    wanted = share * cumulated[..., -1:]
    bucket = np.argmax((cumulated >= wanted) & (cumulated > 0), axis=-1)[..., None]
    inside = np.take_along_axis(counts, bucket, axis=-1)
    below = np.take_along_axis(cumulated, bucket, axis=-1) - inside
    part = np.full(inside.shape, np.nan)
    np.divide(wanted - below, inside, out=part, where=inside > 0)
    return np.exp2(bucket + part)[..., 0]
