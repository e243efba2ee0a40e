"""Real beside simulated: every metric of every task, how far apart, and whether that is within its target."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vcpu_env.realism.metrics import ProbeMetrics, TaskMetrics, ks_distance, measure_probe
from vcpu_env.realism.probe import Probe
from vcpu_env.realism.recording import Run
from vcpu_env.realism.together import measure_together

SHARE, RELATIVE, SHOWN = "share", "relative", "shown"
NEAR, SPREAD, MISS = "near", "spread", "miss"


@dataclass(frozen=True)
class Metric:
    """One number of a task.

    Attributes:
        kind: `SHARE`: the target is a difference; `RELATIVE`: a part of the real value; `SHOWN`: has no target.
        slack: a difference that is always near: for counts, one event more or less in the window.
    """

    name: str
    unit: str
    kind: str
    target: float = 0.0
    slack: float = 0.0


METRICS = (
    Metric("CPU share", "%", SHARE, 1.0),
    Metric("voluntary switches", "1/s", RELATIVE, 0.10, 1.0),
    Metric("involuntary switches", "1/s", RELATIVE, 0.10, 1.0),
    Metric("migrations", "1/s", SHOWN),
    Metric("slice p10", "us", SHOWN),
    Metric("slice p50", "us", SHOWN),
    Metric("slice p90", "us", SHOWN),
    Metric("wait p50", "us", RELATIVE, 0.15),
    Metric("wait p90", "us", SHOWN),
)
TOGETHER = {"gang index": "gang_index", "phase of switches": "switch_phase", "spread of shares": "limited_spread"}
"""What several CPUs do together; shown without a target: real runs differ by the phase that they happen to begin in."""

KS = {"slice p50": "slices_ns", "wait p50": "waits_ns"}
"""Rows that also show the distance of whole distributions."""


@dataclass(frozen=True)
class Row:
    """One metric of one task: means over the runs, the real runs' range, and the verdict.

    Attributes:
        near: within the target; None: it has none, or one side has no value.
        ks: distance of the distributions, all runs pooled; None: not a distribution's row.
        ks_real: the same between the real runs themselves, the largest.
    """

    probe: str
    task: str
    metric: str
    unit: str
    real: float
    real_low: float
    real_high: float
    simulated: float
    near: bool | None
    ks: float | None = None
    ks_real: float | None = None

    @property
    def verdict(self) -> str:
        """near, miss, "" without a target, or spread: outside the target, but not outside the real runs' own range."""
        if self.near is None:
            return ""
        return NEAR if self.near else SPREAD if self.real_low <= self.simulated <= self.real_high else MISS


@dataclass(frozen=True)
class Compared:
    """One probe: its rows, and how much of its CPUs others and a hypervisor took during the real runs.

    `together` are the rows of what several CPUs did together; of a probe of one CPU there are none.
    """

    probe: Probe
    rows: list[Row]
    together: list[Row]
    interference: float
    steal: float

    @property
    def misses(self) -> list[Row]:
        """Rows outside their target and outside the real runs' own range."""
        return [row for row in self.rows if row.verdict == MISS]


def values(task: TaskMetrics) -> tuple[float, ...]:
    """The numbers of one task in the order of METRICS; NaN where nothing was seen."""
    slices = np.percentile(task.slices_ns, (10, 50, 90)) / 1e3 if len(task.slices_ns) else np.full(3, np.nan)
    waits = np.percentile(task.waits_ns, (50, 90)) / 1e3 if len(task.waits_ns) else np.full(2, np.nan)
    rates = (task.voluntary, task.involuntary, task.migrations)
    return (100 * task.cpu_share, *rates, *slices.tolist(), *waits.tolist())


def is_near(metric: Metric, real: float, simulated: float) -> bool | None:
    """Whether a simulated value is within the target; None if there is none, or nothing happened on either side."""
    if metric.kind == SHOWN or np.isnan(real) or np.isnan(simulated) or real == simulated == 0:
        return None
    allowed = metric.target if metric.kind == SHARE else max(metric.target * real, metric.slack)
    return abs(simulated - real) <= allowed


def pooled(tasks: Sequence[TaskMetrics], name: str) -> np.ndarray:
    """A distribution over all runs."""
    return np.concatenate([getattr(task, name) for task in tasks])


def own_distance(tasks: Sequence[TaskMetrics], name: str) -> float:
    """The largest distance of one run's distribution from all the runs' together."""
    return max(ks_distance(getattr(task, name), pooled(tasks, name)) for task in tasks)


def compare_task(probe: str, task: str, real: list[TaskMetrics], simulated: list[TaskMetrics]) -> Iterator[Row]:
    """All rows of one task."""
    theirs, ours = (np.array([values(run) for run in runs]) for runs in (real, simulated))
    for i, metric in enumerate(METRICS):
        seen = theirs[:, i][~np.isnan(theirs[:, i])]
        mine = ours[:, i][~np.isnan(ours[:, i])]
        mean = float(seen.mean()) if len(seen) else np.nan
        own = float(mine.mean()) if len(mine) else np.nan
        name = KS.get(metric.name)
        yield Row(
            probe=probe,
            task=task,
            metric=metric.name,
            unit=metric.unit,
            real=mean,
            real_low=float(seen.min()) if len(seen) else np.nan,
            real_high=float(seen.max()) if len(seen) else np.nan,
            simulated=own,
            near=is_near(metric, mean, own),
            ks=ks_distance(pooled(real, name), pooled(simulated, name)) if name else None,
            ks_real=own_distance(real, name) if name else None,
        )


def compare_together(probe: Probe, real: Sequence[Run], simulated: Sequence[Run]) -> list[Row]:
    """What the CPUs of a probe do together, on both sides; no row for what is not there."""
    theirs, ours = ([measure_together(probe, run) for run in runs] for runs in (real, simulated))
    rows = []
    for name, field in TOGETHER.items():
        seen, mine = (100 * np.array([getattr(run, field) for run in runs]) for runs in (theirs, ours))
        if not np.isnan(seen).all() and not np.isnan(mine).all():
            low, high = float(np.nanmin(seen)), float(np.nanmax(seen))
            means = float(np.nanmean(seen)), low, high, float(np.nanmean(mine))
            rows.append(Row(probe.name, "all", name, "%", *means, near=None))
    return rows


def compare_probe(probe: Probe, real: Sequence[Run], simulated: Sequence[Run]) -> Compared:
    """A probe's runs on both sides, compared task by task."""
    theirs, ours = (
        [measure_probe(r.events, probe.limited, r.begin_ns, r.end_ns) for r in runs] for runs in (real, simulated)
    )
    rows = [
        row
        for i, task in enumerate(probe.tasks)
        for row in compare_task(probe.name, task.name, of_task(theirs, i), of_task(ours, i))
    ]
    return Compared(
        probe,
        rows,
        compare_together(probe, real, simulated) if probe.cpus > 1 else [],
        float(np.mean([run.interference for run in theirs])),
        float(np.mean([run.steal for run in real])),
    )


def of_task(runs: Sequence[ProbeMetrics], i: int) -> list[TaskMetrics]:
    """The i-th task in every run."""
    return [run.tasks[i] for run in runs]
