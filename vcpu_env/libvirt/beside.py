"""A measured host beside the simulated one: quantity by quantity, and how many come near."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vcpu_env.counters import measure
from vcpu_env.kvm.types import COUNTERS
from vcpu_env.libvirt.measured import DomainSeries, Interval
from vcpu_env.libvirt.tree import LibvirtError
from vcpu_env.scenario import Scenario
from vcpu_env.scenario.errors import nearest

KVM_NAMES = tuple(COUNTERS[: COUNTERS.index("preemption_other") + 1])
"""KVM's counters that are simulated; `pause_exits` is none of KVM's, and found in no log."""
NEAR, POINTS = 0.1, 0.01
"""A figure comes near if it is within a tenth, a share also within a point."""
MANY = 5
"""Intervals of which a spread can be told."""


@dataclass(frozen=True)
class Beside:
    """One quantity of a VM, or of the host.

    Attributes:
        of: the VM, or whose counters they are.
        share: of the vCPUs' time, a part of one; else a number a second.
        measured: over the whole series.
        spread: the 10th and 90th percentile over its intervals; nothing if there are few.
        simulated: a number a seed.
    """

    of: str
    quantity: str
    share: bool
    measured: float
    spread: tuple[float, float] | None
    simulated: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Simulated, over all seeds."""
        return float(np.mean(self.simulated))

    @property
    def near(self) -> bool:
        """Whether the simulated host comes near the measured one."""
        off = abs(self.mean - self.measured)
        return off <= NEAR * abs(self.measured) or (self.share and off <= POINTS)

    def row(self) -> dict[str, Any]:
        """As data."""
        low, high = self.spread or (None, None)
        return {
            "of": self.of,
            "quantity": self.quantity,
            "unit": "share" if self.share else "1/s",
            "measured": self.measured,
            "measured_p10": low,
            "measured_p90": high,
            "simulated": list(self.simulated),
            "near": self.near,
        }


@dataclass(frozen=True)
class Measured:
    """All that was measured on a host.

    Attributes:
        domains: by name; those of the scenario, or none.
        kvm: the log of kvm_stat, of the whole host.
        steal: for each VM the shares of its time that were stolen.
    """

    domains: Mapping[str, DomainSeries]
    kvm: Sequence[Interval]
    steal: Mapping[str, Sequence[float]]


def simulate(scenario: Scenario, seeds: int) -> list[dict[str, Any]]:
    """What the simulated host counts in its measured time, a run a seed."""
    from vcpu_env.machine import Machine
    from vcpu_env.precompile import ensure_compiled

    ensure_compiled()
    return [measure(Machine(scenario, seed=seed), scenario.run) for seed in range(seeds)]


def check_measured(scenario: Scenario, measured: Measured) -> None:
    """Refuse measurements that are not of this host's VMs.

    Raises:
        LibvirtError: a VM has no domain, or another number of vCPUs; a guest is none of the VMs.
    """
    vms = {vm.name: vm for vm in scenario.expanded_vms}
    for name in measured.steal:
        if name not in vms:
            raise LibvirtError(f"--steal: value '{name}' is no VM ({nearest(name, list(vms))})")
    for name, vm in vms.items() if measured.domains else ():
        if name not in measured.domains:
            raise LibvirtError(f"--domstats: no domain '{name}' ({nearest(name, list(measured.domains))})")
        if (vcpus := measured.domains[name].vcpus) != vm.vcpus:
            raise LibvirtError(f"--domstats: domain '{name}' has {vcpus} vCPUs (allowed: {vm.vcpus}, as in HOST)")


def compare(scenario: Scenario, measured: Measured, runs: Sequence[Mapping[str, Any]]) -> list[Beside]:
    """All quantities that were measured, beside the simulated ones."""
    found: list[Beside] = []
    vms = scenario.expanded_vms
    for i, vm in enumerate(vms):
        own = [(run["vms"][i], vm.vcpus * run["vms"][i]["alive_ns"]) for run in runs]

        def simulated(column: str, own: Sequence[tuple[Mapping[str, Any], int]] = own) -> tuple[float, ...]:
            return tuple(counts[column] / life for counts, life in own)

        if series := measured.domains.get(vm.name):
            found.append(share(vm.name, "on a CPU", series, ("time",), simulated("cpu_ns")))
            found.append(share(vm.name, "CPU Ready (delay)", series, ("delay",), simulated("ready_ns")))
            asleep = share(vm.name, "", series, ("time", "delay"), ())
            spread = asleep.spread and (1 - asleep.spread[1], 1 - asleep.spread[0])
            found.append(Beside(vm.name, "asleep", True, max(0.0, 1 - asleep.measured), spread, simulated("halted_ns")))
        if shares := measured.steal.get(vm.name):
            found.append(
                Beside(vm.name, "steal in the guest", True, mean(shares), spread_of(shares), simulated("steal_ns"))
            )
    if measured.domains:
        every = together([measured.domains[vm.name] for vm in vms])
        found += kvm_counters("KVM (domstats)", every, scenario, runs)
    return found + kvm_counters("KVM (kvm_stat)", measured.kvm, scenario, runs)


