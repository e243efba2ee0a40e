"""How well a fitted program shows what the recorded one did: the same quantities of both, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from vcpu_env.fit.fit import Fitted
from vcpu_env.fit.simulate import Simulated
from vcpu_env.fit.threads import KIND_NAMES, Recording, Thread


@dataclass(frozen=True)
class Compared:
    """One quantity of one group of threads.

    Attributes:
        distance: relative difference; of the unit "KS" the largest distance of the two distribution functions; None:
            there is nothing to compare.
        allowed: largest distance, either way, at which the simulated value counts as the recorded one; None: it is not
            judged.
    """

    group: str
    quantity: str
    unit: str
    recorded: float | None
    simulated: float | None
    distance: float | None
    allowed: float | None = None

    @property
    def differs(self) -> bool:
        """Whether the fitted program does not do this as the recorded one did."""
        return self.allowed is not None and (self.distance is None or abs(self.distance) > self.allowed)


MOST_OFF = 1 / 3
MOST_KS = 0.25
"""A rate, a time on CPUs or a duration may be off by a third, a quarter of all durations be others."""
RATE_BY_CHANCE, KS_BY_CHANCE = 2.58, 1.63
"""What two equal programs exceed in 1 % of all recordings: few samples say little."""


def rate_allowed(samples: int) -> float | None:
    """The largest relative difference of a rate that was measured by so many events; None: no events."""
    return max(MOST_OFF, RATE_BY_CHANCE / samples**0.5) if samples else None


def busy_allowed(share: float, runs: int) -> float:
    """The largest relative difference of the share of time on a CPU, measured by so many runs and sleeps."""
    return max(MOST_OFF, RATE_BY_CHANCE * (1 - min(1.0, share)) * (2 / max(1, runs)) ** 0.5)


def ks_allowed(one: int, other: int) -> float | None:
    """The largest distance of the distribution functions of so many samples; None: no samples to compare."""
    return max(MOST_KS, KS_BY_CHANCE * (1 / one + 1 / other) ** 0.5) if one and other else None


def relative(recorded: float | None, simulated: float | None) -> float | None:
    """Relative difference of the simulated value."""
    if recorded is None or simulated is None or not recorded:
        return None
    return simulated / recorded - 1.0


def durations(group: str, what: str, recorded: Sequence[float], simulated: Sequence[float]) -> list[Compared]:
    """Median, 90th percentile and distance of two samples of durations.

    Samples that hardly vary are far apart by their distribution functions however near they are, so only durations
    whose median or 90th percentile is off differ.
    """
    rows = []
    for name, share in (("median", 0.5), ("p90", 0.9)):
        real, ours = (float(np.quantile(x, share)) if len(x) else None for x in (recorded, simulated))
        rows.append(Compared(group, f"{what}, {name}", "ns", real, ours, relative(real, ours)))
    both = len(recorded) > 0 and len(simulated) > 0
    ks = float(stats.ks_2samp(recorded, simulated).statistic) if both else None
    off = any(row.distance is not None and abs(row.distance) > MOST_OFF for row in rows)
    allowed = ks_allowed(len(recorded), len(simulated)) if off else 1.0 if both else None
    return [*rows, Compared(group, f"{what}, distributions", "KS", None, None, ks, allowed)]


JUDGED = ("voluntary switches", "wake-ups")
"""Rates that are the program's own; who preempts it is no part of it."""


def per_second(threads: Sequence[Thread], recording: Recording) -> dict[str, float]:
    """Rates of some threads over the time of their recording."""
    seconds = max(1, recording.window_ns) / 1e9
    return {
        "voluntary switches": sum(len(thread.blocks) for thread in threads) / seconds,
        "involuntary switches": sum(thread.preempted for thread in threads) / seconds,
        "wake-ups": sum(block.slept_ns is not None for thread in threads for block in thread.blocks) / seconds,
    }


def compare(
    group: str, pairs: tuple[Sequence[Thread], Sequence[Thread]], both: tuple[Recording, Recording]
) -> list[Compared]:
    """All quantities of one group: its recorded threads and its simulated ones."""
    runs = [[run for thread in threads for run in thread.runs_ns] for threads in pairs]
    blocks = [[b.slept_ns for t in threads for b in t.blocks if b.slept_ns is not None] for threads in pairs]
    rows = durations(group, "run", *runs) + durations(group, "sleep", *blocks)
    rates = [per_second(threads, recording) for threads, recording in zip(pairs, both, strict=True)]
    for name in rates[0]:
        real, ours = (rate[name] for rate in rates)
        allowed = rate_allowed(round(real * both[0].window_ns / 1e9)) if name in JUDGED else None
        rows.append(Compared(group, name, "1/s", real, ours, relative(real, ours), allowed))
    real, ours = (sum(t.cpu_ns for t in threads) / max(1, r.window_ns) for threads, r in zip(pairs, both, strict=True))
    allowed = busy_allowed(real / max(1, len(pairs[0])), len(runs[0])) if real else None
    return [*rows, Compared(group, "CPUs busy", "CPUs", real, ours, relative(real, ours), allowed)]


def interrupts(recording: Recording, simulated: dict[int, float]) -> list[Compared]:
    """Interrupts per second of CPU time of all threads, of the kinds that were recorded."""
    seconds = sum(thread.cpu_ns for thread in recording.threads.values()) / 1e9
    rows = []
    for kind in sorted(recording.counted):
        recorded = sum(thread.counts[kind] for thread in recording.threads.values()) / max(1e-9, seconds)
        there = simulated[kind]
        rows.append(Compared("all", KIND_NAMES[kind], "1/CPU-s", recorded, there, relative(recorded, there)))
    return rows


def goodness(fitted: Fitted, simulated: Simulated) -> list[Compared]:
    """The table: every group, then all threads together."""
    both = fitted.recording, simulated.recording
    rows, first = [], 1
    everybody: list[Any] = [[], []]
    for group in fitted.groups:
        ids = range(first, first + group.count)
        there = [thread for thread in simulated.recording.threads.values() if thread.tid in ids]
        first += group.count
        rows += compare(group.name, (group.threads, there), both)
        everybody[0] += group.threads
        everybody[1] += there
    together = compare("all", (everybody[0], everybody[1]), both)
    rows += [replace(row, allowed=None) for row in together]  # each group has been judged
    return rows + interrupts(fitted.recording, simulated.interrupts)
