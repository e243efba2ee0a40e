"""From the rows of cells to what is claimed: the cost of each ratio, and what each knob gives and whom it harms."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from baselines.cells import Row
from baselines.overcommit.hosts import named, ratio_of
from baselines.overcommit.knobs import Setting
from baselines.power import seeds_needed
from baselines.statistics import Array, Estimate, change, estimate, geometric_mean, log2_percentile, paired_ratios
from vcpu_env.scenario import Scenario

HARM = -0.02
"""A VM is harmed if it loses more than this, and its interval is below zero."""
HISTOGRAMS = {"ipi": "vm_ipi_latency_log2", "lock": "vm_lock_wait_log2"}


@dataclass(frozen=True)
class Crowd:
    """One host of a question with its rows.

    Attributes:
        scenario: the host.
        origins: for each VM the place of the one that it is a copy of on the host of the question.
        rows: a row a seed, in the order of seeds.
    """

    scenario: Scenario
    origins: Sequence[int]
    rows: Sequence[Row]

    def rates(self) -> Array:
        """Throughput of each VM, (seeds, VMs)."""
        return np.array([row["vm_units_per_s"] for row in self.rows], float)

    def sums(self, name: str, places: Sequence[int]) -> Array:
        """A counter of some VMs, (seeds,)."""
        return np.array([[row[f"vm_{name}"][i] for i in places] for row in self.rows], float).sum(axis=1)

    def walls(self, places: Sequence[int]) -> Array:
        """Life of the vCPUs of some VMs, ns, (seeds,)."""
        vms = self.scenario.expanded_vms
        return np.array([sum(vms[i].vcpus * row["vm_alive_ns"][i] for i in places) for row in self.rows], float)


@dataclass(frozen=True)
class Cost:
    """What a ratio costs some VMs.

    Attributes:
        vms: which: a workload, or one VM of the host with its copies.
        kept: throughput relative to the same VMs alone.
        ready, steal, halted: shares of their vCPUs' life.
        spin: share of their guests' time.
        host: share of all CPUs' time that is the host kernel's.
        latency_ns: percentiles of latencies by (what, share); None where there were none.
    """

    ratio: float
    vms: str
    count: int
    kept: Estimate
    ready: Estimate
    steal: Estimate
    halted: Estimate
    spin: Estimate
    host: Estimate
    latency_ns: dict[tuple[str, float], Estimate | None]

    def row(self) -> Row:
        """As a row of a table."""
        row: Row = {"ratio": named(self.ratio), "vms": self.vms, "count": self.count}
        for name in ("kept", "ready", "steal", "halted", "spin", "host"):
            value: Estimate = getattr(self, name)
            row |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
        for (what, share), latency in self.latency_ns.items():
            row[f"{what}_p{100 * share:g}_ns"] = float("nan") if latency is None else latency.value
        return row


def share_of(above: Array, below: Array) -> Estimate:
    """A ratio of sums over seeds, with its interval; 0 where nothing is below."""

    def statistic(a: Array, b: Array) -> Array:
        whole = b.sum(axis=1)
        return np.divide(a.sum(axis=1), whole, out=np.zeros(whole.shape), where=whole > 0)

    return estimate(statistic, above, below)


def relative(crowd: Crowd, alone: dict[int, Array]) -> Array:
    """Throughput of each VM relative to the same VM alone with the same seed, (seeds, VMs)."""
    rates = crowd.rates()
    base = np.stack([alone[origin] for origin in crowd.origins], axis=1)
    return paired_ratios(rates, base)


def kept(ratios: Array) -> Estimate:
    """Geometric mean of ratios over seeds and VMs, with its interval over seeds."""
    value = change([geometric_mean(ratios)])
    return Estimate(1.0 + value.value, 1.0 + value.low, 1.0 + value.high)


def cost(crowd: Crowd, alone: dict[int, Array], vms: str, places: Sequence[int]) -> Cost:
    """What a host's ratio costs the VMs at these places."""
    wall = crowd.walls(places)
    latencies: dict[tuple[str, float], Estimate | None] = {}
    for what, column in HISTOGRAMS.items():
        counts = np.array([np.sum([row[column][i] for i in places], axis=0) for row in crowd.rows], float)
        for share in (0.5, 0.99):
            latencies[what, share] = None
            if counts.sum() and counts.sum(axis=1).all():
                latencies[what, share] = estimate(lambda drawn, p=share: log2_percentile(drawn.sum(axis=1), p), counts)
    host = np.array([row["host_host_ns"] for row in crowd.rows], float)
    cpus = np.array([row["time_ns"] * crowd.scenario.host.cpus for row in crowd.rows], float)
    return Cost(
        ratio=ratio_of(crowd.scenario),
        vms=vms,
        count=len(places),
        kept=kept(relative(crowd, alone)[:, places]),
        ready=share_of(crowd.sums("ready_ns", places), wall),
        steal=share_of(crowd.sums("steal_ns", places), wall),
        halted=share_of(crowd.sums("halted_ns", places), wall),
        spin=share_of(crowd.sums("spin_ns", places), crowd.sums("run_ns", places)),
        host=share_of(host, cpus),
        latency_ns=latencies,
    )


