"""Recorded cells of a real KVM host (``cells.toml``): the same guests, settings, costs and placement, simulated."""

import statistics
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from vcpu_env.executors.base import Executor
from vcpu_env.scenario import Scenario
from vcpu_env.scenario.bounds import LONGEST_NS
from vcpu_env.validate.runs import Job, Rates, run_all
from vcpu_env.validate.verdict import Part, Verdict

TOLERANCE = 0.10
NEEDED = 0.85
"""Share of the cells that are not bistable of which each quantity has to be within the tolerance."""
QUANTITIES = ("work", "pause_exits", "yields", "switches")
FEW_PER_S = 100
"""A difference that is always near: 15 events in a window of 150 ms."""

READER_NS = {2: 1_600_000, 4: 2_300_000}
"""What the reader of statistics ran just before each window, by the number of CPUs."""


TICK_NS = 1_000_000
CONTEXT_SWITCHES_NS = 20_000
"""Room for the reader's wake-up and its switches."""
LAUNCH_GAP_NS = 1_000_000
"""VMs were started 0.1 to 2 ms apart."""

PROGRAMS = {
    "none": "user user_ns uniform\nshootdown\nwork",
    "lock": "user user_ns uniform\nlock l\nkernel hold_ns fixed\nunlock\nwork",
}


@dataclass(frozen=True)
class Cell:
    """One recording; fields as in ``cells.toml``, rates per second."""

    id: str
    cpus: int
    placement: tuple[tuple[int, ...], ...]
    pinned: bool
    lock: str
    user_ns: int
    hold_ns: int
    policy: str
    reweight: str
    skew_tick: bool
    bistable: bool
    warmup_ms: float
    window_ms: float
    first_tick_ns: int
    work: float
    pause_exits: float
    yields: float
    switches: float
    gang_index: float


@cache
def recorded() -> dict[str, Any]:
    """The file of recordings."""
    return tomllib.loads((files("vcpu_env.validate") / "cells.toml").read_text("utf-8"))


def cells() -> list[Cell]:
    """All recorded cells."""
    rows = recorded()["cell"]
    return [Cell(**(row | {"placement": tuple(tuple(cpus) for cpus in row["placement"])})) for row in rows]


def reader(cell: Cell) -> dict[str, Any]:
    """The task that read statistics: unless somebody gets in its way, it is done as long before a tick as it was.

    It sleeps before and after. A task that ended would leave its queue at once, one that falls asleep with more service
    than its share stays there until the others have caught up (delayed dequeue), which moves all of them.
    """
    asleep_ns = TICK_NS - cell.first_tick_ns
    wakes_ns = round(cell.warmup_ms * 1e6) - asleep_ns - CONTEXT_SWITCHES_NS - READER_NS[cell.cpus]
    steps = [{"sleep_ns": wakes_ns}, {"run_ns": READER_NS[cell.cpus]}, {"sleep_ns": LONGEST_NS}]
    return {"name": "reader", "program": steps}


def scenario_of(cell: Cell, pinned: bool = True) -> Scenario:
    """A cell as a scenario, with the recorded placement as pinning or without."""
    common = recorded()
    warmup_ns = round(cell.warmup_ms * 1e6)
    lock = "fifo" if cell.lock == "none" else cell.lock
    vms = [
        {
            "name": f"vm-{i}",
            "vcpus": len(cpus),
            "workload": "recorded",
            "lock": lock,
            "boot_ns": 0,
            "params": {"user_ns": cell.user_ns} | ({} if cell.lock == "none" else {"hold_ns": cell.hold_ns}),
        }
        | ({"pinning": list(cpus)} if pinned else {})
        for i, cpus in enumerate(cell.placement, start=1)
    ]
    program = {"name": "vcpu", "count": len(cell.placement[0])}
    workload: dict[str, Any] = {"summary": "bare metal", "params": {"user_ns": cell.user_ns}}
    if cell.lock == "none":
        workload["threads"] = [program | {"program": PROGRAMS["none"]}]
    else:
        workload["params"]["hold_ns"] = cell.hold_ns
        workload |= {"locks": {"l": {"kind": "spin"}}, "threads": [program | {"program": PROGRAMS["lock"]}]}
    return Scenario(
        name=cell.id,
        host={
            "cpus": cell.cpus,
            "reweight": cell.reweight,
            "skew_tick": cell.skew_tick,
            "launch_gap_ns": LAUNCH_GAP_NS,
            "costs": common["costs"],
        },
        kvm=common["kvm"],
        guest_costs=common["guest_costs"],
        workloads={"recorded": workload},
        vms=vms,
        host_tasks=[reader(cell)],
        run={"warmup_ns": warmup_ns, "duration_ns": round(cell.window_ms * 1e6)},
    )


