"""Speed of the simulator, as `vcpu-env bench` prints it. Medians of repeated runs; an event is one step of the engine.

What runs in this process is measured in seconds of CPU time, which other programs of the machine change least; starts
and compiling in seconds that pass.

An *event* is one entry of the timeline: a tick, an IPI, the end of a CPU's guest segment or piece of host work, a guest
timer, a device. Entering the guest, scheduling, waking and yielding happen within events and are not counted.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

from vcpu_env.scenario import load_scenario
from vcpu_env.scenario.splits import PUBLISHED

RUN_NS = 200_000_000
REPEATS = 3
TICKS = 3_000_000


@dataclass(frozen=True)
class Measurement:
    """One figure."""

    name: str
    value: float
    unit: str


def measurements(scenarios: list[str], quick: bool) -> Iterator[Measurement]:
    """All figures; `scenarios` (default: the published cells) restricts those of scenarios, `quick` does a tenth of it.

    Raises:
        ScenarioError: no such scenario.
    """
    loaded = [load_scenario(name) for name in scenarios or PUBLISHED]
    yield from start_times(quick)
    yield from fair_ticks_times(quick)
    for scenario in loaded:
        yield from scenario_speed(scenario, quick)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield Measurement("memory/peak_of_this_process", peak_kib / 1024, "MiB")


def start_times(quick: bool) -> Iterator[Measurement]:
    """First compile of everything a simulation needs, and a start of the console script with compiled code."""
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"VCPU_ENV_CACHE_DIR": cache}
        simulate = [sys.executable, "-m", "vcpu_env", "simulate", "dedup-1vm-2vcpu", "--policy", "series-v2"]
        short = ["--set", "run.warmup_ns=0", "--set", "run.duration_ns=1000000"]
        yield Measurement("start/first_compile", elapsed(simulate + short, environment), "s")
        warm = [elapsed(simulate + short, environment) for _ in range(1 if quick else REPEATS)]
        yield Measurement("start/warm_simulate", statistics.median(warm), "s")
    listing = [sys.executable, "-m", "vcpu_env", "list", "policies"]
    yield Measurement("start/warm_list", statistics.median(elapsed(listing, None) for _ in range(REPEATS)), "s")


def elapsed(command: list[str], environment: dict[str, str] | None) -> float:
    """Seconds that a command takes."""
    begin = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def fair_ticks_times(quick: bool) -> Iterator[Measurement]:
    """One CPU, four CPU-bound nice-0 tasks, HZ 1000, every tick executed: the scheduler alone."""
    from vcpu_env.bench.ticks import fair_ticks, fair_ticks_world

    ticks = TICKS // 10 if quick else TICKS
    for name, grouped in (("fair-ticks-4-flat", False), ("fair-ticks-4-groups", True)):
        world = fair_ticks_world(4, grouped)
        fair_ticks(world.handle, 1000)
        times = []
        for _ in range(1 if quick else REPEATS):
            begin = time.process_time()
            fair_ticks(world.handle, ticks)
            times.append((time.process_time() - begin) / ticks)
        seconds = statistics.median(times)
        yield Measurement(f"events_per_second/{name}", 1 / seconds, "1/s")
        yield Measurement(f"ns_per_tick/{name}", seconds * 1e9, "ns")


def scenario_speed(scenario, quick: bool) -> Iterator[Measurement]:
    """Events and simulated seconds per second of one scenario; time per decision, all else included."""
    from vcpu_env.machine import Machine

    run_ns = RUN_NS // 10 if quick else RUN_NS
    machine = Machine(scenario, "series-v2", seed=1)
    machine.run_until(20_000_000)
    rates, decisions = [], 0
    for _ in range(1 if quick else REPEATS):
        before = machine.counters()
        begin = time.process_time()
        machine.run_until(machine.now_ns + run_ns)
        seconds = time.process_time() - begin
        after = machine.counters()
        decisions = after["decisions"] - before["decisions"]
        rates.append(((after["events"] - before["events"]) / seconds, seconds, decisions))
    events, seconds, decisions = sorted(rates)[len(rates) // 2]
    yield Measurement(f"events_per_second/{scenario.name}", events, "1/s")
    yield Measurement(f"simulated_seconds_per_second/{scenario.name}", run_ns * 1e-9 / seconds, "1")
    if decisions:
        yield Measurement(f"decisions_per_simulated_second/{scenario.name}", decisions / run_ns * 1e9, "1/s")
        yield Measurement(f"ns_per_decision/{scenario.name}", seconds * 1e9 / decisions, "ns")
    yield Measurement(f"memory/world_of_{scenario.name}", machine.world.words.nbytes / 2**20, "MiB")