def costs(crowd: Crowd, alone: dict[int, Array], by_vm: bool) -> list[Cost]:
    """What a host's ratio costs all of its VMs, and each workload, or each VM, if there are several."""
    vms = crowd.scenario.expanded_vms
    names = [vms[crowd.origins.index(o)].name if by_vm else vms[i].workload for i, o in enumerate(crowd.origins)]
    groups = {name: [i for i, other in enumerate(names) if other == name] for name in dict.fromkeys(names)}
    everybody = [cost(crowd, alone, "all" if len(groups) > 1 else names[0], range(len(vms)))]
    return everybody + [cost(crowd, alone, *group) for group in groups.items() if len(groups) > 1]


@dataclass(frozen=True)
class Effect:
    """What a setting of knobs gives against the plain host.

    Attributes:
        ratios: geometric mean over VMs of throughput relative to the plain host, a number a seed.
        gain: its change, over seeds.
        ready: change of CPU Ready, in parts of the vCPUs' life.
        worst, worst_change: the VM that does worst.
        harmed: VMs that lose.
    """

    setting: Setting
    ratios: Array
    gain: Estimate
    ready: Estimate
    worst: str
    worst_change: Estimate
    harmed: tuple[str, ...]

    @property
    def is_patch(self) -> bool:
        """Whether it takes a kernel that nobody can run yet."""
        return any(knob.needs == "patch" for knob in self.setting.knobs)

    def row(self) -> Row:
        """As a row of a table."""
        return {
            "knob": self.setting.name,
            "what": "; ".join(knob.what for knob in self.setting.knobs),
            "needs": self.setting.needs,
            "gain": self.gain.value,
            "gain_low": self.gain.low,
            "gain_high": self.gain.high,
            "ready_change": self.ready.value,
            "ready_change_low": self.ready.low,
            "ready_change_high": self.ready.high,
            "worst_vm": self.worst,
            "worst_change": self.worst_change.value,
            "worst_change_low": self.worst_change.low,
            "worst_change_high": self.worst_change.high,
            "harmed": list(self.harmed),
            "risk": self.setting.risk,
        }


def effect(setting: Setting, crowd: Crowd, plain: Crowd) -> Effect:
    """What a setting gives: its rows beside those of the plain host on the same seeds."""
    ratios = paired_ratios(crowd.rates(), plain.rates())
    changes = [change([ratios[:, i]]) for i in range(ratios.shape[1])]
    worst = int(np.argmin([one.value for one in changes]))
    names = [vm.name for vm in plain.scenario.expanded_vms]
    everybody = range(len(names))

    def difference(a: Array, b: Array, c: Array, d: Array) -> Array:
        return a.sum(axis=1) / b.sum(axis=1) - c.sum(axis=1) / d.sum(axis=1)

    ready = [(host.sums("ready_ns", everybody), host.walls(everybody)) for host in (crowd, plain)]
    return Effect(
        setting=setting,
        ratios=geometric_mean(ratios),
        gain=change([geometric_mean(ratios)]),
        ready=estimate(difference, *ready[0], *ready[1]),
        worst=names[worst],
        worst_change=changes[worst],
        harmed=tuple(name for name, one in zip(names, changes, strict=True) if one.value < HARM and one.high < 0.0),
    )


def ranked(effects: Sequence[Effect]) -> list[Effect]:
    """The largest gain first; what is not known, last."""
    return sorted(effects, key=lambda one: (math.isnan(one.gain.value), -one.gain.value))


def seeds_to_rank(effects: Sequence[Effect], first: int = 3) -> int | None:
    """Seeds at which each of the first few would be told from the next; None if they are, or it is not known."""
    needed = 0
    for better, worse in itertools.pairwise(effects[: first + 1]):
        ratios = better.ratios / worse.ratios
        if change([ratios]).low > 0.0:
            continue
        gap = float(geometric_mean(ratios)) - 1.0
        seeds = seeds_needed([ratios], gap) if gap > 1e-4 else None
        if seeds is None:
            return None
        needed = max(needed, seeds, len(ratios) + 1)
    return needed or None


def are_ranked(effects: Sequence[Effect], first: int = 3) -> bool:
    """Whether each of the first few can be told from the next."""
    pairs = itertools.pairwise(effects[: first + 1])
    return all(change([better.ratios / worse.ratios]).low > 0.0 for better, worse in pairs)
