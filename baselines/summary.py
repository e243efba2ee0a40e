"""From rows of cells to what is claimed: change against stock per scenario, and scores per layout.

A cell's ratio to the stock cell of the same seed is that of total work if all its VMs are alike, else the geometric
mean of the VMs' own ratios, since units of different workloads do not add up. Min/max and Jain's index compare VMs by
work if they are alike, else by work relative to stock.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from baselines.cells import Row
from baselines.published import PUBLISHED
from baselines.statistics import (
    Array,
    change,
    geometric_mean,
    iqm,
    jain,
    paired_ratios,
    probability_of_improvement,
)
from vcpu_env.scenario import Scenario

STOCK = "stock"
"""Name of the baseline: the unchanged kernel."""


class Comparison:
    """The cells of one scenario under one policy, beside stock's on the same seeds.

    Attributes:
        ratios: throughput relative to stock, per seed.
        vm_ratios: the same for every VM, shape (seeds, VMs).
    """

    def __init__(self, scenario: Scenario, policy: str, cells: Sequence[Row], stock: Sequence[Row]):
        self.scenario, self.policy, self.cells = scenario, policy, cells
        self.work = np.array([row["vm_units_per_s"] for row in cells])
        stock_work = np.array([row["vm_units_per_s"] for row in stock])
        self.alike = len({vm.model_copy(update={"name": "", "count": 1}).model_dump_json() for vm in scenario.vms}) == 1
        self.vm_ratios: Array = paired_ratios(self.work, stock_work)
        if self.alike:
            self.ratios: Array = paired_ratios(self.work.sum(axis=1), stock_work.sum(axis=1))
        else:
            self.ratios = geometric_mean(self.vm_ratios)

    @property
    def worst_vm(self) -> tuple[float, str]:
        """Change of the VM that does worst, and its name."""
        changes = geometric_mean(self.vm_ratios, axis=0) - 1.0
        worst = int(np.argmin(changes))
        return float(changes[worst]), str(self.cells[0]["vm_name"][worst])

    def rate(self, column: str) -> float:
        """A counter per simulated second, over all seeds; NaN if the machine does not count it."""
        return float(self._total(column) / (self._total("time_ns") / 1e9))

    def share(self, column: str, of: str) -> float:
        """A counter as a share of another, over all seeds; NaN if the other is 0 or one is not counted."""
        whole = self._total(of)
        return float(self._total(column) / whole) if whole else float("nan")

    def _total(self, column: str) -> float:
        return float(sum(row.get(column, float("nan")) for row in self.cells))

    def row(self) -> Row:
        """The summary of this comparison."""
        estimate = change([self.ratios])
        between = self.work if self.alike else self.vm_ratios
        worst, worst_name = self.worst_vm
        published = PUBLISHED.get(self.scenario.name)
        shown = published is not None and published.policy == self.policy
        return {
            "scenario": self.scenario.name,
            "layout": self.scenario.layout,
            "policy": self.policy,
            "seeds": len(self.cells),
            "units_per_s": self.rate_of_work(),
            "change": estimate.value,
            "change_low": estimate.low,
            "change_high": estimate.high,
            "published_v2": published.v2 if shown and published else float("nan"),
            "published_v3": published.v3 if shown and published else float("nan"),
            "published_v3_from_latency": bool(shown and published and published.v3_from_latency),
            "min_max_vm": float(np.mean([_min_max(values) for values in between])),
            "jain": float(np.mean([jain(values) for values in between])),
            "worst_vm_change": worst,
            "worst_vm": worst_name,
            "ple_exits_per_s": self.rate("kvm_pause_exits"),
            "yields_tried_per_s": self.rate("kvm_ple_yield_attempt"),
            "yields_ok_per_s": self.rate("kvm_ple_yield_ok"),
            "yields_useful_per_s": self.rate("kvm_ple_yield_useful"),
            "yields_same_rq_per_s": self.rate("kvm_ple_yield_same_rq"),
            "yields_ok_share": self.share("kvm_ple_yield_ok", "kvm_ple_yield_attempt"),
            "yields_useful_share": self.share("kvm_ple_yield_useful", "kvm_ple_yield_attempt"),
            "spin_share": self.share("spin_ns", "run_ns"),
            "penalties_per_s": self.rate("deboost_applied"),
            "events_per_s": self.rate("events"),
        }

    def rate_of_work(self) -> float:
        """Work units per second of all VMs, mean over seeds; NaN if their workloads differ."""
        same_unit = len({vm.workload for vm in self.scenario.vms}) == 1
        return float(self.work.sum(axis=1).mean()) if same_unit else float("nan")


def compare(scenarios: Sequence[Scenario], policies: Sequence[str], rows: Sequence[Row]) -> list[Comparison]:
    """Every scenario under every policy, in this order. `policies` must hold stock."""
    cells: dict[Any, list[Row]] = {}
    for row in sorted(rows, key=lambda row: int(row["seed"])):
        cells.setdefault((row["scenario"], row["policy"]), []).append(row)
    return [
        Comparison(scenario, policy, cells[scenario.name, policy], cells[scenario.name, STOCK])
        for scenario in scenarios
        for policy in policies
    ]


def scores(comparisons: Sequence[Comparison]) -> list[Row]:
    """One row for every layout and policy: the geometric mean over scenarios and seeds, and what it hides."""
    groups: dict[tuple[str, str], list[Comparison]] = {}
    for comparison in comparisons:
        groups.setdefault((comparison.scenario.layout, comparison.policy), []).append(comparison)
    return [_score(layout, policy, group) for (layout, policy), group in groups.items()]


def _score(layout: str, policy: str, group: Sequence[Comparison]) -> Row:
    strata = [comparison.ratios for comparison in group]
    estimate = change(strata)
    worst = min(group, key=lambda comparison: comparison.worst_vm[0])
    return {
        "layout": layout,
        "policy": policy,
        "scenarios": len(group),
        "seeds": len(strata[0]),
        "change": estimate.value,
        "change_low": estimate.low,
        "change_high": estimate.high,
        "iqm_change": float(iqm(np.concatenate(strata))) - 1.0,
        "probability_of_improvement": probability_of_improvement(strata, [np.ones_like(s) for s in strata]),
        "worst_vm_change": worst.worst_vm[0],
        "worst_vm": f"{worst.scenario.name}:{worst.worst_vm[1]}",
    }


def _min_max(values: Array) -> float:
    return float(values.min() / values.max()) if values.max() > 0 else 1.0
