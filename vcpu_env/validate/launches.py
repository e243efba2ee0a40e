"""Recorded cells with free placement: the real value lies within what launches of the same VMs come to."""

from dataclasses import replace

from vcpu_env.executors.base import Executor
from vcpu_env.validate.cells import Cell, cells, scenario_of
from vcpu_env.validate.runs import Job, run_all
from vcpu_env.validate.verdict import Part, Verdict

LAUNCHES = 20


def kind_of(cell: Cell) -> tuple[int, int, str, str, str]:
    """What cells must have in common to be compared."""
    return cell.cpus, len(cell.placement), cell.lock, cell.policy, cell.reweight


def placement_words(stacked: list[float]) -> str:
    """How many launches ended with which share of stacked vCPUs."""
    rounded = sorted(round(4 * share) for share in stacked)
    return ", ".join(f"{rounded.count(n)} with {25 * n} %" for n in dict.fromkeys(rounded))


def parts(executor: Executor, say) -> list[Part]:
    """Each policy, guest and size once, launched without pinning."""
    kinds = {kind_of(cell): cell for cell in cells() if not cell.skew_tick}
    wanted = [replace(cell, warmup_ms=max(cell.warmup_ms, 300)) for cell in kinds.values()]
    jobs = [Job(scenario_of(cell, pinned=False), cell.policy, seed) for cell in wanted for seed in range(LAUNCHES)]
    rates = run_all(executor, jobs, say)
    verdicts = []
    for i, cell in enumerate(wanted):
        mine = rates[i * LAUNCHES : (i + 1) * LAUNCHES]
        work = sorted(r.work for r in mine)
        real = sorted(other.work for other in cells() if kind_of(other) == kind_of(cell))
        seen = f"{work[0]:,.0f} to {work[-1]:,.0f}; stacked: {placement_words([r.stacked for r in mine])}"
        name = f"{cell.cpus} CPUs, {len(cell.placement)} VMs, {cell.lock}, {cell.policy}, reweight {cell.reweight}"
        inside = all(0.9 * work[0] <= value <= 1.1 * work[-1] for value in real)
        verdicts.append(Verdict(name, " ".join(f"{value:,.0f}" for value in real), seen, inside))
    words = f"work per second of {LAUNCHES} launches, measured after 300 ms or more; every recording within their range"
    return [Part("Recorded cells, placement by launch", words, tuple(verdicts))]
