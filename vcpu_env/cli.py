"""The console script ``vcpu-env``: list, simulate, trace, explain, diff, from-libvirt, compare-host, replay, ..."""

import functools
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from vcpu_env.base.interrupts import INTERRUPTED_COMMAND, end_on_signals, exit_code
from vcpu_env.inspect.commands import diff, explain, trace
from vcpu_env.libvirt.commands import compare_host, from_libvirt
from vcpu_env.listed import KINDS, rows

LARGE_BYTES = 64 << 20
"""Machines from this size on are announced before they are made."""

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


def fail(error: ValueError | str) -> None:
    """Report bad input on one line (a line a field) and end with exit code 2."""
    from vcpu_env.base.errors import InputError, one_line

    lines = str(error).splitlines() if isinstance(error, InputError) else [one_line(str(error))]
    for line in lines:
        print(f"error: {line}", file=sys.stderr)
    raise typer.Exit(2)


@app.command("list")
def list_(
    kind: Annotated[str, typer.Argument(help="scenarios, policies, workloads or fields")],
    parameters: Annotated[
        bool, typer.Option("--parameters", help="workloads only: every parameter, as Markdown")
    ] = False,
) -> None:
    """List what there is, one line each; the fields of a scenario as Markdown."""
    if kind == "fields":
        from vcpu_env.scenario.fields_page import page

        print(page(), end="")
        return
    if kind not in KINDS:
        fail(f"kind: value '{kind}' (allowed: {', '.join(KINDS)}, fields)")
    if parameters:
        if kind != "workloads":
            fail(f"--parameters: given with '{kind}' (allowed: with workloads)")
        print_parameters()
        return
    found = rows(kind)
    width = max(len(name) for name, _ in found)
    for name, line in found:
        print(f"{name:{width}}  {line}")


def print_parameters() -> None:
    """The parameters of all workloads as a Markdown page (docs/workloads.md is this output)."""
    from vcpu_env.guest import workloads
    from vcpu_env.scenario.workload_page import language_page

    print("# Workloads and their parameters\n")
    print("Made by `vcpu-env list workloads --parameters`. Change a parameter in a scenario file (`params` of a VM)")
    print("or on the command line: `--set vms.0.params.clients=8`.\n")
    print((workloads.__doc__ or "").partition("\n\n")[2].strip())
    for workload in workloads.WORKLOADS.values():
        print(f"\n## {workload.name}\n\n{workload.summary[0].upper()}{workload.summary[1:]}.", end=" ")
        print(f"Work is counted in {workload.unit}.\n\n| parameter | value | unit | tag | meaning |")
        print("|---|---:|---|---|---|")
        for name, parameter in workload.parameters.items():
            print(f"| `{name}` | {parameter.value:_} | {parameter.unit} | {parameter.tag} | {parameter.meaning} |")
    print(f"\n{language_page()}")


