"""What each task of a probe got: share of the CPU, switches, slices, waits, migrations, from scheduler events.

Others than the probe may have had the CPU at times. While a task of the probe ran or waited there, that was
*interference*: it is taken out of the window's length, of stays and of waits, and its share is kept. A wait that begins
while others run is left out. Tasks under a quota wait for their quota too, so of their waits nothing is taken out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np

from vcpu_env.realism.events import SWITCH
from vcpu_env.realism.stays import CpuClock, all_stays


@dataclass
class TaskMetrics:
    """One task in one window.

    Attributes:
        cpu_share: CPU time as a share of one CPU's time, on each CPU of what others left of it.
        voluntary, involuntary: times a second that the task left a CPU asleep, or still runnable.
        migrations: times a second that it came to a CPU other than its last.
        slices_ns: how long it ran each time.
        waits_ns: how long it was runnable before it ran, each time.
    """

    cpu_share: float
    voluntary: float
    involuntary: float
    migrations: float
    slices_ns: np.ndarray
    waits_ns: np.ndarray


@dataclass
class ProbeMetrics:
    """All tasks of a probe in one window, in the probe's order, and the share of the CPUs' time that others took."""

    tasks: list[TaskMetrics]
    interference: float


@dataclass
class Waits:
    """Of one task: when it became runnable before each of its stays but the first, and the stays' CPUs and begins."""

    since: np.ndarray
    begin: np.ndarray
    cpu: np.ndarray
    limited: bool


def waits_of(stays: np.ndarray, wakes: np.ndarray, limited: bool) -> Waits:
    """A task's waits: from losing its CPU, or from the first wake-up after it fell asleep, if that was seen."""
    before, after = stays[:-1], stays[1:]
    since = before["end_ns"].copy()
    asleep = np.flatnonzero(~before["runnable"])
    first = np.searchsorted(wakes, since[asleep])
    seen = first < len(wakes)
    since[asleep] = np.where(seen, wakes[np.minimum(first, len(wakes) - 1)] if len(wakes) else 0, 1 << 62)
    known = since <= after["begin_ns"]
    return Waits(since[known], after["begin_ns"][known], after["cpu"][known], limited)


def interference_ns(
    clock: CpuClock, cpu: int, stays: np.ndarray, waits: Sequence[Waits], begin_ns: int, end_ns: int
) -> int:
    """Time that a CPU served others within a stay, or while a task without a quota waited for it."""
    here = stays[stays["cpu"] == cpu]
    spans = [(here["begin_ns"], here["end_ns"])]
    spans += [(w.since[w.cpu == cpu], w.begin[w.cpu == cpu]) for w in waits if not w.limited]
    since, until = (np.clip(np.concatenate(ends), begin_ns, end_ns) for ends in zip(*spans, strict=True))
    order = np.argsort(since)
    since, until = since[order], np.maximum.accumulate(until[order])
    since[1:] = np.maximum(since[1:], until[:-1])  # overlaps count once
    since = np.minimum(since, until)
    return int((until - since).sum() - (clock.at(until) - clock.at(since)).sum())


def measure_probe(events: np.ndarray, limited: Sequence[bool], begin_ns: int, end_ns: int) -> ProbeMetrics:
    """The metrics of a probe's tasks within a window; `limited` says of each task whether it has a quota.

    Raises:
        ValueError: nothing of the probe is there.
    """
    if end_ns <= begin_ns or not (events["event"] == SWITCH).any():
        raise ValueError("realism: no scheduler events in the window (allowed: a recording of a probe)")
    with_quota = {pid for pid, has_quota in enumerate(limited, start=1) if has_quota}
    clocks, stays = all_stays(events, end_ns, with_quota)
    wakes = events[events["event"] != SWITCH]
    own = [stays[stays["pid"] == pid] for pid in range(1, len(limited) + 1)]
    waits = [
        waits_of(mine, wakes["time_ns"][wakes["next_pid"] == pid], has_quota)
        for pid, (mine, has_quota) in enumerate(zip(own, limited, strict=True), start=1)
    ]
    window = end_ns - begin_ns
    free = {
        cpu: max(1, window - interference_ns(clock, cpu, stays, waits, begin_ns, end_ns))
        for cpu, clock in clocks.items()
    }
    tasks = [measure_task(*pair, clocks, begin_ns, end_ns, free) for pair in zip(own, waits, strict=True)]
    return ProbeMetrics(tasks, 1 - mean(free.values()) / window)


def on_own_clocks(clocks: dict[int, CpuClock], cpus: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Lengths of spans, each on its CPU's own clock."""
    lengths = np.zeros(len(begin), np.int64)
    for cpu, clock in clocks.items():
        here = cpus == cpu
        lengths[here] = clock.at(end[here]) - clock.at(begin[here])
    return lengths


def measure_task(
    stays: np.ndarray, waits: Waits, clocks: dict[int, CpuClock], begin_ns: int, end_ns: int, free: dict[int, int]
) -> TaskMetrics:
    """The metrics of one task; `free` is how much of each CPU's time others left."""
    begin, end, cpu = stays["begin_ns"], stays["end_ns"], stays["cpu"]
    ran = on_own_clocks(clocks, cpu, np.clip(begin, begin_ns, end_ns), np.clip(end, begin_ns, end_ns))
    left = stays["complete"] & (begin_ns <= end) & (end < end_ns)
    whole = left & (begin >= begin_ns)
    came = (begin_ns <= begin[1:]) & (begin[1:] < end_ns)
    counted = (waits.since >= begin_ns) & (waits.begin < end_ns)
    if waits.limited:
        waited = (waits.begin - waits.since)[counted]
    else:
        for number, clock in clocks.items():
            here = waits.cpu == number
            counted[here] &= ~clock.serves_others(waits.since[here] - 1)
        waited = on_own_clocks(clocks, waits.cpu[counted], waits.since[counted], waits.begin[counted])
    per_second = 1e9 / mean(free.values())
    return TaskMetrics(
        cpu_share=float(sum(ran[cpu == number].sum() / free_ns for number, free_ns in free.items())),
        voluntary=float((left & ~stays["runnable"]).sum() * per_second),
        involuntary=float((left & stays["runnable"]).sum() * per_second),
        migrations=float(((cpu[1:] != cpu[:-1]) & came).sum() * per_second),
        slices_ns=on_own_clocks(clocks, cpu[whole], begin[whole], end[whole]),
        waits_ns=waited,
    )


def ks_distance(a: np.ndarray, b: np.ndarray, jitter: float = 0.02) -> float:
    """Kolmogorov-Smirnov distance of two samples of positive values: the largest difference of their distributions.

    Values are equal within `jitter` of themselves: a simulated tick is exact, a real one late by some microseconds.
    """
    if not len(a) or not len(b):
        return 0.0 if len(a) == len(b) else 1.0
    a, b = np.sort(a), np.sort(b)
    return max(one_sided(a, b, 1 + jitter), one_sided(b, a, 1 + jitter), 0.0)


def one_sided(a: np.ndarray, b: np.ndarray, factor: float) -> float:
    """The largest F_a(x) - F_b(x * factor); both sorted. It lies at a value of `a`."""
    below_b = np.searchsorted(b, a * factor, side="right") / len(b)
    below_a = np.searchsorted(a, a, side="right") / len(a)
    return float(np.max(below_a - below_b))
