"""The tables of the sensitivity study, and how far the simulator agrees with the rough study before it."""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy import stats

from baselines.summary import Comparison
from experiments.measures import DONE, SAME_RQ, share
from experiments.rows import Row, by_variant, changes, pairs
from experiments.study import Sweep
from experiments.tables import Table, holds_no_zero, write

POLICIES = ["debooster", "ipi", "series-v2", "plain", "unserved-credit", "oracle-transfer"]
SMALL = 0.03
"""A change below it counts as none: the rough study has no intervals."""

Rough = dict[tuple[str, str, str], float]


def read_rough(directory: Path) -> Rough:
    """The rough study: throughput relative to stock by variant, scenario and policy."""
    with (directory / "rough-study.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {(row["variant"], row["scenario"], row["policy"]): float(row["ratio"]) for row in rows}


def grid(sweep: Sweep, scenario: str) -> Table:
    """One scenario in every variant."""
    rows = changes(sweep, POLICIES, by_variant)
    return Table(scenario, [_without_scenario(row) for row in rows if row["scenario"] == scenario])


def _without_scenario(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "scenario"}


def same_rq(sweep: Sweep) -> Table:
    """How many of stock's yields stay on the run queue: where there are none, the debooster has nothing to do."""
    rows: dict[str, Row] = {}
    for c in sweep.of("stock"):
        rows.setdefault(c.case.variant, {"variant": c.case.variant})[c.scenario.name] = share(c.cells, SAME_RQ, DONE)
    return Table("same-rq", list(rows.values()))


def spread(sweep: Sweep) -> Table:
    """Over all variants: from the worst change to the best, and how many gain and lose as far as can be told."""
    rows: list[Row] = []
    for scenario in dict.fromkeys(c.scenario.name for c in sweep.comparisons):
        for policy in POLICIES:
            found = sweep.of(policy, scenario)
            worst, best = (pick(found, key=lambda c: c.change.value) for pick in (min, max))
            row: Row = {"scenario": scenario, "policy": policy, "worst": worst.change, "in": worst.case.variant}
            rows.append(
                row
                | {"best": best.change, "in ": best.case.variant}
                | {"gain": sum(c.change.low > 0 for c in found), "loss": sum(c.change.high < 0 for c in found)}
                | {"no difference told": sum(not holds_no_zero(c.change) for c in found)}
            )
    return Table("spread", rows)


def matched(sweep: Sweep, rough: Rough) -> list[tuple[Comparison, float]]:
    """Comparisons of which the rough study has one, with its ratio."""
    found = [c for policy in POLICIES for c in sweep.of(policy)]
    keys = [(c.case.variant, c.scenario.name, c.policy) for c in found]
    return [(c, rough[key]) for c, key in zip(found, keys, strict=True) if key in rough]


def beside(sweep: Sweep, rough: Rough) -> Table:
    """Simulated change beside the rough study's."""
    rows = [
        by_variant(c) | {"policy": c.policy, "simulated": c.change, "rough study": f"{100 * (ratio - 1):+.0f}"}
        for c, ratio in matched(sweep, rough)
    ]
    return Table("rough", rows)


def sign(change: float) -> int:
    """-1, 0 or 1: loss, none, gain."""
    return 0 if abs(change) < SMALL else int(np.sign(change))


def agreement(sweep: Sweep, rough: Rough) -> Table:
    """For every policy: equal and opposite signs, and whether both studies order the cases alike."""
    groups: dict[str, list[tuple[float, float]]] = {"all": []}
    for c, ratio in matched(sweep, rough):
        groups.setdefault(c.policy, []).append((c.change.value, ratio - 1.0))
        groups["all"].append((c.change.value, ratio - 1.0))
    return Table("agreement", [_agreement(policy, found) for policy, found in groups.items()])


def _agreement(policy: str, found: list[tuple[float, float]]) -> Row:
    signs = [(sign(ours), sign(theirs)) for ours, theirs in found]
    ours, theirs = np.array(found).T
    rank = float(stats.spearmanr(ours, theirs).statistic) if len(set(ours)) > 1 and len(set(theirs)) > 1 else None
    return {
        "policy": policy,
        "cases": len(found),
        "same sign": sum(a == b for a, b in signs),
        "opposite sign": sum(a * b < 0 for a, b in signs),
        "effect in one only": sum((a == 0) != (b == 0) for a, b in signs),
        "rank correlation": rank,
    }


def write_study(sweeps: Mapping[str, Sweep], directory: Path, out: Path) -> None:
    """Write all tables, and the README with its tables."""
    sweep, rough = sweeps["grid"], read_rough(directory)
    scenarios = dict.fromkeys(stock.scenario.name for stock, _ in pairs(sweep, POLICIES))
    tables = [grid(sweep, scenario) for scenario in scenarios]
    tables += [same_rq(sweep), spread(sweep), beside(sweep, rough), agreement(sweep, rough)]
    write(tables, {}, directory / "README.md", out)