def share(of: str, quantity: str, series: DomainSeries, columns: Sequence[str], simulated: tuple[float, ...]) -> Beside:
    """A share of the vCPUs' time."""
    parts = [
        sum(one.counts.get(c, 0) for c in columns) / (one.seconds * 1e9 * series.vcpus) for one in series.intervals
    ]
    seconds = [one.seconds for one in series.intervals]
    return Beside(of, quantity, True, float(np.average(parts, weights=seconds)), spread_of(parts), simulated)


def together(series: Sequence[DomainSeries]) -> list[Interval]:
    """The counters of several domains as one."""
    columns = [one.intervals for one in series]
    return [
        Interval(row[0].seconds, {name: sum(one.counts.get(name, 0) for one in row) for name in row[0].counts})
        for row in zip(*columns, strict=True)
    ]


def kvm_counters(
    of: str, intervals: Sequence[Interval], scenario: Scenario, runs: Sequence[Mapping[str, Any]]
) -> list[Beside]:
    """KVM's counters by the second, times as shares of all vCPUs' time; those that are 0 on both sides are left out."""
    found = []
    vcpus = sum(vm.vcpus for vm in scenario.expanded_vms)
    seconds = sum(one.seconds for one in intervals)
    for name in KVM_NAMES if intervals else ():
        if name not in intervals[0].counts:
            continue
        is_share = name.endswith("_ns")
        unit = 1e9 * vcpus if is_share else 1.0
        counts = [one.counts[name] / unit for one in intervals]
        rates = [count / one.seconds for count, one in zip(counts, intervals, strict=True) if one.seconds]
        simulated = tuple(run["kvm"][name] / unit / (run["time_ns"] / 1e9) for run in runs)
        if any(counts) or any(simulated):
            found.append(Beside(of, name, is_share, sum(counts) / seconds, spread_of(rates), simulated))
    return found


def mean(values: Sequence[float]) -> float:
    """Their mean."""
    return float(np.mean(values))


def spread_of(values: Sequence[float]) -> tuple[float, float] | None:
    """The 10th and the 90th percentile."""
    if len(values) < MANY:
        return None
    low, high = np.quantile(values, [0.1, 0.9])
    return float(low), float(high)


def table_lines(rows: Sequence[Beside]) -> list[str]:
    """The table: 80 columns."""
    lines = [f"{'':28}{'measured':>10}{'10..90 %':>14}{'simulated':>11}{'seeds':>14}"]
    last = ""
    for row in rows:
        if row.of != last:
            last = row.of
            lines += ["", row.of]
        ends = min(row.simulated), max(row.simulated)
        over_time, over_seeds = between(row.spread, row.share), between(ends, row.share)
        own, other = written(row.measured, row.share), written(row.mean, row.share)
        lines.append(
            f"  {row.quantity:26}{own:>10}{over_time:>14}{other:>11}{over_seeds:>14}  {'' if row.near else '!'}"
        )
    near = sum(row.near for row in rows)
    lines += ["", f"{near} of {len(rows)} within 10 % (of shares: or one point); the others are marked !"]
    return [line.rstrip() for line in lines]


def written(value: float, is_share: bool) -> str:
    """A number with its unit."""
    if is_share:
        return f"{100 * value:.1f}%"
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * factor:
            return f"{value / factor:.3g}{letter}/s"
    return f"{value:.3g}/s"


def between(ends: tuple[float, float] | None, is_share: bool) -> str:
    """The ends of a spread, without their unit."""
    if ends is None or not all(map(math.isfinite, ends)):
        return ""
    return "..".join(written(end, is_share).removesuffix("/s").removesuffix("%") for end in ends)
