"""What a report is about: a finished experiment, read back from its directory."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from baselines.experiment import Case
from baselines.policies import STOCK
from baselines.statistics import Estimate
from baselines.store import StoreError, read_manifest, read_rows
from baselines.summary import Comparison, Score, against, compare, scores
from vcpu_env.scenario import Scenario


@dataclass(frozen=True)
class Results:
    """A finished experiment.

    Attributes:
        directory: where it lies.
        manifest: what was asked for.
        cases: scenarios in their variants.
        policies: names, stock first.
        comparisons: of every case and policy.
        scores: of every layout and policy.
    """

    directory: Path
    manifest: dict[str, Any]
    cases: list[Case]
    policies: list[str]
    comparisons: list[Comparison]
    scores: list[Score]

    @property
    def oracles(self) -> set[str]:
        """Policies that see what no host can see."""
        return {policy["label"] for policy in self.manifest["policies"] if policy["oracle"]}

    def best_rule(self, layout: str) -> str | None:
        """The policy with the best score in a layout among those that a host could run; None if there is just stock."""
        fixed = [s for s in self.scores_of(layout) if s.policy != STOCK and s.policy not in self.oracles]
        return max(fixed, key=lambda score: score.change.value).policy if fixed else None

    @property
    def rivals(self) -> list[str]:
        """All policies but stock."""
        return [policy for policy in self.policies if policy != STOCK]

    @property
    def ranked(self) -> list[str]:
        """All policies but stock, the best score on the first layout first: the order of all tables and figures."""
        scored = {score.policy: score.change.value for score in self.scores_of(self.layouts[0])}
        return sorted(self.rivals, key=lambda policy: (math.isnan(scored[policy]), -scored[policy]))

    @property
    def seeds(self) -> int:
        """Seeds per case and policy."""
        return int(self.manifest["seeds"][1])

    @property
    def layouts(self) -> list[str]:
        """What is scored apart."""
        return list(dict.fromkeys(case.layout for case in self.cases))

    @property
    def plain(self) -> str:
        """The variant that all are compared with; empty where there is one only."""
        variants = list(dict.fromkeys(case.variant for case in self.cases))
        return variants[0] if len(variants) > 1 else ""

    def label(self, layout: str) -> str:
        """What a layout is called: its variant, where that is enough."""
        variants = {case.layout: case.variant for case in self.cases}
        alone = list(variants.values()).count(variants[layout]) == 1
        return variants[layout] if variants[layout] and alone else layout

    @property
    def compared(self) -> list[str]:
        """Layouts in which there is a policy beside stock, and stock got work done in every case."""
        scored = [score for score in self.scores if score.policy != STOCK]
        return [
            layout
            for layout in self.layouts
            if any(score.layout == layout and not math.isnan(score.change.value) for score in scored)
        ]

    def comparisons_of(self, policy: str, layout: str | None = None) -> list[Comparison]:
        """A policy's comparisons, in all layouts or one."""
        return [c for c in self.comparisons if c.policy == policy and layout in (None, c.case.layout)]

    def groups(self) -> list[tuple[str, list[Comparison]]]:
        """All comparisons case by case, stock first, then as `ranked`."""
        order = [STOCK, *self.ranked]
        cases = dict.fromkeys(str(c.case) for c in self.comparisons)
        found = {(str(c.case), c.policy): c for c in self.comparisons}
        return [(case, [found[case, policy] for policy in order]) for case in cases]

    def stock_against(self, layout: str, other: str) -> Estimate | None:
        """A layout against another, both under stock; None where it has other scenarios."""
        if layout == other:
            return None
        return against(self.comparisons_of(STOCK, layout), self.comparisons_of(STOCK, other))

    def scores_of(self, layout: str) -> list[Score]:
        """The scores in a layout, stock's among them."""
        return [score for score in self.scores if score.layout == layout]


def read_results(directory: Path) -> Results:
    """Read a finished experiment.

    Raises:
        StoreError: there is none in the directory, it is not finished, or its files do not fit together.
    """
    manifest = read_manifest(directory)
    if manifest["status"] != "complete":
        again = manifest.get("command") or "baselines.evaluate"
        raise StoreError(f"results: value '{directory}' holds results that are partial (go on with: {again} --resume)")
    rows = read_rows(directory)
    check_cells(directory, len(rows))
    try:
        cases = [Case(Scenario(**entry["scenario"]), entry["variant"]) for entry in manifest["cases"]]
        policies = [policy["label"] for policy in manifest["policies"]]
        oracles = {policy["label"]: policy["knobs"] for policy in manifest["policies"] if policy["oracle"]}
        comparisons = compare(cases, policies, rows)
        return Results(directory, manifest, cases, policies, comparisons, scores(comparisons, oracles))
    except (KeyError, TypeError, IndexError, ValueError):
        raise StoreError(f"{directory}: manifest.json and cells.parquet do not fit (--resume writes both)") from None


def check_cells(directory: Path, expected: int) -> None:
    """Refuse results whose cells are no longer there, or cannot be read.

    Raises:
        StoreError: with how many are missing, or the damaged file.
    """
    paths = sorted((directory / "cells").glob("*.parquet"))
    if len(paths) < expected:
        raise StoreError(f"{directory / 'cells'}: {len(paths)} of {expected} cells (--resume makes the others again)")
    for path in paths:
        try:
            pq.read_table(path, page_checksum_verification=True)
        except (OSError, ValueError, pa.ArrowException):
            raise StoreError(
                f"{path}: damaged (allowed: the result of a cell; without it --resume makes it again)"
            ) from None
