"""What studies measure beside throughput against stock: against any policy, per unit of work, in shares of yields."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from baselines.cells import Row
from baselines.statistics import Array, Estimate, change, estimate, geometric_mean, paired_ratios
from baselines.summary import Comparison

TRIED, DONE = "kvm_ple_yield_attempt", "kvm_ple_yield_ok"
RAN, USEFUL, SAME_RQ = "kvm_ple_yield_ran", "kvm_ple_yield_useful", "kvm_ple_yield_same_rq"

NOT_COMPARED = ("variant", "policy", "deboost_limited", "deboost_cross_rq")
"""Columns of a row that say what it is of, or what the debooster looked at without doing anything."""


def against(ours: Comparison, other: Comparison) -> Estimate:
    """Change of throughput against another policy than stock, on the same seeds."""
    if ours.alike:
        return change([paired_ratios(ours.work.sum(axis=1), other.work.sum(axis=1))])
    return change([geometric_mean(paired_ratios(ours.work, other.work))])


def additive(whole: Comparison, halves: Sequence[Comparison]) -> Estimate:
    """What the whole gains over the product of what its parts gain."""
    return change([whole.ratios / np.prod([half.ratios for half in halves], axis=0)])


def total(rows: Sequence[Row], *columns: str) -> Array:
    """Sum of columns, per seed."""
    return np.array([sum(row[column] for column in columns) for row in rows], float)


def share(rows: Sequence[Row], above: str, *below: str) -> float | None:
    """A counter as percentage of others, over all seeds; None if there was nothing."""
    whole = total(rows, *below).sum()
    return float(100 * total(rows, above).sum() / whole) if whole else None


def rate(rows: Sequence[Row], column: str) -> float:
    """A counter per simulated second, mean over seeds."""
    return float(1e9 * total(rows, column).sum() / total(rows, "time_ns").sum())


def per_unit(c: Comparison, *columns: str) -> Estimate | None:
    """Change of counters per unit of work against stock; None where stock counts nothing."""
    return _quotient(c, lambda rows: total(rows, *columns), lambda rows: total(rows, "units_per_s"))


def each(c: Comparison, above: str, below: str) -> Estimate | None:
    """Change of the mean of something (the sum `above` over the number `below`) against stock."""
    return _quotient(c, lambda rows: total(rows, above), lambda rows: total(rows, below))


def _quotient(
    c: Comparison, above: Callable[[Sequence[Row]], Array], below: Callable[[Sequence[Row]], Array]
) -> Estimate | None:
    parts = above(c.cells), below(c.cells), above(c.stock), below(c.stock)
    if not all(part.sum() > 0 for part in parts[1:]) or not parts[3].all() or not parts[1].all():
        return None

    def difference(a: Array, b: Array, x: Array, y: Array) -> Array:
        before = x.sum(axis=1) / y.sum(axis=1)
        ratio = np.full(before.shape, np.nan)
        np.divide(a.sum(axis=1) / b.sum(axis=1), before, out=ratio, where=before > 0)
        return ratio - 1.0

    found = estimate(difference, *parts)
    return None if np.isnan([found.low, found.high]).any() else found


def vm_share(c: Comparison, vm: int) -> Estimate:
    """Change of one VM's share of all CPU time that guests got."""
    return change([paired_ratios(_shares(c.cells)[:, vm], _shares(c.stock)[:, vm])])


def mean_share(rows: Sequence[Row], vm: int) -> float:
    """One VM's share (%) of all CPU time that guests got, mean over seeds."""
    return float(100 * _shares(rows)[:, vm].mean())


def _shares(rows: Sequence[Row]) -> Array:
    times = np.array([row["vm_run_ns"] for row in rows], float)
    return np.asarray(times / times.sum(axis=1, keepdims=True))


def equal_cells(ours: Sequence[Row], others: Sequence[Row]) -> int:
    """How many cells have the same value in every counter of what happened as those of another policy."""

    def counted(row: Row) -> dict[str, Any]:
        return {name: value for name, value in row.items() if name not in NOT_COMPARED}

    return sum(counted(mine) == counted(other) for mine, other in zip(ours, others, strict=True))