def near(real: float, simulated: float) -> bool:
    """Whether a rate is within the tolerance of the recorded one."""
    return abs(simulated - real) <= max(TOLERANCE * real, FEW_PER_S)


def judge(cell: Cell, rates: list[Rates]) -> list[Verdict]:
    """Each quantity of a cell: near in the mean, or, for a bistable one, within the range over seeds."""
    verdicts = []
    for quantity in QUANTITIES:
        real, values = getattr(cell, quantity), [getattr(r, quantity) for r in rates]
        mean, low, high = statistics.fmean(values), min(values), max(values)
        seen = f"{mean:,.0f} ({low:,.0f} to {high:,.0f})"
        if cell.bistable:
            slack = max(TOLERANCE * real, FEW_PER_S)
            met = low - slack <= real <= high + slack
        else:
            met = near(real, mean)
        verdicts.append(Verdict(f"{cell.id} {quantity}", f"{real:,.0f}", seen, met))
    return verdicts


def among_draws(drawn: dict[str, list[Rates]], steady: list[Cell], seeds: int) -> Part:
    """Each recorded value as one more draw: whether it lies within the range over seeds.

    A recording is one run of a chaotic host, so that the mean of many can be right and yet far from it. Were it a draw
    from the same distribution as the seeds, it would lie outside of their range twice in ``seeds + 1``.
    """
    verdicts = []
    for cell in steady:
        for quantity in QUANTITIES:
            real, values = getattr(cell, quantity), sorted(getattr(rates, quantity) for rates in drawn[cell.id])
            below = sum(value < real for value in values)
            seen = f"{below} of {seeds} below; {values[0]:,.0f} to {values[-1]:,.0f}"
            verdicts.append(Verdict(f"{cell.id} {quantity}", f"{real:,.0f}", seen, values[0] <= real <= values[-1]))
    expected = (seeds - 1) / (seeds + 1)
    words = f"within the range over {seeds} seeds, as one more run of the same host would be in {expected:.0%} of all"
    return Part("Recorded cells as one more draw", words, tuple(verdicts), expected)


def parts(executor: Executor, seeds: int, say) -> list[Part]:
    """Every recorded cell simulated with its placement."""
    every = cells()
    scenarios = [scenario_of(cell) for cell in every]
    jobs = [Job(s, cell.policy, seed) for s, cell in zip(scenarios, every, strict=True) for seed in range(seeds)]
    rates = run_all(executor, jobs, say)
    drawn = {cell.id: rates[i * seeds : (i + 1) * seeds] for i, cell in enumerate(every)}
    judged = {cell.id: judge(cell, drawn[cell.id]) for cell in every}
    steady = [v for cell in every if not cell.bistable for v in judged[cell.id]]
    bistable = [v for cell in every if cell.bistable for v in judged[cell.id]]
    words = f"{seeds} seeds, mean and range; within 10 % or {FEW_PER_S} a second"
    return [
        Part("Recorded cells, placement as recorded", words, tuple(steady), NEEDED),
        among_draws(drawn, [cell for cell in every if not cell.bistable], seeds),
        Part("Recorded cells that are bistable", "the recorded value within the range over seeds", tuple(bistable)),
    ]
