"""Where a gain comes from: what the counters say that a policy changed, per cell, against stock on the same seeds.

CPU time adds up: every nanosecond of every CPU is guest work, or one of the losses of `CPU_TIME`. A change of
throughput is a change of the time left for work, times a change of the work that is done in that time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from baselines.cells import Row
from baselines.statistics import Array, Estimate, estimate, geometric_mean

SECOND = 1e9


@dataclass(frozen=True)
class Quantity:
    """A ratio of sums of counters.

    Attributes:
        name: column of the summary.
        above, below: columns of the cells' rows whose sums are divided.
        scale: factor on the quotient.
        share: a share of something, compared in percentage points; else by ratio.
    """

    name: str
    title: str
    unit: str
    above: tuple[str, ...]
    below: tuple[str, ...]
    scale: float = 1.0
    share: bool = False

    def value(self, rows: Sequence[Row]) -> float:
        """Over all seeds; NaN if nothing is below, or a column is not counted."""
        above, below = self.parts(rows)
        return float(self.scale * above.sum() / below.sum()) if below.sum() != 0 else float("nan")

    def parts(self, rows: Sequence[Row]) -> tuple[Array, Array]:
        """Sums above and below, per seed."""
        return _sums(rows, self.above), _sums(rows, self.below)

    def change(self, rows: Sequence[Row], stock: Sequence[Row]) -> Estimate | None:
        """Relative change against stock, or difference if it is a share; None where stock has nothing to compare."""
        policy_above, policy_below = self.parts(rows)
        stock_above, stock_below = self.parts(stock)
        wholes = (policy_below, stock_below) if self.share else (policy_below, stock_below, stock_above)
        if not all(np.all(whole > 0) for whole in wholes):
            return None

        def difference(a: Array, b: Array, c: Array, d: Array) -> Array:
            policy, before = a.sum(axis=1) / b.sum(axis=1), c.sum(axis=1) / d.sum(axis=1)
            return policy - before if self.share else policy / before - 1.0

        return estimate(difference, policy_above, policy_below, stock_above, stock_below)


def _sums(rows: Sequence[Row], columns: Sequence[str]) -> Array:
    return np.array([sum(row.get(column, float("nan")) for column in columns) for row in rows], float)


def _rate(name: str, title: str, column: str) -> Quantity:
    return Quantity(name, title, "1/s", (column,), ("time_ns",), SECOND)


def _share(name: str, title: str, of: str, above: str, *below: str) -> Quantity:
    return Quantity(name, title, of, (above,), below, share=True)


TRIED, DONE = "kvm_ple_yield_attempt", "kvm_ple_yield_ok"

QUANTITIES = (
    _share("spin_share", "spinning", "of guest time", "spin_ns", "run_ns"),
    _rate("ple_exits_per_s", "PLE exits", "kvm_pause_exits"),
    _rate("yields_tried_per_s", "yields", TRIED),
    _share("yields_ok_share", "succeeded", "of yields", DONE, TRIED),
    _rate("yields_useful_per_s", "useful yields", "kvm_ple_yield_useful"),
    _share("yields_useful_share", "useful", "of yields", "kvm_ple_yield_useful", TRIED),
    _share("yields_same_rq_share", "same run queue", "of yields done", "kvm_ple_yield_same_rq", DONE),
    _rate("penalties_per_s", "penalties", "deboost_applied"),
    _rate("switches_per_s", "context switches", "sched_nr_switches"),
    _rate("migrations_per_s", "migrations", "sched_nr_migrations"),
    Quantity("call_wait_us", "wait for a call's IPIs", "µs each", ("call_wait_ns",), ("calls",), 1e-3),
    Quantity("lock_wait_us", "wait for a taken lock", "µs each", ("lock_wait_ns",), ("lock_spins",), 1e-3),
    _share("steal_share", "steal", "of runnable time", "steal_ns", "steal_ns", "run_ns"),
)
"""What is compared: mechanism first, effect last. Useful: the vCPU that the spinner waited for ran at once."""

ALL_CPU_TIME = ("host_guest_ns", "host_host_ns", "host_poll_ns", "host_idle_ns", "host_task_ns")
LOSSES = ("spin_ns", "irq_ns", "cold_lost_ns", "smt_lost_ns")


def _cpu_time(name: str, title: str, *columns: str) -> Quantity:
    return Quantity(name, title, "of all CPU time", columns, ALL_CPU_TIME, share=True)


CPU_TIME = (
    _cpu_time("cpu_spin", "spinning", "spin_ns"),
    _cpu_time("cpu_irq", "guest interrupts", "irq_ns"),
    _cpu_time("cpu_cold", "cold caches", "cold_lost_ns"),
    _cpu_time("cpu_smt", "slower beside a busy thread of the core", "smt_lost_ns"),
    _cpu_time("cpu_task", "other tasks of the host", "host_task_ns"),
    _cpu_time("cpu_host", "exits, switches, yields", "host_host_ns"),
    _cpu_time("cpu_idle", "idle, halt polling", "host_idle_ns", "host_poll_ns"),
)
"""Where CPU time goes that does no work. What is left is work."""


def work_share(rows: Sequence[Row]) -> float:
    """Share of all CPU time that is guest work."""
    work, whole = _work(rows)
    return float(work.sum() / whole.sum())


def work_change(rows: Sequence[Row], stock: Sequence[Row]) -> Estimate:
    """Relative change of the CPU time that is guest work."""
    return estimate(lambda *sums: _work_ratio(*sums) - 1.0, *_work(rows), *_work(stock))


def efficiency_change(rows: Sequence[Row], stock: Sequence[Row], ratios: Array) -> Estimate:
    """Relative change of the work done per CPU time of work, given the ratios of throughputs."""
    return estimate(
        lambda drawn, *sums: geometric_mean(drawn, axis=1) / _work_ratio(*sums) - 1.0,
        ratios,
        *_work(rows),
        *_work(stock),
    )


def _work(rows: Sequence[Row]) -> tuple[Array, Array]:
    """CPU time of work, the guests' time without what they lose in it, and all CPU time; per seed."""
    return _sums(rows, ("host_guest_ns",)) - _sums(rows, LOSSES), _sums(rows, ALL_CPU_TIME)


def _work_ratio(work: Array, whole: Array, stock_work: Array, stock_whole: Array) -> Array:
    return (work.sum(axis=1) / whole.sum(axis=1)) / (stock_work.sum(axis=1) / stock_whole.sum(axis=1))
