"""From rows of cells to what is claimed: change against stock per scenario, and scores per layout.

Where an experiment has variants, the first one is the plain host: what it does under stock is what all variants are
compared with as well, so that a change of the host can be held against a change of policy.

A cell's ratio to the stock cell of the same seed is that of total work if all its VMs are alike, else the geometric
mean of the VMs' own ratios, since units of different workloads do not add up. Min/max and Jain's index compare VMs by
work if they are alike, else by work relative to stock.
"""

import functools
from collections.abc import Mapping, Sequence, Set
from types import MappingProxyType
from typing import Any

import numpy as np

from baselines.attribution import QUANTITIES
from baselines.cells import Row
from baselines.experiment import Case
from baselines.policies import STOCK
from baselines.published import PUBLISHED, Published
from baselines.statistics import (
    Array,
    Estimate,
    bootstrap_interval,
    change,
    estimate,
    gap_closed,
    geometric_mean,
    improvements,
    iqm,
    jain,
    log2_percentile,
    paired_ratios,
)

NAN = float("nan")
NONE: Mapping[str, bool] = MappingProxyType({})

HISTOGRAMS = {"ipi": "ipi_latency_log2", "lock": "lock_wait_log2"}
"""Log2 histograms of latencies that a machine may count: what of, and the column."""

PERCENTILES = {"p50": 0.50, "p99": 0.99}


class Comparison:
    """The cells of one case under one policy, beside stock's on the same seeds.

    Attributes:
        ratios: throughput relative to stock, per seed.
        vm_ratios: the same for every VM, shape (seeds, VMs).
    """

    def __init__(self, case: Case, policy: str, cells: Sequence[Row], stock: Sequence[Row]):
        self.case, self.policy, self.cells, self.stock = case, policy, cells, stock
        self.scenario = case.scenario
        self.work = np.array([row["vm_units_per_s"] for row in cells])
        stock_work = np.array([row["vm_units_per_s"] for row in stock])
        vms = self.scenario.vms
        self.alike = len({vm.model_copy(update={"name": "", "count": 1}).model_dump_json() for vm in vms}) == 1
        self.vm_ratios: Array = paired_ratios(self.work, stock_work)
        if self.alike:
            self.ratios: Array = paired_ratios(self.work.sum(axis=1), stock_work.sum(axis=1))
        else:
            self.ratios = geometric_mean(self.vm_ratios)
        self.change = change([self.ratios])

    @property
    def worst_vm(self) -> str:
        """The VM that does worst."""
        return str(self.cells[0]["vm_name"][int(np.argmin(geometric_mean(self.vm_ratios, axis=0)))])

    @functools.cached_property
    def worst_vm_change(self) -> Estimate:
        """Change of the throughput of the VM that does worst (in every resample, whichever that is)."""
        return estimate(lambda ratios: geometric_mean(ratios, axis=1).min(axis=-1) - 1.0, self.vm_ratios)

    @functools.cached_property
    def jain(self) -> Estimate:
        """Jain's index between VMs, mean over seeds."""
        return estimate(lambda index: index.mean(axis=1), jain(self._between))

    @property
    def min_max_vm(self) -> float:
        """Throughput of the slowest VM over that of the fastest, mean over seeds."""
        ends = [(values.min(), values.max()) for values in self._between]
        return float(np.mean([low / high if high > 0 else 1.0 for low, high in ends]))

    @property
    def _between(self) -> Array:
        return self.work if self.alike else self.vm_ratios

    @property
    def published(self) -> Published | None:
        """What the authors of the series published for this scenario and policy. They did not name the layout."""
        published = PUBLISHED.get(self.scenario.name)
        return published if published is not None and published.policy == self.policy else None

    def latency(self, what: str, share: float) -> Estimate | None:
        """Percentile (ns) of a latency over all seeds; None if the machine has no histogram of it."""
        column = HISTOGRAMS[what]
        if not all(row.get(column) for row in self.cells):
            return None
        counts = np.array([row[column] for row in self.cells])
        if not counts.sum(axis=1).all():
            return None
        return estimate(lambda drawn: log2_percentile(drawn.sum(axis=1), share), counts)

    @functools.cached_property
    def rate_of_work(self) -> Estimate:
        """Work units per second of all VMs, mean over seeds; NaN if their workloads differ."""
        if len({vm.workload for vm in self.scenario.vms}) > 1:
            return Estimate(NAN, NAN, NAN)
        return estimate(lambda rates: rates.mean(axis=1), self.work.sum(axis=1))

    def row(self) -> Row:
        """The summary of this comparison."""
        published = self.published
        return {
            "scenario": self.scenario.name,
            "variant": self.case.variant,
            "layout": self.case.layout,
            "policy": self.policy,
            "seeds": len(self.cells),
            "units_per_s": self.rate_of_work.value,
            **_columns("change", self.change),
            "published_v2": published.v2 if published else NAN,
            "published_v3": published.v3 if published else NAN,
            "published_v3_from_latency": bool(published and published.v3_from_latency),
            "min_max_vm": self.min_max_vm,
            **_columns("jain", self.jain),
            **_columns("worst_vm_change", self.worst_vm_change),
            "worst_vm": self.worst_vm,
            **{quantity.name: quantity.value(self.cells) for quantity in QUANTITIES},
            **{
                f"{what}_{name}_ns": latency.value if (latency := self.latency(what, share)) else NAN
                for what in HISTOGRAMS
                for name, share in PERCENTILES.items()
            },
        }


