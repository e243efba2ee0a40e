"""Published measurements of overcommitted hosts (``published.toml``), each simulated in the same shape."""

import statistics
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from vcpu_env.executors.base import Executor
from vcpu_env.scenario import Scenario
from vcpu_env.validate.runs import Job, Rates, run_all
from vcpu_env.validate.verdict import Part, Verdict

LAUNCHES = 20
"""Seeds of the checks of where launched VMs lie."""

HOG = {"summary": "threads that only compute", "threads": [{"name": "hog", "count": 64, "program": "user 10ms\nwork"}]}

OWNER_SPINNING: dict[str, Any] = {
    "summary": "threads that share a mutex of the kernel and spin on its owner",
    "unit": "turns",
    "locks": {"inode": {"kind": "rwsem"}},
    "threads": [{"name": "worker", "count": 64, "program": "user 100us exponential\nhold inode 1us\nwork"}],
}


@dataclass(frozen=True)
class Check:
    """One published figure and its band; fields as in ``published.toml``."""

    id: str
    source: str
    says: str
    published: float
    unit: str
    low: float
    high: float


@cache
def checks() -> list[Check]:
    """All published figures."""
    text = (files("vcpu_env.validate") / "published.toml").read_text("utf-8")
    return [Check(**row) for row in tomllib.loads(text)["check"]]


def scenario(name: str, cpus: int, vms: int, vcpus: int, workload: str, run_ms: int = 400, **changes: Any) -> Scenario:
    """A host of equal VMs; `changes` of its parts: host, kvm, vm, workloads."""
    vm = {"name": "vm", "count": vms, "vcpus": vcpus, "workload": workload} | changes.get("vm", {})
    return Scenario(
        name=name,
        host={"cpus": cpus} | changes.get("host", {}),
        kvm=changes.get("kvm", {}),
        workloads=changes.get("workloads", {}),
        vms=[vm],
        run={"duration_ns": run_ms * 1_000_000},
    )


def dbench(lock: str, vms: int) -> Scenario:
    """VMs of 32 vCPUs, with a client each, on 32 CPUs."""
    vm = {"lock": lock, "params": {"clients": 32}}
    return scenario(f"dbench-{lock}-{vms}vm", 32, vms, 32, "dbench", 200, vm=vm)


def owners(steal_time: str, vcpus: int) -> Scenario:
    """One VM on 32 CPUs whose threads, one a vCPU, spin on the owner of a mutex; no PLE."""
    threads = [OWNER_SPINNING["threads"][0] | {"count": vcpus}]
    return scenario(
        f"owners-{steal_time}-{vcpus}",
        32,
        1,
        vcpus,
        "owners",
        vm={"lock": "fifo", "steal_time": steal_time},
        kvm={"ple": "off"},
        workloads={"owners": OWNER_SPINNING | {"threads": threads}},
    )


def compute(steal_time: str) -> Scenario:
    """The same VM, but it only computes."""
    vm = {"lock": "fifo", "steal_time": steal_time, "params": {"threads": 64}}
    return scenario(f"compute-{steal_time}", 32, 1, 64, "blackscholes", vm=vm, kvm={"ple": "off"})


def pinned(ple: str) -> Scenario:
    """One VM of 64 vCPUs, one to a CPU, whose threads sleep and wake."""
    return scenario(f"pinned-{ple}", 64, 1, 64, "ferret", kvm={"ple": ple}, host={"placement": "one_to_one"})


def lwp(lock: str) -> Scenario:
    """A first-come, unfair or paravirtual lock whose waiters lose their CPUs."""
    return scenario(f"lwp-{lock}", 16, 2, 16, "micro-lwp", 300, vm={"lock": lock})


def shootdowns(pv_sched_yield: bool) -> Scenario:
    """TLB shootdowns at 2:1, with and without the paravirtual yield."""
    vm = {"pv_sched_yield": pv_sched_yield, "pv_tlb_flush": False}
    return scenario(f"shootdowns-{pv_sched_yield}", 16, 2, 16, "dedup", vm=vm)


def hogs(cpus: int, placement: str) -> Scenario:
    """Two VMs, each with as many vCPUs as CPUs, that only compute."""
    return scenario(
        f"hogs-{placement}-{cpus}", cpus, 2, cpus, "hogs", workloads={"hogs": HOG}, host={"placement": placement}
    )


