"""What the hosts of one ratio have counted: sums a host, from which everything claimed of the fleet follows."""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from baselines.cells import Row
from baselines.fleet.model import Limits
from baselines.statistics import Array, Estimate, log2_percentile, middle

BUCKETS = 64
COUNTS = ("vms", "keep", "keep_ready", "keep_lock", "keep_ipi", "known", "log_kept", "ready_ns", "steal_ns", "life_ns")
"""Numbers of a host, before its two histograms: VMs, those that keep all limits and each, ..."""
PLACE = {name: i for i, name in enumerate(COUNTS)}
RESAMPLES, LARGEST = 2_000, 20_000_000
"""Resamples of hosts, and the most numbers that drawing them may take."""
FLOOR = 0.01
"""Least part of its throughput that a VM is taken to keep."""


class Tally:
    """The hosts of one ratio.

    Args:
        limits: what a VM shall keep.
    """

    def __init__(self, limits: Limits):
        self.limits = limits
        self.hosts: list[Array] = []
        self.drawn: tuple[int, Array] | None = None

    def add(self, row: Row, alone: Mapping[tuple[int, str], float]) -> Row:
        """Count a host.

        Args:
            alone: throughput of each kind of VM alone.

        Returns:
            What is to be said of the host by itself.
        """
        life = np.array(row["vm_vcpus"], float) * np.array(row["vm_alive_ns"], float)
        ready = np.divide(row["vm_ready_ns"], life, out=np.zeros(len(life)), where=life > 0)
        histograms = [np.array(row[name], float) for name in ("vm_lock_wait_log2", "vm_ipi_latency_log2")]
        p99 = [log2_percentile(histogram, 0.99) for histogram in histograms]
        kept = (
            within(ready, self.limits.ready),
            within(p99[0], self.limits.lock_p99_ns),
            within(p99[1], self.limits.ipi_p99_ns),
        )
        kinds = zip(row["vm_vcpus"], row["vm_workload"], row["vm_units_per_s"], strict=True)
        parts = [rate / alone[size, name] for size, name, rate in kinds if alone[size, name] > 0]
        counts = [
            *(len(life), np.logical_and.reduce(kept).sum(), *(each.sum() for each in kept)),
            *(len(parts), sum(math.log(max(part, FLOOR)) for part in parts)),
            *(sum(row["vm_ready_ns"]), sum(row["vm_steal_ns"]), life.sum()),
        ]
        self.hosts.append(np.concatenate([counts, *(padded(histogram.sum(axis=0)) for histogram in histograms)]))
        return {
            "vms": len(life),
            "keep_limits": int(counts[PLACE["keep"]]),
            "kept": math.exp(counts[PLACE["log_kept"]] / len(parts)) if parts else math.nan,
            "ready": float(counts[PLACE["ready_ns"]] / counts[PLACE["life_ns"]]) if life.sum() else math.nan,
        }

    def total(self, name: str) -> float:
        """A count over all hosts."""
        return float(np.sum([host[PLACE[name]] for host in self.hosts]))

    def share(self, above: str, below: str) -> Estimate:
        """A ratio of two counts, its interval over hosts."""
        return self.estimate(lambda sums: ratio(sums[:, PLACE[above]], sums[:, PLACE[below]]))

    @property
    def kept(self) -> Estimate:
        """Throughput relative to the same VM alone, geometric mean."""
        return self.estimate(lambda sums: np.exp(ratio(sums[:, PLACE["log_kept"]], sums[:, PLACE["known"]])))

    def p99_ns(self, what: str) -> Estimate:
        """The 99th percentile over all VMs of all hosts: of waits for a `lock`, or of an `ipi`."""
        first = len(COUNTS) + BUCKETS * (what == "ipi")
        return self.estimate(lambda sums: log2_percentile(sums[:, first : first + BUCKETS], 0.99))

    def row(self) -> Row:
        """Every figure of the ratio."""
        shares = {name: self.share(name, "vms") for name in ("keep", "keep_ready", "keep_lock", "keep_ipi")}
        times = {name: self.share(f"{name}_ns", "life_ns") for name in ("ready", "steal")}
        p99 = {f"{what}_p99_ns": self.p99_ns(what) for what in ("lock", "ipi")}
        row: Row = {"hosts": len(self.hosts), "vms": int(self.total("vms"))}
        for name, value in ({"kept": self.kept} | times | p99 | shares).items():
            row |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
        return row

    def estimate(self, statistic: Callable[[Array], Array]) -> Estimate:
        """A statistic of sums over hosts, and its percentile bootstrap interval over hosts."""
        value = float(statistic(np.sum(self.hosts, axis=0)[None])[0])
        drawn = statistic(self.resampled())
        return Estimate(value, *middle(drawn)) if np.isfinite(drawn).all() else Estimate(value, math.nan, math.nan)

    def resampled(self) -> Array:
        """Sums over as many hosts, drawn again and again: a row a resample."""
        count = len(self.hosts)
        if self.drawn is not None and self.drawn[0] == count:
            return self.drawn[1]
        resamples = max(200, min(RESAMPLES, LARGEST // count))
        times = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=resamples)
        sums: Array = times.astype(float) @ np.stack(self.hosts)
        self.drawn = count, sums
        return sums


def within(values: Array, limit: float | None) -> NDArray[np.bool_]:
    """Which values keep a limit; what is not known, keeps it."""
    return np.array([limit is None or not value > limit for value in values.tolist()], bool)


def padded(histogram: Array) -> Array:
    """A histogram with as many buckets as all."""
    return np.concatenate([histogram, np.zeros(BUCKETS - len(histogram))])


def ratio(above: Array, below: Array) -> Array:
    """A quotient; NaN where nothing is below."""
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