@app.command()
def simulate(
    scenario: Annotated[str, typer.Argument(help="name of a shipped scenario, or a TOML file")] = "",
    policy: Annotated[
        str, typer.Option(help="policy (`vcpu-env list policies`), a rule in FILE.py, a model FILE.npz")
    ] = "stock",
    seed: Annotated[int, typer.Option(help="seed of all randomness")] = 0,
    rtapp: Annotated[Path | None, typer.Option(help="in place of a scenario: an rt-app file, run on the host")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, e.g. host.hz=250")] = None,
    json_: Annotated[bool, typer.Option("--json", help="one JSON object instead of a table")] = False,
) -> None:
    """Run one scenario from time 0 to the end of its measured time and print everything counted after the warm-up."""
    from vcpu_env.counters import measure
    from vcpu_env.inspect.counted_text import counter_lines
    from vcpu_env.nets.maker import machine_maker
    from vcpu_env.precompile import ensure_compiled
    from vcpu_env.scenario import apply_overrides, load_rtapp, load_scenario

    if bool(scenario) == (rtapp is not None):
        fail(
            "SCENARIO: "
            + ("given with --rtapp (allowed: one)" if scenario else "missing (allowed: a scenario or --rtapp)")
        )
    try:
        loaded = apply_overrides(load_rtapp(rtapp) if rtapp else load_scenario(scenario), set_ or [])
        machine_of = machine_maker(policy)
        if not 0 <= seed < 2**31:
            raise ValueError(f"seed: value {seed} (allowed: 0..{2**31 - 1})")
        ensure_compiled()
        from vcpu_env.build.world import machine_bytes

        if (size := machine_bytes(loaded)) >= LARGE_BYTES:
            print(f"scenario {loaded.name}: the machine takes {size >> 20} MiB", file=sys.stderr)
        counted = measure(machine_of(loaded, seed), loaded.run)
    except ValueError as error:
        fail(error)
    counted = {"kernel": loaded.host.kernel} | counted
    if json_:
        print(json.dumps(counted))
        return
    for line in counter_lines(counted, loaded):
        print(line)


@app.command()
def calibration(
    seeds: Annotated[int, typer.Option(min=1, help="runs of each scenario")] = 3,
    json_: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
) -> None:
    """Compare each workload, without overcommit, with rates measured on the real programs."""
    from vcpu_env.realism.calibration import calibration as calibrated

    scenario = None
    for row in calibrated(seeds):
        if json_:
            print(json.dumps(asdict(row)), flush=True)
            continue
        if row.scenario != scenario:
            scenario = row.scenario
            print(f"{scenario:22} {'':8} {'mean':>10} {'min':>10} {'max':>10} {'measured':>12}")
        measured = verdict = ""
        if row.measured_low is not None:
            ends = dict.fromkeys((row.measured_low, row.measured_high))
            measured, verdict = "-".join(f"{end:g}" for end in ends), "near" if row.near else "FAR"
        numbers = " ".join(f"{value:10.1f}" for value in (row.mean, row.low, row.high))
        print(f"  {row.quantity:20} {row.unit:8} {numbers} {measured:>12} {verdict}".rstrip(), flush=True)


@app.command()
def fit(
    trace: Annotated[Path, typer.Argument(help="ftrace text, or the output of perf sched script; may be gzipped")],
    comm: Annotated[list[str] | None, typer.Option(help="name of a task of the program; several allowed")] = None,
    tid: Annotated[list[int] | None, typer.Option(help="thread of the program; several allowed")] = None,
    out: Annotated[Path | None, typer.Option("-o", help="the workload file to write; default: print it")] = None,
    seed: Annotated[int, typer.Option(help="seed of the simulated run")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="the comparison as one JSON object a line")] = False,
) -> None:
    """Fit a guest program to a recorded one, write it as a workload file, and compare both."""
    try:
        from vcpu_env.fit.command import fit_and_compare

        fit_and_compare(trace, comm or [], tid or [], out, seed, json_)
    except ImportError as error:
        fail(f"fit: needs {error.name} (pip install 'vcpu-env[fit]')")
    except ValueError as error:
        fail(error)


@app.command()
def replay(
    files: Annotated[list[Path], typer.Argument(help="recorded traces, *.jsonl or *.jsonl.gz")],
    check: Annotated[bool, typer.Option("--check", help="compare with the recorded records")] = False,
    out: Annotated[Path | None, typer.Option("-o", help="directory for the records of each file")] = None,
) -> None:
    """Play the scenario on the first line of recorded traces; write the records, or compare them with the recording."""
    from vcpu_env.trace.replay import TraceError, check_file, replayed_lines

    if not check and out is None and len(files) > 1:
        fail(f"FILE: {len(files)} files (allowed without --check and -o DIR: one)")
    matched = 0
    try:
        for path in files:
            if check:
                result = check_file(path)
                matched += not result.mismatches
                for mismatch in result.mismatches:
                    print(f"{path}: {mismatch}")
            elif out is None:
                for line in replayed_lines(path):
                    print(json.dumps(line, separators=(",", ":")))
            else:
                write_records(out, path, replayed_lines(path))
    except TraceError as error:
        fail(error)
    if check:
        print(f"matched {matched} of {len(files)}")
        raise typer.Exit(0 if matched == len(files) else 1)


