"""A distribution for measured durations: exponential, lognormal or gamma by AIC, else the measured quantiles.

The mean is always that of the samples. A family is kept only while the largest distance between its distribution
function and the samples' (Kolmogorov-Smirnov) is at most `LARGEST_DISTANCE`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from vcpu_env.scenario.program_text import SHAPED_DISTRIBUTIONS

LARGEST_DISTANCE = 0.1
FEW = 8
"""Fewer samples than this say nothing about a shape."""
SHORTEST_NS = 100.0
"""Shorter durations are taken for this long: clocks of traces may tell microseconds only."""
PROBABILITIES = (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1)


@dataclass(frozen=True)
class Fit:
    """A distribution of durations.

    Attributes:
        family: as programs name it; empty: by `quantiles`, pairs of a probability and a value relative to the mean.
        distance: largest distance of distribution functions, 0..1.
    """

    family: str
    mean_ns: float
    samples: int
    distance: float
    quantiles: tuple[tuple[float, float], ...] = ()


def fit_durations(samples_ns: Sequence[float]) -> Fit:
    """The distribution of some durations, at least one."""
    x = np.maximum(np.asarray(samples_ns, float), SHORTEST_NS)
    mean = float(x.mean())
    if len(x) < FEW or x.std() < 1e-3 * mean:
        family = "fixed" if x.std() < 1e-3 * mean else "exponential"
        return Fit(family, mean, len(x), _distance(x, stats.expon(scale=mean)) if family == "exponential" else 0.0)
    sigma = _within("lognormal", float(np.log(x).std()))
    shape = _within("gamma", float(stats.gamma.fit(x, floc=0)[0]))
    candidates = {
        "exponential": (1, stats.expon(scale=mean)),
        f"lognormal_{sigma:g}": (2, stats.lognorm(sigma, scale=mean * np.exp(-(sigma**2) / 2))),
        f"gamma_{shape:g}": (2, stats.gamma(shape, scale=mean / shape)),
    }
    scores = {name: 2 * free - 2 * law.logpdf(x).sum() for name, (free, law) in candidates.items()}
    best = min(scores, key=lambda name: scores[name])
    distance = _distance(x, candidates[best][1])
    if distance <= LARGEST_DISTANCE:
        return Fit(best, mean, len(x), distance)
    values = np.quantile(x, PROBABILITIES) / mean
    pairs = [(p, float(f"{value:.4g}")) for p, value in zip(PROBABILITIES, values, strict=True)]
    measured = stats.ecdf(x).cdf
    grid = np.sort(x)
    between = np.interp(grid / mean, *_rising(pairs))
    return Fit("", mean, len(x), float(np.abs(between - measured.evaluate(grid)).max()), tuple(pairs))


def _within(family: str, value: float) -> float:
    low, high = SHAPED_DISTRIBUTIONS[family]
    return round(min(max(value, low), high), 3)


def _distance(x: np.ndarray, law: object) -> float:
    return float(stats.kstest(x, law.cdf).statistic)  # type: ignore[attr-defined]


def _rising(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Values and probabilities for the inverse of the quantile function."""
    return [value for _, value in pairs], [p for p, _ in pairs]
