"""``python -m baselines.overcommit HOST.toml`` or ``--workload NAME``: what overcommit costs, and which knob helps."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from baselines.command import resumable, run_command, say
from baselines.evaluate import INPUT_ERRORS
from baselines.overcommit.hosts import QuestionError, parse_ratio, workload_host
from baselines.overcommit.knobs import KNOBS, chosen_knobs
from baselines.overcommit.page import page
from baselines.overcommit.study import Answer, Study, ask
from baselines.overcommit.terminal import MOST_SEEDS, print_answer
from baselines.report.page_file import write_page
from baselines.store import Store
from vcpu_env.executors.make import make_executor
from vcpu_env.scenario import Scenario, apply_overrides, load_scenario

RATIOS = "1:1,1.5:1,2:1,3:1,4:1"
QUICK_SEEDS = 2
QUICK = ("run.warmup_ns=200_000_000", "run.duration_ns=60_000_000")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def host_of(host: str, workload: str | None, overrides: Sequence[str]) -> Scenario:
    """The host that is asked about.

    Raises:
        QuestionError, ScenarioError: there is none, or two.
    """
    if bool(host) == (workload is not None):
        given = "given with --workload" if host else "missing"
        raise QuestionError(f"HOST: {given} (allowed: a scenario, or --workload)")
    if workload is not None:
        return workload_host(workload, overrides)
    return apply_overrides(load_scenario(host), overrides)


def write_tables(store: Store, answer: Answer) -> None:
    """The tables as files: cells, costs (summary.csv), knobs (scores.csv)."""
    costs = [{"table": "ratios"} | one.row() for one in answer.costs]
    costs += [{"table": "vms"} | one.row() for one in answer.own]
    store.write_tables(answer.rows, costs, [one.row() for one in answer.effects] or [{"knob": "none"}])


@app.command()
def command(
    host: Annotated[str, typer.Argument(metavar="HOST", help="scenario, by name or TOML file")] = "",
    workload: Annotated[
        str | None, typer.Option(metavar="NAME", help="in place of HOST: VMs of 4 vCPUs that run this, on 8 CPUs")
    ] = None,
    ratios: Annotated[str, typer.Option(help="vCPUs for each CPU")] = RATIOS,
    at: Annotated[
        str | None, typer.Option(help="ratio at which knobs are compared.  [default: 2:1; of a HOST: its own]")
    ] = None,
    knobs: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="names, all, none, or list to see them.  [default: twelve]")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change the host")] = None,
    seeds: Annotated[int | None, typer.Option(min=2, max=MOST_SEEDS, help="runs of each host.  [default: 8]")] = None,
    executor: Annotated[str, typer.Option(metavar="KIND", help="process, inline or ray.")] = "process",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.  [default: all cores]")] = None,
    address: Annotated[str | None, typer.Option(help="Of a running Ray cluster.  [default: start one here]")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Directory.  [default: results/overcommit-HASH]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on in a directory that holds results.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Short runs and 2 seeds: a look, not a result.")] = False,
) -> None:
    """Say what overcommit costs the VMs of a host by ratio, and which knob helps: tables and files."""
    if knobs == "list":
        for knob in KNOBS.values():
            print(f"{knob.name:16} {knob.needs:9} {knob.what}")
        return
    described = host_of(host, workload, [*(QUICK if quick else ()), *(set_ or [])])
    wanted = sorted({parse_ratio(text, "--ratios") for text in ratios.split(",")})
    compared = parse_ratio(at, "--at") if at else None if host else 2.0
    question = ask(described, wanted, compared, seeds or (QUICK_SEEDS if quick else 8), chosen_knobs(knobs))
    runs_on = make_executor(executor, workers, address)
    study = Study(question, runs_on)
    store = Store(out or Path("results") / study.name, resume)
    manifest = study.manifest() | {"command": shlex.join(["python", "-m", "baselines.overcommit", *sys.argv[1:]])}
    store.write_manifest(manifest | {"status": "partial"})
    with resumable(lambda: f"finished cells are in {store.directory}; the same command with --resume goes on"):
        answer = study.answer(store)
    write_tables(store, answer)
    told = write_page(store.directory / "overcommit.html", page(answer, str(manifest["command"])))
    store.write_manifest(manifest | {"status": "complete"})
    print_answer(answer)
    say(f"{len(answer.rows)} cells in {store.directory}: cells.csv, summary.csv (costs), scores.csv (knobs)")
    say(told)


def main() -> None:
    """Run the command; bad input ends with one line on stderr and exit code 2."""
    run_command(app, (*INPUT_ERRORS, QuestionError))


if __name__ == "__main__":
    main()
