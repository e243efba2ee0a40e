"""Shapes of durations that a workload file asks for: any lognormal, gamma, or measured quantiles; tables in the world.

The usual distributions are constants of the compiled code (`base.random`); these belong to a machine.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from vcpu_env.base.jit import kjit
from vcpu_env.base.random import DISTRIBUTIONS, sample
from vcpu_env.base.structs import Struct, StructArray
from vcpu_env.base.world import World

POINTS_LOG2 = 10
POINTS = 1 << POINTS_LOG2
FIRST_SHAPE = len(DISTRIBUTIONS)
"""Numbers of distributions from here on mean shapes."""

guest_shape = Struct("guest_shape", [("quantile_q16", "i4", (POINTS,))])
"""Quantiles in the middle of `POINTS` equal shares, in 1/65536 of the mean."""


def shape_arrays(count: int) -> list[StructArray]:
    """The struct array of all shapes of a machine; most machines have none."""
    return [guest_shape.array(count)] if count else []


def middles() -> np.ndarray:
    """The probabilities that a table has quantiles of."""
    return (np.arange(POINTS) + 0.5) / POINTS


def lognormal_quantiles(sigma: float) -> np.ndarray:
    """Quantiles of exp(sigma * normal)."""
    normal = NormalDist()
    return np.array([math.exp(sigma * normal.inv_cdf(p)) for p in middles()])


def gamma_quantiles(shape: float) -> np.ndarray:
    """Quantiles of the gamma distribution: its density over log(x), summed up and inverted."""
    lowest = (
        math.log(0.01 / POINTS) + math.lgamma(shape + 1)
    ) / shape  # about where the first hundredth of a share ends
    log_x = np.linspace(lowest, math.log(shape + 12 * math.sqrt(shape) + 30), 40_001)
    density = np.exp(shape * log_x - np.exp(log_x) - math.lgamma(shape))
    steps = (density[1:] + density[:-1]) / 2 * np.diff(log_x)
    below = 0.01 / POINTS + np.concatenate([[0.0], np.cumsum(steps)])
    return np.exp(np.interp(middles(), below / below[-1], log_x))


def shape_quantiles(name: str, measured: Sequence[tuple[float, float]] = ()) -> np.ndarray:
    """The table of ``lognormal_SIGMA``, ``gamma_SHAPE`` or, if any, of measured pairs (probability, value)."""
    family, _, number = name.partition("_")
    if measured:
        values = np.interp(middles(), *np.array(measured).T)
    elif family == "lognormal":
        values = lognormal_quantiles(float(number))
    else:
        values = gamma_quantiles(float(number))
    return np.rint(values / values.mean() * 65536).astype(np.int32)


def place_shapes(world: World, tables: Sequence[np.ndarray]) -> None:
    """Write the shapes of all VMs, in this order."""
    if tables:
        world["guest_shape"]["quantile_q16"] = np.array(tables)


@kjit
def sample_duration(w, dist, mean_ns, bits):
    """A duration (ns) of the given distribution or shape and mean from 32 uniform bits."""
    if dist < FIRST_SHAPE:
        return sample(dist, mean_ns, bits)
    return (mean_ns * np.int64(guest_shape(w, dist - FIRST_SHAPE).quantile_q16[bits >> (32 - POINTS_LOG2)])) >> 16
