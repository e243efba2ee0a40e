"""``python -m experiments.calibration``: run the points that are not finished yet, then write docs/calibration.md."""

from pathlib import Path
from typing import Annotated

import typer

from baselines.cells import MACHINE, load_object
from baselines.command import run_command
from baselines.evaluate import INPUT_ERRORS, POLICIES, QUICK
from baselines.experiment import Experiment, Plan, make_plan
from baselines.store import Store
from experiments.calibration.design import Design, Ranges, load_ranges, make_design, make_plans
from experiments.calibration.page import RATES, write_page
from experiments.study import ROOT, StudyError, read_sweeps, run_cells
from vcpu_env.executors.base import Executor, WorkerDiedError
from vcpu_env.executors.make import make_executor
from vcpu_env.guest.workloads import APPLICATIONS

METHODS = ("morris", "sobol")
SOBOL_SAMPLES = 32
QUICK_SAMPLES = 2
DIRECTORY = ROOT / "calibration"
PAGE = ROOT.parent / "docs" / "calibration.md"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def rates_plan(ranges: Ranges, short: tuple[str, ...]) -> Plan:
    """Every program without overcommit under the stock kernel."""
    scenarios = tuple(f"{name}-1vm-2vcpu" for name in APPLICATIONS)
    experiment = Experiment(name=RATES, scenarios=scenarios, policies=("stock",), seeds=ranges.seeds)
    return make_plan(experiment, load_object(POLICIES), short)


def analyse(
    ranges: Ranges,
    designs: list[Design],
    store: Store,
    executor: Executor,
    short: tuple[str, ...],
    machine: str = MACHINE,
) -> dict[str, Plan]:
    """Run all cells that the store does not hold; returns the plans they belong to."""
    plans = {RATES: rates_plan(ranges, short)}
    for design in designs:
        plans |= make_plans(ranges, design)
    run_cells(plans, store, executor, machine)
    return plans


def told(method: str, samples: int | None, quick: bool) -> str:
    """The arguments that decide what the results are."""
    given = [f"--method {method}"] * (method != "morris") + [f"--samples {samples}"] * (samples is not None)
    return "".join(f" {argument}" for argument in given + ["--quick"] * quick)


@app.command()
def command(
    method: Annotated[str, typer.Option(metavar="METHOD", help="morris, or sobol, which needs many more.")] = "morris",
    samples: Annotated[
        int | None, typer.Option(min=2, help="Trajectories, or points of the sequence.  [default: ranges.toml; 32]")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="WORKLOAD", help="Of this workload; needs --out.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.  [default: all cores]")] = None,
    results: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Finished cells.  [default: results/calibration]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Page and tables.  [default: docs, experiments/calibration]")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="2 trajectories, short runs, 1 seed: no result.")] = False,
) -> None:
    """Vary every assumed number; say which conclusions about policies hold all the same.

    Ctrl-C loses the cells in flight and nothing else: the same command goes on.
    """
    if method not in METHODS:
        raise StudyError(f"method: value '{method}' (allowed: {', '.join(METHODS)})")
    if out is None and (quick or only or method != "morris"):
        raise StudyError(
            "out: missing (needed with --quick, --only and --method sobol, which must not replace the page)"
        )
    try:
        import SALib  # noqa: F401
    except ImportError:
        raise StudyError("SALib: missing (pip install 'vcpu-env[study]')") from None
    ranges = load_ranges(DIRECTORY / "ranges.toml")
    if quick:
        ranges = ranges.model_copy(update={"seeds": 1})
    usual = QUICK_SAMPLES if quick else ranges.trajectories if method == "morris" else SOBOL_SAMPLES
    number = samples or usual
    if method == "sobol" and number & (number - 1):
        raise StudyError(f"samples: value {number} (allowed: a power of 2 with --method sobol)")
    short = QUICK if quick else ()
    designs = [make_design(ranges, workload, method, number, short) for workload in only or ranges.workloads]
    store = Store(results or Path("results") / ("calibration-quick" if quick else "calibration"), resume=True)
    plans = analyse(ranges, designs, store, make_executor("process", workers), short)
    page, tables = (out / "calibration.md", out / "tables") if out else (PAGE, DIRECTORY / "tables")
    write_page(ranges, designs, read_sweeps(plans, store), page, tables, number, told(method, samples, quick))


def main() -> None:
    """Run the command; bad input ends with one line on stderr and exit code 2."""
    run_command(app, (*INPUT_ERRORS, StudyError, WorkerDiedError))


if __name__ == "__main__":
    main()
