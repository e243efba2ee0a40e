"""Simulations for the validation: many scenarios and seeds on any executor, each reduced to a few numbers."""

from collections.abc import Iterable
from dataclasses import dataclass

from vcpu_env.executors.base import Executor
from vcpu_env.precompile import ensure_compiled
from vcpu_env.scenario import Scenario


@dataclass(frozen=True)
class Job:
    """One run: what, under which policy, with which seed."""

    scenario: Scenario
    policy: str = "stock"
    seed: int = 0


@dataclass(frozen=True)
class Rates:
    """What a run showed in its measured time; rates are per simulated second.

    Attributes:
        work: units of all VMs; `vm_work` of each.
        steal_share: of all vCPUs' time, the part in which they wanted a CPU and had none.
        stacked: share of runnable vCPUs with a runnable sibling on their CPU.
        gang_index: see `vcpu_env.engine.alignment`; NaN if there never was a vCPU on every CPU.
    """

    work: float
    vm_work: tuple[float, ...]
    pause_exits: float
    yields: float
    switches: float
    steal_share: float
    stacked: float
    gang_index: float


def run(job: Job) -> Rates:
    """Run one job."""
    from vcpu_env.counters import measure
    from vcpu_env.machine import Machine

    counted = measure(Machine(job.scenario, job.policy, job.seed), job.scenario.run)
    seconds = job.scenario.run.duration_ns * 1e-9
    vms, alignment = counted["vms"], counted["alignment"]
    vcpu_ns = sum(vm.vcpus for vm in job.scenario.expanded_vms) * job.scenario.run.duration_ns
    return Rates(
        work=sum(vm["work_units"] for vm in vms) / seconds,
        vm_work=tuple(vm["work_units"] / seconds for vm in vms),
        pause_exits=counted["kvm"]["pause_exits"] / seconds,
        yields=counted["deboost"]["yields"] / seconds,
        switches=alignment["vcpu_switches"] / seconds,
        steal_share=sum(vm["steal_ns"] for vm in vms) / vcpu_ns,
        stacked=alignment["stacked_ticks"] / max(1, alignment["vcpu_ticks"]),
        gang_index=alignment["gang_ns"] / alignment["busy_ns"] if alignment["busy_ns"] else float("nan"),
    )


def run_all(executor: Executor, jobs: Iterable[Job], say) -> list[Rates]:
    """Run every job; `say` is called with how many are done."""
    items = list(jobs)
    ensure_compiled()
    results: list[Rates | None] = [None] * len(items)
    for done, (i, rates) in enumerate(executor.map(run, items), start=1):
        results[i] = rates
        say(done, len(items))
    return [rates for rates in results if rates is not None]