def write_records(out: Path, path: Path, lines: list[dict[str, Any]]) -> None:
    """Write the records of one file into a directory, all of them or nothing."""
    target = out / (path.name.removesuffix(".gz").removesuffix(".jsonl") + ".jsonl")
    partial = target.with_suffix(".partial")
    try:
        out.mkdir(parents=True, exist_ok=True)
        partial.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
        partial.rename(target)
    except OSError as error:
        fail(f"-o: value '{out}' (allowed: a directory to write to; {error.strerror})")


@app.command()
def bench(
    json_: Annotated[bool, typer.Option("--json", help="one JSON object a line: name, value, unit")] = False,
    scenario: Annotated[list[str] | None, typer.Option(help="scenarios to run; default: the published cells")] = None,
    quick: Annotated[bool, typer.Option(help="a tenth of the work")] = False,
) -> None:
    """Measure speed: events and simulated seconds per second, ticks, decisions, compile and start times, memory."""
    from vcpu_env.bench.machine import measurements

    try:
        for row in measurements(scenario or [], quick):
            if json_:
                print(json.dumps({"name": row.name, "value": row.value, "unit": row.unit}), flush=True)
            else:
                print(f"{row.name:44} {row.value:>16,.6g} {row.unit}", flush=True)
    except ValueError as error:
        fail(error)


@app.command()
def realism(
    probe: Annotated[list[str] | None, typer.Option(help="by name, or a .toml file of probes; default: all")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=60, help="length of each run")] = 2.0,
    repeat: Annotated[int, typer.Option(min=1, max=100, help="real runs and simulated seeds of each probe")] = 3,
    compare: Annotated[str | None, typer.Option(help="a stored recording, or 'shipped'; nothing is recorded")] = None,
    out: Annotated[Path | None, typer.Option(help="directory for recording.parquet, realism.json, realism.md")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE of the simulated scenario")] = None,
    buffer_kb: Annotated[int, typer.Option(min=64, max=1_000_000, help="trace buffer of each CPU, KiB")] = 16_384,
    list_: Annotated[bool, typer.Option("--list", help="list the probes and end")] = False,
    json_: Annotated[bool, typer.Option("--json", help="one JSON object instead of tables")] = False,
) -> None:
    """Compare the simulated host scheduler with a real one: this machine's (as root), or one that was recorded."""
    from vcpu_env.realism import command

    try:
        if list_:
            command.print_probes(probe or [])
            return
        command.realism(probe or [], seconds, repeat, compare, out, set_ or [], buffer_kb, json_)
    except ValueError as error:
        fail(error)


@app.command()
def validate(
    part: Annotated[
        list[str] | None, typer.Argument(help="cells, launches, published, probes, golden; default: all there is")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="runs of each cell and published figure")] = 8,
    golden: Annotated[Path | None, typer.Option(help="directory with traces of the kernel's own code")] = None,
    out: Annotated[Path | None, typer.Option("-o", help="the page to write; default: print it")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="processes; default: all cores")] = None,
    json_: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
) -> None:
    """Hold the simulator against real hosts: recorded cells, launches, published tables, probes, kernel traces."""
    from vcpu_env.validate import command

    try:
        met = command.validate(part or [], seeds, golden, out, workers, json_)
    except ValueError as error:
        fail(error)
    raise typer.Exit(0 if met else 1)


def reported(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose bad input is reported on one line."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        try:
            command(*args, **options)
        except ValueError as error:
            fail(error)

    return run


for command in (from_libvirt, compare_host, trace, explain, diff):
    app.command(command.__name__.replace("_", "-"))(reported(command))


def with_output(run: Callable[[], object]) -> None:
    """Run a command; where its output cannot be written, say so in one line and end with exit code 1."""
    try:
        try:
            run()
        finally:
            sys.stdout.flush()
    except OSError as error:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (what is left in the buffer goes there at the end)
        print(f"error: output: cannot be written ({error.strerror or error})", file=sys.stderr)
        sys.exit(1)


def main() -> None:
    """Entry point of the console script."""
    end_on_signals()
    try:
        with_output(app)
    except SystemExit as end:
        if end.code != INTERRUPTED_COMMAND:
            raise
        print("interrupted", file=sys.stderr)
        sys.exit(exit_code())
