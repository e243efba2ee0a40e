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
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from typer.exceptions import TyperException

from baselines.cells import MACHINE, Cell, CellError, Row, load_object, source_id
from baselines.executor import available_cores, map_unordered
from baselines.published import PUBLISHED
from baselines.report_terminal import print_report, report_console
from baselines.store import Store, StoreError, run_and_store
from baselines.summary import STOCK, compare, scores
from vcpu_env import __version__
from vcpu_env.scenario import Scenario, ScenarioError, apply_overrides, load_scenario
from vcpu_env.scenario.errors import nearest
from vcpu_env.warm import ensure_compiled

POLICIES = "vcpu_env.policy.named:POLICIES"
"""Import path of the named policies, a dict from name to policy."""

DEFAULT_POLICIES = (STOCK, "debooster", "ipi", "series-v2")
SEEDS, QUICK_SEEDS = 8, 2
QUICK = ("run.warmup_ns=20_000_000", "run.duration_ns=60_000_000")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class UsageError(Exception):
    """Something asked for on the command line that cannot be."""


def evaluate(
    scenarios: Sequence[Scenario],
    policies: Sequence[str],
    seeds: int,
    store: Store,
    workers: int,
    machine: str = MACHINE,
) -> tuple[list[Row], list[Row]]:
    """Run the cells that `store` does not hold yet, then write its tables.

    Args:
        policies: names; must hold stock.
        machine: import path of the machine.

    Returns:
        Summary, a row for every scenario and policy; and scores, a row for every layout and policy.
    """
    cells = plan(scenarios, policies, seeds)
    manifest = _manifest(scenarios, policies, seeds)
    store.write_manifest(manifest | {"status": "partial"})
    missing = [(cell, store.path(cell)) for cell in cells if store.load(cell) is None]
    if missing and machine == MACHINE:
        ensure_compiled()
    done = map_unordered(functools.partial(run_and_store, machine=machine), missing, workers)
    columns = TextColumn("cells"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("cells", total=len(cells), completed=len(cells) - len(missing))
        for _ in done:
            progress.advance(bar)
    rows = [row for cell in cells if (row := store.load(cell)) is not None]
    comparisons = compare(scenarios, policies, rows)
    summary, score = [comparison.row() for comparison in comparisons], scores(comparisons)
    store.write_tables(rows, summary, score)
    store.write_manifest(manifest | {"status": "complete"})
    return summary, score


def plan(scenarios: Sequence[Scenario], policies: Sequence[str], seeds: int) -> list[Cell]:
    """The cells of an evaluation."""
    return [Cell(s, policy, seed) for s in scenarios for policy in policies for seed in range(seeds)]


def choose_scenarios(names: Sequence[str], overrides: Sequence[str]) -> list[Scenario]:
    """Load scenarios, or the published ones if none is named, and change them."""
    scenarios = [apply_overrides(load_scenario(name), overrides) for name in names or PUBLISHED]
    for i, scenario in enumerate(scenarios):
        if scenario.name in [other.name for other in scenarios[:i]]:
            raise UsageError(f"scenario: '{scenario.name}' given twice (allowed: names that differ)")
    return scenarios


def choose_policies(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Check policies' names; stock comes first, also if it is not named, since all else is compared with it."""
    for name in names:
        if name not in known:
            raise UsageError(f"policy: value '{name}' ({nearest(name, known)})")
    return list(dict.fromkeys([STOCK, *(names or DEFAULT_POLICIES)]))


def default_directory(scenarios: Sequence[Scenario], policies: Sequence[str], seeds: int) -> Path:
    """``results/evaluate-<hash>``: the same for the same question to the same simulator, so that it can be resumed."""
    content = json.dumps(_manifest(scenarios, policies, seeds), sort_keys=True)
    return Path("results") / f"evaluate-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def _manifest(scenarios: Sequence[Scenario], policies: Sequence[str], seeds: int) -> dict[str, Any]:
    return {
        "version": __version__,
        "source": source_id(),
        "policies": list(policies),
        "seeds": seeds,
        "scenarios": [scenario.model_dump(mode="json") for scenario in scenarios],
    }


@app.command()
def command(
    scenario: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|FILE", help="Shipped scenario or TOML file.  [default: 9 published]"),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=f"Policy; stock is added.  [default: {', '.join(DEFAULT_POLICIES)}]"),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change all scenarios, as vms.*.lock=fifo.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help=f"Seeds per scenario and policy.  [default: {SEEDS}]")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.  [default: all cores]")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Directory.  [default: results/evaluate-HASH]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on in a directory that holds results.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Short runs and 2 seeds: a look, not a result.")] = False,
) -> None:
    """Compare policies with the stock kernel: throughput, fairness, mechanism; tables and files."""
    known = list(load_object(POLICIES))
    scenarios = choose_scenarios(scenario or [], [*(QUICK if quick else ()), *(set_ or [])])
    policies = choose_policies(policy or [], known)
    seeds = seeds or (QUICK_SEEDS if quick else SEEDS)
    store = Store(out or default_directory(scenarios, policies, seeds), resume)
    cells = plan(scenarios, policies, seeds)
    try:
        summary, score = evaluate(scenarios, policies, seeds, store, workers or available_cores(), MACHINE)
    except (KeyboardInterrupt, BrokenProcessPool) as error:
        stored = sum(store.path(cell).exists() for cell in cells)
        what = "interrupted" if isinstance(error, KeyboardInterrupt) else "error: a worker died (out of memory?)"
        again = shlex.join(["python", "-m", "baselines.evaluate", *(a for a in sys.argv[1:] if a != "--resume")])
        _say(f"{what}: {stored} of {len(cells)} cells are stored; go on with: {again} --resume")
        raise typer.Exit(130 if isinstance(error, KeyboardInterrupt) else 1) from None
    print_report(report_console(), summary, score)
    _say(f"{len(cells)} cells in {store.directory}: cells.parquet, cells.csv, summary.csv, scores.csv")


def main() -> None:
    """Run the command; bad input ends with one line on stderr and exit code 2."""
    try:
        sys.exit(app(standalone_mode=False))
    except TyperException as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        _say(f"error: {message}")
    except (ScenarioError, StoreError, CellError, UsageError) as error:
        _say("error: " + "; ".join(str(error).splitlines()))
    sys.exit(2)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    main()
