"""Random demands of the guests: counter-based streams and quantile tables, integers throughout.

A draw is a hash of (seed, entity, purpose, how many draws that entity made for that purpose). What a thread asks for
therefore depends on its own history alone: under two policies and one seed it draws the same sequence of demands, even
after the schedules have diverged (common random numbers).
"""

import math
from statistics import NormalDist

import numpy as np

from vcpu_env._jit import kjit

QUANTILES = 4096
FIXED, EXPONENTIAL, LOGNORMAL_06, LOGNORMAL_08, UNIFORM = range(5)
DISTRIBUTIONS = {
    "fixed": FIXED,
    "exponential": EXPONENTIAL,
    "lognormal_0.6": LOGNORMAL_06,
    "lognormal_0.8": LOGNORMAL_08,
    "uniform": UNIFORM,
}
PURPOSE_DURATION, PURPOSE_BRANCH, PURPOSE_PICK, NR_PURPOSES = range(4)
LOCK_ENTITY = 1 << 20
"""Stream entities of locks start here, those of threads at 0."""

_INCREMENT = -7046029254386353131  # 0x9E3779B97F4A7C15, the splitmix64 increment, as a signed integer
_MULTIPLY_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MULTIPLY_2 = -7723592293110705685  # 0x94D049BB133111EB
_ENTITY = -3335678366873096957  # an odd constant that keeps streams apart


def quantile_tables() -> np.ndarray:
    """Mid-point quantiles in 1/65536 of the mean, scaled so that the mean is exact; one distribution after another.

    They are constants of the compiled code: all machines of a process share them.
    """
    points = [(i + 0.5) / QUANTILES for i in range(QUANTILES)]
    normal = [NormalDist().inv_cdf(p) for p in points]
    tables = {
        FIXED: [1.0] * QUANTILES,
        EXPONENTIAL: [-math.log1p(-p) for p in points],
        LOGNORMAL_06: [math.exp(0.6 * z) for z in normal],
        LOGNORMAL_08: [math.exp(0.8 * z) for z in normal],
        UNIFORM: [2 * p for p in points],
    }
    scaled = [np.rint(np.array(tables[kind]) / np.mean(tables[kind]) * 65536) for kind in sorted(tables)]
    return np.concatenate(scaled).astype(np.int32)


QUANTILES_Q16 = quantile_tables()


@kjit
def mix64(x):
    """splitmix64's finaliser on a signed 64-bit pattern: the inverse of no pattern is short."""
    x = np.int64(x)
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * _MULTIPLY_1
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * _MULTIPLY_2
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


@kjit
def stream_key(seed, entity, purpose):
    """Key of the stream of one entity and purpose."""
    return mix64(np.int64(seed) * _ENTITY + mix64(entity * 8 + purpose + 1))


@kjit
def draw(key, count):
    """The `count`-th draw of a stream: 32 uniform bits, 0 .. 2**32 - 1."""
    return (mix64(key + count * _INCREMENT) >> 32) & 0xFFFFFFFF


@kjit
def sample(kind, mean_ns, bits):
    """A duration (ns) of the given distribution and mean from 32 uniform bits."""
    if kind == FIXED:
        return mean_ns
    return (mean_ns * np.int64(QUANTILES_Q16[kind * QUANTILES + (bits >> 20)])) >> 16
