"""All that is random in a machine: counter-based streams and quantile tables, integers throughout.

A draw is a hash of (seed, entity, purpose, how many draws that entity made for that purpose). What a thread asks for
therefore depends on its own history alone: under two policies and one seed it draws the same sequence of demands, even
after the schedules have diverged (common random numbers). A machine keeps its seed in one place, `random_key`, and no
key of any stream, so that another seed there is another future of everything.
"""

import math
from statistics import NormalDist

import numpy as np

from vcpu_env.base.jit import kjit
from vcpu_env.base.structs import Struct, StructArray

QUANTILES = 4096
FIXED, EXPONENTIAL, LOGNORMAL_06, LOGNORMAL_08, UNIFORM = range(5)
DISTRIBUTIONS = {
    "fixed": FIXED,
    "exponential": EXPONENTIAL,
    "lognormal_0.6": LOGNORMAL_06,
    "lognormal_0.8": LOGNORMAL_08,
    "uniform": UNIFORM,
}
ENTITIES = ("thread", "lock", "host_task", "vcpu", "cpu", "vm")
PURPOSES = ("duration", "branch", "pick", "notice", "newidle", "tick", "tick_phase", "launch")
STREAMS = {
    "thread_duration": "how long a guest thread's operation takes",
    "thread_branch": "which way it goes",
    "thread_pick": "which lock, queue or sibling it takes",
    "lock_pick": "which spinning waiter of a lock is first to see it free",
    "host_task_duration": "how long a host task computes or sleeps",
    "vcpu_notice": "when within its loop a spinning vCPU sees what it waits for",
    "cpu_newidle": "whether a CPU that goes idle looks for tasks to pull (fair.c: NI_RANDOM)",
    "cpu_tick": "how late a tick is",
    "vm_tick_phase": "when the guest's ticks come",
    "vm_launch": "when the VM is launched",
}
"""Every stream of a machine, as ENTITY_PURPOSE. All are keyed by the one seed in `random_key`."""


def stream_base(name: str) -> int:
    """The number of a stream of entity 0; entity i's is `i << 4` further, so a kind has room for 2**20 of them."""
    kind = next(kind for kind in ENTITIES if name.startswith(f"{kind}_"))
    return ENTITIES.index(kind) << 24 | PURPOSES.index(name.removeprefix(f"{kind}_"))


(
    THREAD_DURATION,
    THREAD_BRANCH,
    THREAD_PICK,
    LOCK_PICK,
    HOST_TASK_DURATION,
    VCPU_NOTICE,
    CPU_NEWIDLE,
    CPU_TICK,
    VM_TICK_PHASE,
    VM_LAUNCH,
) = (stream_base(name) for name in STREAMS)

random_key = Struct("random_key", [("key", "i8")], single=True)

NR_THREAD_STREAMS = 3
"""Of the streams above, those of threads come first: a thread's counters of draws are indexed by them."""

_INCREMENT = -7046029254386353131  # 0x9E3779B97F4A7C15, the splitmix64 increment, as a signed integer
_MULTIPLY_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MULTIPLY_2 = -7723592293110705685  # 0x94D049BB133111EB
_STREAM = -3335678366873096957  # an odd constant that keeps streams apart


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


def random_arrays() -> list[StructArray]:
    """The struct array of the machine's seed."""
    return [random_key.array()]


@kjit
def seed_key(seed):
    """What streams of one seed have in common."""
    return mix64(np.int64(seed) * _STREAM + 1)


@kjit
def set_seed(w, seed):
    """Give the machine the random streams of another seed: the same state, another future."""
    random_key(w).key = seed_key(seed)


@kjit
def draw(key, count):
    """The `count`-th draw of the stream of a key: 32 uniform bits, 0 .. 2**32 - 1."""
    return (mix64(key + np.int64(count) * _INCREMENT) >> 32) & 0xFFFFFFFF


@kjit
def stream_key(key, stream, entity):
    """Key of one entity's stream (`THREAD_DURATION`, ...) under the key of a seed."""
    return key + np.int64(stream + (entity << 4)) * _STREAM


@kjit
def draw_of(w, stream, entity, count):
    """The `count`-th draw of one entity's stream: 32 uniform bits."""
    return draw(stream_key(random_key(w).key, stream, entity), count)


@kjit
def sample(kind, mean_ns, bits):
    """A duration (ns) of the given distribution and mean from 32 uniform bits."""
    if kind == FIXED:
        return mean_ns
    return (mean_ns * np.int64(QUANTILES_Q16[kind * QUANTILES + (bits >> 20)])) >> 16
