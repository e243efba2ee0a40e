"""What `vcpu-env realism` does: record or load, simulate the same, compare, report."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from vcpu_env.precompile import ensure_compiled
from vcpu_env.realism import report
from vcpu_env.realism.compare import Compared, compare_probe
from vcpu_env.realism.kernel_facts import kernel_facts
from vcpu_env.realism.probe import Probe, find_probes
from vcpu_env.realism.record import default_slice_ns, probe_cpus, program, record_probe
from vcpu_env.realism.recording import SHIPPED, Recording, Run, load_recording, save_recording
from vcpu_env.realism.simulated import scenario_of, simulate_probe
from vcpu_env.realism.tracefs import mounted
from vcpu_env.scenario.errors import ScenarioError


def say(text: str) -> None:
    """Progress, beside the output."""
    print(text, file=sys.stderr, flush=True)


def print_probes(wanted: Sequence[str]) -> None:
    """The probes, one line each."""
    probes = find_probes(wanted)
    width = max(len(probe.name) for probe in probes)
    for probe in probes:
        print(f"{probe.name:{width}}  {probe.summary}")


def realism(
    wanted: Sequence[str],
    seconds: float,
    repeat: int,
    compare: str | None,
    out: Path | None,
    overrides: Sequence[str],
    buffer_kb: int,
    as_json: bool,
) -> None:
    """The whole command. All recording comes first: compiling and simulating would disturb it.

    Raises:
        ValueError: with a line of what is wrong.
    """
    recording = None if compare is None else stored(compare, wanted)
    if out is not None:
        make_directory(out)
    if recording is None:
        recording = record(find_probes(wanted), overrides, seconds, repeat, buffer_kb)
        if out is not None:
            save_recording(recording, out / "recording.parquet")
    facts = recording.facts
    results = compared(recording, overrides, repeat)
    runs = next(iter(recording.runs.values()))
    given = [f"--compare {compare}"] if compare is not None else [f"--seconds {seconds:g}"]
    given += [f"--repeat {repeat}", *(f"--set {override}" for override in overrides)]
    settings = {
        "command": " ".join(["vcpu-env realism", *given]),
        "runs": len(runs),
        "seconds": (runs[0].end_ns - runs[0].begin_ns) / 1e9,
        "seeds": repeat,
    }
    if out is not None:
        (out / "realism.json").write_text(report.as_json(facts, results, settings), "utf-8")
        (out / "realism.md").write_text(report.as_markdown(facts, results, settings), "utf-8")
    if as_json:
        print(report.as_json(facts, results, settings))
        return
    console = Console(width=None if sys.stdout.isatty() else 200)
    for result in results:
        console.print(report.table(result))
    console.print(report.summary(results))


def make_directory(path: Path) -> None:
    """Make the directory of the results.

    Raises:
        ScenarioError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ScenarioError(
            f"out: value '{path}' (allowed: a directory that can be written; {error.strerror})"
        ) from None


def record(probes: Sequence[Probe], overrides: Sequence[str], seconds: float, repeat: int, buffer_kb: int) -> Recording:
    """Run every probe `repeat` times on the kernel of this machine; in rounds of all probes, so that noise is spread.

    Raises:
        TraceError: nothing can be recorded here, with the reason.
        ScenarioError: an override is wrong; found before anything takes time.
    """
    for probe in probes:
        probe_cpus(probe)
    runs: dict[str, list[Run]] = {probe.name: [] for probe in probes}
    with mounted(), program() as path:
        facts = kernel_facts(default_slice_ns(path))
        for probe in probes:
            scenario_of(probe, facts, overrides)
        for number in range(repeat):
            for probe in probes:
                say(f"recording {probe.name}, run {number + 1} of {repeat}")
                runs[probe.name].append(record_probe(probe, seconds, buffer_kb, path))
    return Recording(facts, {probe.name: probe for probe in probes}, runs)


def stored(name: str, wanted: Sequence[str]) -> Recording:
    """A recording from a file, or the shipped one, as far as it holds the wanted probes (none: all of it).

    Raises:
        ScenarioError: there is no such recording, or a probe is not in it.
    """
    return load_recording(SHIPPED if name == "shipped" else Path(name)).only(wanted)


def compared(recording: Recording, overrides: Sequence[str], seeds: int) -> list[Compared]:
    """Simulate every probe of a recording, and compare.

    Raises:
        ScenarioError: an override is wrong.
        ValueError: a run holds nothing of its probe.
    """
    scenarios = {name: scenario_of(probe, recording.facts, overrides) for name, probe in recording.probes.items()}
    ensure_compiled()
    results = []
    for name, probe in recording.probes.items():
        say(f"simulating {name}")
        real = recording.runs[name]
        if not real:
            raise ScenarioError(f"compare: probe '{name}' has no run (allowed: a recording with runs)")
        window = real[0].begin_ns, real[0].end_ns
        simulated = [simulate_probe(scenarios[name], *window, seed) for seed in range(seeds)]
        results.append(compare_probe(probe, real, simulated))
    return results
