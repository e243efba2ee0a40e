"""A study: a directory of sweeps (experiments, `baselines.experiment`) whose cells lie in one store."""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baselines.cells import MACHINE, Cell, Row, load_object, run_cell, source_id
from baselines.command import say
from baselines.evaluate import POLICIES, QUICK, QUICK_SEEDS, prepare
from baselines.experiment import Plan, load_experiment, make_plan
from baselines.store import Store, StoreError
from baselines.summary import Comparison, compare
from vcpu_env.base.errors import InputError
from vcpu_env.executors.base import Executor

ROOT = Path(__file__).parent
PROGRESS = 100


class StudyError(InputError):
    """A study or sweep that does not exist, or that has not been run yet."""


@dataclass(frozen=True)
class Sweep:
    """The results of one sweep."""

    plan: Plan
    comparisons: Sequence[Comparison]

    @property
    def seeds(self) -> int:
        """Seeds of each case and policy."""
        return len(self.plan.seeds)

    @property
    def policies(self) -> list[str]:
        """Labels of the policies, stock first."""
        return [policy.label for policy in self.plan.policies]

    @property
    def variants(self) -> list[str]:
        """Names of the variants."""
        return list(dict.fromkeys(case.variant for case in self.plan.cases))

    def of(self, policy: str, scenario: str | None = None, variant: str | None = None) -> list[Comparison]:
        """A policy's comparisons: in all cases, or those of one scenario, one variant."""
        return [
            c
            for c in self.comparisons
            if c.policy == policy and scenario in (None, c.scenario.name) and variant in (None, c.case.variant)
        ]


def list_studies() -> list[str]:
    """Names of the studies."""
    return sorted(path.parent.name for path in ROOT.glob("*/README.md"))


def script_of(directory: Path) -> Path:
    """The script of a study, named as it: what is neither letter nor digit is an underscore."""
    return directory / f"{re.sub('[^a-z0-9]', '_', directory.name)}.py"


def load_plans(directory: Path, only: Sequence[str] = (), quick: bool = False) -> dict[str, Plan]:
    """The sweeps of a study, by name, or only some of them.

    Args:
        quick: short runs and few seeds, to see whether all works.

    Raises:
        StudyError: there is no such sweep.
    """
    paths = {path.stem: path for path in sorted(directory.glob("*.toml"))}
    for name in only:
        if name not in paths:
            raise StudyError(f"only: value '{name}' (allowed: {', '.join(paths)})")
    known = load_object(POLICIES)
    plans = {}
    for name in only or paths:
        experiment = load_experiment(str(paths[name]))
        if quick:
            experiment = experiment.model_copy(update={"seeds": QUICK_SEEDS})
        plans[name] = make_plan(experiment, known, QUICK if quick else ())
    return plans


def run_cells(plans: Mapping[str, Plan], store: Store, executor: Executor, machine: str = MACHINE) -> None:
    """Run those cells of the sweeps that the store does not hold. What several sweeps share is run once.

    Args:
        machine: import path of the machine.
    """
    store.write_manifest(_manifest(plans))
    cells = {cell.key: cell for plan in plans.values() for cell in plan.cells().values()}
    missing = [cell for cell in cells.values() if stored(store, cell) is None]
    if not missing:
        return
    if machine == MACHINE:
        prepare(executor)
    say(f"{len(missing)} of {len(cells)} cells to run")
    for done, (i, row) in enumerate(executor.map(functools.partial(run_cell, machine=machine), missing), 1):
        store.save(missing[i], row)
        if done % PROGRESS == 0 or done == len(missing):
            say(f"{done} of {len(missing)}")


def _manifest(plans: Mapping[str, Plan]) -> dict[str, Any]:
    """What a store of several sweeps holds; no report can be made of it as a whole."""
    sweeps = {name: plan.manifest() for name, plan in plans.items()}
    return {"status": "study", "source": source_id(), "policies": [], "seeds": [], "cases": [], "sweeps": sweeps}


def stored(store: Store, cell: Cell) -> Row | None:
    """The row of a finished cell; None if there is none, or a damaged one."""
    try:
        return store.load(cell)
    except StoreError:
        return None


def read_sweeps(plans: Mapping[str, Plan], store: Store) -> dict[str, Sweep]:
    """The results of sweeps that have been run.

    Raises:
        StudyError: cells are missing.
    """
    return {name: _read_sweep(plan, store) for name, plan in plans.items()}


def _read_sweep(plan: Plan, store: Store) -> Sweep:
    rows = []
    for (case, _, _), cell in plan.cells().items():
        row = stored(store, cell)
        if row is None:
            raise StudyError(f"{plan.name}: {cell} has not been run")
        rows.append({"variant": plan.cases[case].variant} | row)
    return Sweep(plan, compare(plan.cases, [policy.label for policy in plan.policies], rows))