class Results:
    """The runs of a set of scenarios, asked for by scenario; a question is answered once its runs are there."""

    def __init__(self) -> None:
        self.rates: dict[str, Sequence[Rates]] = {}
        self.asked: dict[str, tuple[Scenario, int]] = {}

    def of(self, wanted: Scenario, seeds: int) -> Sequence[Rates]:
        """The runs of a scenario; none yet while questions are being collected."""
        self.asked[wanted.name] = wanted, seeds
        return self.rates.get(wanted.name, ())

    def work(self, wanted: Scenario, seeds: int) -> float:
        """Geometric mean over seeds of a VM's mean throughput."""
        values = [statistics.fmean(rates.vm_work) for rates in self.of(wanted, seeds)]
        return statistics.geometric_mean([max(value, 1e-9) for value in values]) if values else 1.0

    def ratio(self, first: Scenario, second: Scenario, seeds: int) -> float:
        """Throughput of one over that of another."""
        return self.work(first, seeds) / self.work(second, seeds)

    def gain(self, first: Scenario, second: Scenario, seeds: int) -> float:
        """The same, as a gain in per cent."""
        return 100 * (self.ratio(first, second, seeds) - 1)

    def mean(self, field: str, wanted: Scenario, seeds: int) -> float:
        """Mean of a share, in per cent."""
        values = [getattr(rates, field) for rates in self.of(wanted, seeds)]
        return 100 * statistics.fmean(values) if values else 0.0


Question = Callable[[Results, int], float]

QUESTIONS: dict[str, Question] = {
    "T1-cost-2vm": lambda r, n: r.ratio(dbench("fifo", 1), dbench("fifo", 2), n),
    "T1-cost-3vm": lambda r, n: r.ratio(dbench("fifo", 3), dbench("fifo", 2), n),
    "T1-cost-4vm": lambda r, n: r.ratio(dbench("fifo", 4), dbench("fifo", 2), n),
    "T1-pv-1vm": lambda r, n: r.gain(dbench("pvqspinlock", 1), dbench("fifo", 1), n),
    "T1-pv-2vm": lambda r, n: r.gain(dbench("pvqspinlock", 2), dbench("fifo", 2), n),
    "T1-pv-4vm": lambda r, n: r.gain(dbench("pvqspinlock", 4), dbench("fifo", 4), n),
    "T3-owner-spinning": lambda r, n: r.ratio(owners("every", 64), owners("off", 64), n),
    "T3-compute": lambda r, n: r.gain(compute("every"), compute("off"), n),
    "T3-no-overcommit": lambda r, n: r.gain(owners("every", 32), owners("off", 32), n),
    "T6-pv-sched-yield": lambda r, n: r.gain(shootdowns(True), shootdowns(False), n),
    "T8-ple-off-pinned": lambda r, n: r.gain(pinned("off"), pinned("vmx"), n),
    "T10-two-hogs": lambda r, n: r.mean("steal_share", hogs(4, "one_to_one"), n),
    "L1-fair-locks": lambda r, n: r.ratio(lwp("tas"), lwp("fifo"), n),
    "L1-pv-locks": lambda r, n: r.ratio(lwp("pvqspinlock"), lwp("fifo"), n),
    "P1-stacked-2cpu": lambda r, n: r.mean("stacked", hogs(2, "launched"), LAUNCHES),
    "P1-stacked-4cpu": lambda r, n: r.mean("stacked", hogs(4, "launched"), LAUNCHES),
}
"""How each figure is measured here, by the id of its check."""


def answers(executor: Executor, wanted: Sequence[Check], seeds: int, say) -> dict[str, float]:
    """The figures of some checks; scenarios that several need are run once."""
    results = Results()
    for check in wanted:
        QUESTIONS[check.id](results, seeds)
    asked = list(results.asked.values())
    rates = run_all(executor, [Job(s, "stock", seed) for s, n in asked for seed in range(n)], say)
    at = 0
    for wanted_scenario, n in asked:
        results.rates[wanted_scenario.name] = rates[at : at + n]
        at += n
    return {check.id: QUESTIONS[check.id](results, seeds) for check in wanted}


def parts(executor: Executor, seeds: int, say) -> list[Part]:
    """Every published figure beside the simulator's."""
    seen = answers(executor, checks(), seeds, say)
    verdicts = tuple(
        Verdict(
            f"{check.id}: {check.says}",
            f"{check.low:g} to {check.high:g} {check.unit} (published {check.published:g})",
            f"{seen[check.id]:.3g} {check.unit}",
            check.low <= seen[check.id] <= check.high,
        )
        for check in checks()
    )
    words = f"{seeds} seeds; bands written down before the first run (`vcpu_env/validate/published.toml`)"
    return [Part("Published measurements", words, verdicts)]
