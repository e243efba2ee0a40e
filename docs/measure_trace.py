"""Measures what places for records cost: a machine without any, one with none switched on, one that records.

python docs/measure_trace.py [PAIRS]      # 25 by default; compiles the simulator without them first

Three processes take turns at the same piece of the same runs; what counts is their CPU time, pair by pair.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCENARIOS = {"dedup-4vm": 40, "dbench-2vm": 40, "vips-4vm": 100}
"""Pieces of these runs under series-v2, ms."""
FROM_NS = 400_000_000
ROOM = 1_000_000
PACKAGE = Path(__file__).parent.parent / "vcpu_env"
CHOICE = "traced = compiled_traced if JIT else python_traced\n"
NEVER = '''
from vcpu_env.base.jit import kjit  # noqa: E402


@kjit
def traced(w, groups):
    """Never."""
    return False


'''
NONE, OFF, ON = "without places for records", "not recording", "recording"


def work(records: bool) -> None:
    """Serve the other process: a name comes in, CPU time per event (ns) goes out."""
    from vcpu_env.base.trace_ring import ALL_GROUPS, trace_arrays
    from vcpu_env.machine import Machine
    from vcpu_env.scenario import load_scenario

    warm = {}
    for name in SCENARIOS:
        warm[name] = Machine(load_scenario(name), "series-v2", 1)
        warm[name].run_until(FROM_NS)
    print("ready", flush=True)
    for line in sys.stdin:
        machine = warm[line.strip()].fork()
        if records:
            machine.world = machine.world.extended(trace_arrays(ROOM))
            machine.world["trace_ring"]["length"], machine.world.traced = ROOM, ALL_GROUPS
        before = int(machine.world["machine_clock"]["events"][0])
        begin = time.process_time_ns()
        machine.run_until(FROM_NS + SCENARIOS[line.strip()] * 1_000_000)
        spent = time.process_time_ns() - begin
        print(spent / (int(machine.world["machine_clock"]["events"][0]) - before), flush=True)


def start(place: Path, kind: str) -> subprocess.Popen[str]:
    """A process with the package that lies in a directory."""
    environment = os.environ | {"PYTHONPATH": str(place)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, __file__, kind], env=environment, cwd=place, **pipes)
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        sys.exit("error: the simulator does not run")
    return process


def ask(process: subprocess.Popen[str], name: str) -> float:
    """The CPU time of an event in one piece of a run."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{name}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def main(pairs: int) -> None:
    """Measure, and print the ratios."""
    with tempfile.TemporaryDirectory() as folder:
        without = Path(folder)
        shutil.copytree(PACKAGE, without / "vcpu_env", ignore=shutil.ignore_patterns("__pycache__"))
        ring = without / "vcpu_env" / "base" / "trace_ring.py"
        text = ring.read_text()
        assert CHOICE in text
        ring.write_text(text.replace(CHOICE, NEVER))
        processes = {NONE: start(without, OFF), OFF: start(PACKAGE.parent, OFF), ON: start(PACKAGE.parent, ON)}
        ratios: dict[str, list[float]] = {OFF: [], ON: []}
        for name in SCENARIOS:
            times: dict[str, list[float]] = {kind: [] for kind in processes}
            for i in range(pairs):
                for kind in processes if i % 2 else reversed(processes):
                    times[kind].append(ask(processes[kind], name))
            own = {OFF: divided(times[OFF], times[NONE]), ON: divided(times[ON], times[OFF])}
            for kind, found in own.items():
                ratios[kind] += found
                print(f"{name}: {kind}: {shown(found)}; {min(times[kind]):.1f} ns an event", flush=True)
        print(f"all: {OFF}, against {NONE}: {shown(ratios[OFF])}")
        print(f"all: {ON}, against {OFF}: {shown(ratios[ON])}")
        for process in processes.values():
            process.communicate()


def divided(above: list[float], below: list[float]) -> list[float]:
    """Pair by pair."""
    return [a / b for a, b in zip(above, below, strict=True)]


def shown(found: list[float]) -> str:
    """Median, quartiles, mean."""
    low, middle, high = statistics.quantiles(found, n=4)
    return (
        f"median {middle:.3f} [quartiles {low:.3f}, {high:.3f}], mean {statistics.mean(found):.3f}, {len(found)} pairs"
    )


if __name__ == "__main__":
    kind = sys.argv[1] if len(sys.argv) > 1 else ""
    if kind in (OFF, ON):
        work(kind == ON)
    else:
        main(int(kind or 25))
