"""``python -m baselines.evaluate``: how policies compare with the stock kernel, on common seeds.

Every (scenario, policy, seed) is a cell of its own; cells run in parallel, are stored as they finish and are never run
twice: ``--resume`` goes on where a run was stopped.
"""

import functools
import hashlib
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from baselines.cells import MACHINE, Cell, CellError, Row, compile_here, load_object, run_cell, source_id
from baselines.command import resumable, run_command, say
from baselines.experiment import (
    DEFAULT,
    Experiment,
    ExperimentError,
    Plan,
    checked_experiment,
    load_experiment,
    make_plan,
)
from baselines.policies import PolicyError
from baselines.report.columns import console
from baselines.report.terminal import print_report
from baselines.store import Store, StoreError
from baselines.summary import compare, scores
from vcpu_env.executors.base import Executor, ExecutorError
from vcpu_env.executors.make import make_executor
from vcpu_env.progress import Progress
from vcpu_env.scenario import ScenarioError

POLICIES = "vcpu_env.policy.named:POLICIES"
"""Import path of the named policies, a dict from name to policy."""

QUICK_SEEDS = 2
QUICK = ("run.warmup_ns=200_000_000", "run.duration_ns=60_000_000")

INPUT_ERRORS = (ScenarioError, ExperimentError, PolicyError, StoreError, CellError, ExecutorError)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def evaluate(
    plan: Plan, store: Store, executor: Executor, command: str = "", machine: str = MACHINE
) -> tuple[list[Row], list[Row]]:
    """Run the cells that `store` does not hold yet, then write its tables.

    Args:
        command: what was typed, for the record.
        machine: import path of the machine.

    Returns:
        Summary, a row for every case and policy; and scores, a row for every layout and policy.
    """
    cells = plan.cells()
    manifest = plan.manifest() | {"command": command}
    store.write_manifest(manifest | {"status": "partial"})
    found = run_cells(list(cells.values()), store, executor, machine)
    rows = [{"variant": plan.cases[i].variant} | found[cell.key] for (i, _, _), cell in cells.items()]
    comparisons = compare(plan.cases, [policy.label for policy in plan.policies], rows)
    oracles = {policy.label: policy.knobs for policy in plan.policies if policy.oracle}
    summary = [comparison.row() for comparison in comparisons]
    score = [score.row() for score in scores(comparisons, oracles)]
    store.write_tables(rows, summary, score)
    store.write_manifest(manifest | {"status": "complete"})
    return summary, score


def run_cells(cells: Sequence[Cell], store: Store, executor: Executor, machine: str = MACHINE) -> dict[str, Row]:
    """The row of every cell by its key: those that the store holds, and the others, run now and stored."""
    found = store.held(cells)
    missing = list({cell.key: cell for cell in cells if cell.key not in found}.values())
    if missing:
        if machine == MACHINE:
            prepare(executor)
        found |= _run(missing, store, executor, machine, len(cells))
    return found


def prepare(executor: Executor) -> None:
    """Compile the simulator on every machine, and refuse machines with another source than this one's."""
    for source in executor.everywhere(compile_here):
        if source != source_id():
            raise ExecutorError(f"address: a machine has source {source} (allowed: {source_id()}, as here)")


def _run(missing: Sequence[Cell], store: Store, executor: Executor, machine: str, total: int) -> dict[str, Row]:
    """Run cells and store each as it comes, and show how far they are."""
    found = {}
    before = total - len(missing)
    with Progress("evaluating", total, "cells", before) as progress:
        for i, row in executor.map(functools.partial(run_cell, machine=machine), missing):
            store.save(missing[i], row)
            found[missing[i].key] = row
            progress.show(before + len(found), str(missing[i]))
    return found


def default_directory(plan: Plan, name: str) -> Path:
    """``results/<name>-<hash>``: the same for the same question to the same simulator, so that it can be resumed."""
    content = json.dumps(plan.manifest(), sort_keys=True)
    return Path("results") / f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def _changed(experiment: Experiment, **options: Any) -> Experiment:
    """An experiment with those fields replaced that were given on the command line."""
    given = {name: value for name, value in options.items() if value}
    return checked_experiment(experiment.model_dump(exclude_unset=True) | given)


@app.command()
def command(
    scenario: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|FILE", help="Shipped scenario or TOML file.  [default: 9 published]"),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE.py[:NAME]|FILE.npz",
            help="Policy, your rule, or a learned one; stock is added.  [default: stock, debooster, ipi, series-v2]",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change all scenarios, as vms.*.lock=fifo.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds per scenario and policy.  [default: 8]")] = None,
    experiment: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="Experiment, shipped or TOML; options above replace its own."),
    ] = None,
    executor: Annotated[str, typer.Option(metavar="KIND", help="process, inline or ray.")] = "process",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.  [default: all cores]")] = None,
    address: Annotated[str | None, typer.Option(help="Of a running Ray cluster.  [default: start one here]")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Directory.  [default: results/evaluate-HASH]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on in a directory that holds results.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Short runs and 2 seeds: a look, not a result.")] = False,
) -> None:
    """Compare policies with the stock kernel: throughput, fairness, mechanism; tables and files."""
    asked = _changed(
        load_experiment(experiment or DEFAULT),
        scenarios=tuple(scenario or ()),
        policies=tuple(policy or ()),
        seeds=seeds or (QUICK_SEEDS if quick else None),
    )
    plan = make_plan(asked, load_object(POLICIES), [*(QUICK if quick else ()), *(set_ or [])])
    runs_on = make_executor(executor, workers, address)
    store = Store(out or default_directory(plan, asked.name if experiment else "evaluate"), resume)
    arguments = [argument for argument in sys.argv[1:] if argument != "--resume"]
    again = shlex.join(["python", "-m", "baselines.evaluate", *arguments])

    def how() -> str:
        cells = plan.cells().values()
        stored = sum(store.path(cell).exists() for cell in cells)
        return f"{stored} of {len(cells)} cells are stored; go on with: {again} --resume"

    with resumable(how):
        summary, score = evaluate(plan, store, runs_on, again, MACHINE)
    print_report(console(), summary, score)
    say(f"{len(plan.cells())} cells in {store.directory}: cells.parquet, cells.csv, summary.csv, scores.csv")
    say(f"report: python -m baselines.report {store.directory}")


def main() -> None:
    """Run the command; bad input ends with one line on stderr and exit code 2."""
    run_command(app, INPUT_ERRORS)


if __name__ == "__main__":
    main()
