"""``python -m baselines.fleet FILE``: what overcommit ratio many hosts stand, with VMs drawn at random."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from baselines.command import resumable, run_command, say
from baselines.evaluate import INPUT_ERRORS
from baselines.fleet.model import FleetError, checked_fleet, load_fleet
from baselines.fleet.page import page
from baselines.fleet.run import Run
from baselines.fleet.terminal import print_answer
from baselines.fleet.traces import TRACES
from baselines.report.page_file import write_page
from baselines.store import Store
from vcpu_env.executors.make import make_executor

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def command(
    file: Annotated[str, typer.Argument(metavar="FILE", help="the fleet, a TOML file (docs/fleet.md)")] = "",
    hosts: Annotated[int | None, typer.Option(help="hosts of each ratio, in place of the file's")] = None,
    traces: Annotated[
        bool, typer.Option("--traces", help="List the traces whose sizes of VMs are known, and end.")
    ] = False,
    executor: Annotated[str, typer.Option(metavar="KIND", help="process, inline or ray.")] = "process",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.  [default: all cores]")] = None,
    address: Annotated[str | None, typer.Option(help="Of a running Ray cluster.  [default: start one here]")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Directory.  [default: results/fleet-HASH]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on in a directory that holds results.")] = False,
) -> None:
    """Say what overcommit ratio keeps latencies and CPU Ready of a fleet's VMs within limits: table, files, page."""
    if traces:
        for name, trace in TRACES.items():
            shares = ", ".join(f"{size}: {100 * share:g} %" for size, share in trace.sizes.items())
            print(f"{name}\n  vCPUs: {shares}\n  lifetimes: {trace.lifetimes}\n  {trace.source}")
        return
    if not file:
        raise FleetError("FILE: missing (allowed: a TOML file that describes a fleet)")
    fleet = load_fleet(Path(file))
    if hosts is not None:
        fleet = checked_fleet(fleet.model_dump(exclude_unset=True) | {"hosts": hosts})
    run = Run(fleet, make_executor(executor, workers, address))
    store = Store(out or Path("results") / run.name, resume)
    manifest = run.manifest() | {"command": shlex.join(["python", "-m", "baselines.fleet", *sys.argv[1:]])}
    store.write_manifest(manifest | {"status": "partial"})
    with resumable(lambda: f"finished hosts are in {store.directory}; the same command with --resume goes on"):
        answer = run.answer(store)
    ratios = [{"ratio": ratio} | tally.row() for ratio, tally in answer.tallies.items()]
    store.write_tables(answer.rows, ratios, [{"fleet": fleet.name, "cpus": run.cpus}])
    told = write_page(store.directory / "fleet.html", page(answer, str(manifest["command"])))
    store.write_manifest(manifest | {"status": "complete"})
    print_answer(answer)
    say(f"{len(answer.rows)} hosts in {store.directory}: cells.csv (hosts), summary.csv (ratios)")
    say(told)


def main() -> None:
    """Run the command; bad input ends with one line on stderr and exit code 2."""
    run_command(app, (*INPUT_ERRORS, FleetError))


if __name__ == "__main__":
    main()
