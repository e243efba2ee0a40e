"""``python -m baselines.score POLICY``: one number, what a policy gains over the stock kernel where nobody pays for it.

Stock's runs, and those of the policy, are kept under the address of their content (`baselines.store`), so that a second
policy on the same suite takes half the time, and the same score again none.
"""

import os
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from baselines.cells import MACHINE, CellError, load_object
from baselines.command import resumable, run_command, say
from baselines.evaluate import INPUT_ERRORS, POLICIES, run_cells
from baselines.experiment import ExperimentError, Plan
from baselines.hidden import open_suite
from baselines.kinds import kinds
from baselines.policies import choose_policies
from baselines.scoring import case_score, no_change
from baselines.store import Store
from baselines.submission import Effort, Submission, SubmissionError, as_json, submission, write_submission
from baselines.suite import ORDER, PROTOCOL, Suite, list_suites, load_suite
from baselines.summary import Comparison, compare
from vcpu_env.executors.base import Executor
from vcpu_env.executors.make import make_executor

STORE = Path("results/score")
HIDDEN = "hidden"
DEFAULT = "quick"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def score(name: str, suite: Suite, store: Store, executor: Executor, machine: str = MACHINE) -> Submission:
    """Run what is missing of a policy and of stock on a suite.

    Raises:
        CellError: in some case stock, or the policy, cannot be run or stock does nothing.
    """
    begin = time.monotonic(), cpu_seconds()
    sources = choose_policies([name], load_object(POLICIES))
    policy = sources[-1]
    possible = [case for case in suite.cases if case.scenario.host.kernel in policy.kernels]
    if len(possible) < len(suite.cases):
        lost = len(suite.cases) - len(possible)
        say(f"{policy.label}: has no meaning on the host's kernel in {lost} cases; there it is stock")
    plan = Plan(suite.name, suite.title, possible, sources, suite.seeds)
    cells = plan.cells()
    missing = sum(not store.path(cell).exists() for cell in cells.values())
    store.write_manifest(plan.manifest() | {"status": "partial"})
    found = run_cells(list(cells.values()), store, executor, machine)
    rows = [{"variant": plan.cases[i].variant} | found[cell.key] for (i, _, _), cell in cells.items()]
    compared = {str(comparison.case): comparison for comparison in compare(possible, [policy.label], rows)}
    for comparison in compared.values():
        check_work(comparison)
    scores = [
        case_score(compared[str(case)]) if str(case) in compared else no_change(case, len(suite.seeds))
        for case in suite.cases
    ]
    effort = Effort(time.monotonic() - begin[0], cpu_seconds() - begin[1], missing)
    return submission(suite, policy, scores, effort)


def cpu_seconds() -> float:
    """CPU time in user mode of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.children_user


def check_work(comparison: Comparison) -> None:
    """Refuse a case in which a VM does nothing under stock: no ratio can be made."""
    for row in comparison.stock:
        for vm, rate in zip(row["vm_name"], row["vm_units_per_s"], strict=True):
            if not rate > 0:
                raise CellError(
                    f"{comparison.case}: VM '{vm}' completes nothing under stock with seed {row['seed']}"
                    " (allowed: a longer run.duration_ns)"
                )


def chosen_suite(name: str, secret: Path | None, commitment: str | None) -> Suite:
    """The suite that the options mean."""
    if name != HIDDEN:
        if secret is not None or commitment is not None:
            raise ExperimentError(f"secret: given with suite '{name}' (allowed: with --suite {HIDDEN})")
        return load_suite(name)
    if secret is None:
        raise ExperimentError(f"suite: value '{HIDDEN}' (allowed: with --secret FILE)")
    return open_suite(secret, commitment)


def table_of(result: Submission) -> Table:
    """What a policy did in each case, and the sum."""
    table = Table("case", "scenario", "change %", "worst VM", "its change %", "harmed", box=None)
    for case in result.cases:
        harmed = ", ".join(case.harmed)
        change, worst = f"{case.change:+.1f}", f"{case.worst_vm_change:+.1f}"
        table.add_row(case.case, case.scenario, change, case.worst_vm, worst, harmed)
    return table


def table_of_suites() -> Table:
    """The suites that come with the package."""
    table = Table("suite", "cases", "seeds", "split", "digest", "", box=None)
    for name in ORDER:
        suite = load_suite(name)
        table.add_row(name, str(len(suite.cases)), str(len(suite.seeds)), suite.split, suite.digest, suite.title)
    return table


def table_of_suite(suite: Suite) -> Table:
    """The cases of a suite, and what kinds they are."""
    runs = f"{len(suite.cases)} cases, {len(suite.seeds)} seeds from {suite.seeds.start}"
    table = Table("case", "scenario", "kinds", title=f"{suite.name}: {suite.title} ({suite.split}; {runs})", box=None)
    for case in suite.cases:
        names = "; ".join(f"{axis} {', '.join(found)}" for axis, found in kinds(case.scenario).items())
        table.add_row(case.variant, case.scenario.name, names)
    return table


@app.command()
def command(
    policy: Annotated[
        str | None,
        typer.Argument(
            metavar="POLICY", help="A name, a rule (FILE.py[:NAME]), constants (FILE.toml) or a learned one (FILE.npz)."
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="quick, train, validation, full, hidden, or a TOML file.  [default: quick]"
        ),
    ] = None,
    secret: Annotated[Path | None, typer.Option(metavar="FILE", help="Of the hidden suite.")] = None,
    commitment: Annotated[str | None, typer.Option(metavar="SHA256", help="That was published for the secret.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print all of the results in place of the number.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Also write the results to a file.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show the suites, or the cases of --suite, and end.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.  [default: all cores]")] = None,
    store: Annotated[Path, typer.Option(metavar="DIR", help="Where finished runs are kept.")] = STORE,
) -> None:
    """Score a policy: one number, per cent over the stock kernel, less what harm costs."""
    if list_:
        asked = chosen_suite(suite, secret, commitment) if suite else None
        Console(width=250, soft_wrap=True).print(table_of_suite(asked) if asked else table_of_suites())
        return
    if policy is None:
        raise ExperimentError(
            f"POLICY: missing (allowed: a name or a file; suites: {', '.join(list_suites())}, hidden)"
        )
    asked = chosen_suite(suite or DEFAULT, secret, commitment)
    say(f"{PROTOCOL}, suite {asked.name} {asked.digest}" + f", commitment {asked.commitment}" * bool(asked.commitment))
    with resumable(lambda: "finished runs are kept; the same command goes on"):
        result = score(policy, asked, Store(store, resume=True), make_executor("process", workers), MACHINE)
    Console(stderr=True, width=120).print(table_of(result))
    if output is not None:
        write_submission(output, result)
    say(
        f"{result.policy.name}: {result.score:+.2f} % [{result.score_low:+.2f}, {result.score_high:+.2f}]: gain"
        f" {result.gain:+.2f}, harm in {len(result.harmed_cases)} cases costs {result.penalty:.2f}; worst VM"
        f" {result.worst_vm} {result.worst_vm_change:+.2f} %; {result.cells_run} runs in {result.seconds:.0f} s"
    )
    print(as_json(result) if json else f"{result.score:.2f}", end="" if json else "\n")


def main() -> None:
    """Run the command; bad input ends with one line on stderr and exit code 2."""
    run_command(app, (*INPUT_ERRORS, SubmissionError))


if __name__ == "__main__":
    main()