def between(ours: Comparison, theirs: Comparison) -> Array | None:
    """Throughput of one case relative to another, a number a seed; None if their VMs cannot be compared."""
    work = [vm.workload for vm in ours.scenario.expanded_vms], [vm.workload for vm in theirs.scenario.expanded_vms]
    if ours.alike and theirs.alike and work[0][0] == work[1][0]:
        return paired_ratios(ours.work.sum(axis=1), theirs.work.sum(axis=1))
    return geometric_mean(paired_ratios(ours.work, theirs.work)) if work[0] == work[1] else None


def against(group: Sequence[Comparison], others: Sequence[Comparison]) -> Estimate | None:
    """Change of throughput of some comparisons against others of the same scenarios, over all of these.

    Returns:
        None where a scenario has no other, or cannot be compared with it.
    """
    by_scenario = {other.scenario.name: other for other in others}
    strata = []
    for ours in group:
        theirs = by_scenario.get(ours.scenario.name)
        ratios = between(ours, theirs) if theirs else None
        if ratios is None:
            return None
        strata.append(ratios)
    return change(strata)


def plain_host(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """What the first variant does under stock; nothing where there is one variant only."""
    variants = list(dict.fromkeys(c.case.variant for c in comparisons))
    first = [c for c in comparisons if c.case.variant == variants[0] and c.policy == STOCK]
    return first if len(variants) > 1 else []


def compare(cases: Sequence[Case], policies: Sequence[str], rows: Sequence[Row]) -> list[Comparison]:
    """Every case under every policy, in this order. `policies` must hold stock."""
    cells: dict[Any, list[Row]] = {}
    for row in sorted(rows, key=lambda row: int(row["seed"])):
        cells.setdefault((row["variant"], row["scenario"], row["policy"]), []).append(row)

    def of(case: Case, policy: str) -> list[Row]:
        return cells[case.variant, case.scenario.name, policy]

    return [Comparison(case, policy, of(case, policy), of(case, STOCK)) for case in cases for policy in policies]


class Score:
    """All comparisons of one policy in one layout: the geometric mean over scenarios and seeds, and what it hides.

    Args:
        group: a policy's comparisons.
        oracles: those of the oracles of each case, some of which turn `knobs` only.
        plain: those of stock on the plain host.
    """

    def __init__(
        self,
        group: Sequence[Comparison],
        oracles: Mapping[str, Sequence[Comparison]],
        knobs: Set[str],
        plain: Sequence[Comparison] = (),
    ):
        self.group = group
        self.layout, self.policy = group[0].case.layout, group[0].policy
        self.strata = [comparison.ratios for comparison in group]
        self.change = change(self.strata)
        self.plain_change = against(group, plain) if plain else None
        self.gap_closed = self._gap_closed(oracles)
        within = {case: [o for o in all_of_them if o.policy in knobs] for case, all_of_them in oracles.items()}
        self.knob_gap_closed = self._gap_closed(within)
        self.worst = min(group, key=lambda comparison: comparison.worst_vm_change.value)

    def _gap_closed(self, oracles: Mapping[str, Sequence[Comparison]]) -> Estimate | None:
        ceilings = [(c, oracles.get(str(c.case), ())) for c in self.group]
        return gap_closed([(c.ratios, np.array([o.ratios for o in best])) for c, best in ceilings if best])

    @functools.cached_property
    def iqm_change(self) -> Estimate:
        """Interquartile mean of all ratios, less one."""
        low, high = bootstrap_interval(self.strata, iqm)
        return Estimate(float(iqm(np.concatenate(self.strata))) - 1.0, low - 1.0, high - 1.0)

    @functools.cached_property
    def probability_of_improvement(self) -> Estimate:
        """Share of paired runs that beat stock's, mean over scenarios."""
        strata = [improvements(ratios) for ratios in self.strata]
        interval = bootstrap_interval(strata, lambda drawn: drawn.mean(axis=-1))
        return Estimate(float(np.mean([stratum.mean() for stratum in strata])), *interval)

    def row(self) -> Row:
        """The score as a row."""
        nothing = Estimate(NAN, NAN, NAN)
        return {
            "layout": self.layout,
            "policy": self.policy,
            "scenarios": len(self.group),
            "seeds": len(self.strata[0]),
            **_columns("change", self.change),
            **_columns("plain_change", self.plain_change or nothing),
            **_columns("iqm_change", self.iqm_change),
            **_columns("probability_of_improvement", self.probability_of_improvement),
            **_columns("gap_closed", self.gap_closed or nothing),
            **_columns("knob_gap_closed", self.knob_gap_closed or nothing),
            **_columns("worst_vm_change", self.worst.worst_vm_change),
            "worst_vm": f"{self.worst.scenario.name}:{self.worst.worst_vm}",
        }


def scores(comparisons: Sequence[Comparison], oracles: Mapping[str, bool] = NONE) -> list[Score]:
    """One score for every layout and policy.

    Args:
        oracles: names of the policies that make the ceiling; true for those that turn the series' own knobs only.
    """
    knobs = {name for name, turns_knobs_only in oracles.items() if turns_knobs_only}
    groups: dict[tuple[str, str], list[Comparison]] = {}
    best: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        groups.setdefault((comparison.case.layout, comparison.policy), []).append(comparison)
        if comparison.policy in oracles:
            best.setdefault(str(comparison.case), []).append(comparison)
    plain = plain_host(comparisons)
    return [Score(group, best, knobs, plain) for group in groups.values()]


def _columns(name: str, value: Estimate) -> Row:
    return {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
