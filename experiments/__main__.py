"""``python -m experiments STUDY``: run a study's sweeps; write its tables, its drawings, and those in its README."""

import runpy
from pathlib import Path
from typing import Annotated

import typer

from baselines.command import run_command
from baselines.evaluate import INPUT_ERRORS
from baselines.store import Store
from experiments.study import ROOT, StudyError, list_studies, load_plans, read_sweeps, run_cells, script_of
from vcpu_env.executors.base import WorkerDiedError
from vcpu_env.executors.make import make_executor

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def command(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="kernel-7.3, series-review or sensitivity.")],
    only: Annotated[list[str] | None, typer.Option(metavar="SWEEP", help="Run this sweep, and write nothing.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.  [default: all cores]")] = None,
    results: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Finished cells.  [default: results/STUDY]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Tables and drawings.  [default: experiments/STUDY]")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Short runs and 2 seeds: no result; needs --out.")] = False,
) -> None:
    """Run the cells that are not finished yet, then write the study's tables, drawings and README.

    Ctrl-C loses the cells in flight and nothing else.
    """
    if study not in list_studies():
        raise StudyError(f"study: value '{study}' (allowed: {', '.join(list_studies())})")
    if quick and out is None:
        raise StudyError("out: missing (needed with --quick, whose tables must not replace the study's)")
    directory = ROOT / study
    plans = load_plans(directory, only or (), quick)
    store = Store(results or Path("results") / (f"{study}-quick" if quick else study), resume=True)
    run_cells(plans, store, make_executor("process", workers))
    if not only:
        write_study = runpy.run_path(str(script_of(directory)))["write_study"]
        write_study(read_sweeps(plans, store), directory, out or directory)


def main() -> None:
    """Run the command; bad input ends with one line on stderr and exit code 2."""
    run_command(app, (*INPUT_ERRORS, StudyError, WorkerDiedError))


if __name__ == "__main__":
    main()
