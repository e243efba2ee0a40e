"""What a scenario's changes write under /sys, and which vCPUs they pin, under the names that an operator uses."""

from dataclasses import dataclass
from typing import Any

from vcpu_env.kernel.features import FEATURES
from vcpu_env.scenario.bounds import LARGEST_FACTOR, UINT_MAX
from vcpu_env.scenario.cgroups import Change
from vcpu_env.scenario.errors import nearest, shown
from vcpu_env.scenario.host_tasks import wrong_cpus

KVM, SCHED = "/sys/module/kvm/parameters/", "/sys/kernel/debug/sched/"

FILES = {
    f"{KVM}halt_poll_ns": (0, UINT_MAX),
    f"{KVM}halt_poll_ns_grow": (0, LARGEST_FACTOR),
    f"{KVM}halt_poll_ns_grow_start": (0, UINT_MAX),
    f"{KVM}halt_poll_ns_shrink": (0, UINT_MAX),
    f"{KVM}ipi_tracking_enabled": (0, 1),
    f"{KVM}ipi_window_ns": (0, 1 << 62),
    f"{KVM}enable_relaxed_boost": (0, 1),
    f"{SCHED}base_slice_ns": (100_000, 100_000_000),
    f"{SCHED}migration_cost_ns": (0, 1_000_000_000),
    f"{SCHED}vcpu_debooster_enabled": (0, LARGEST_FACTOR),
}
"""Files that take a number, and its bounds. The series' switches change nothing without its patches."""

PREEMPT, FEATURE = f"{SCHED}preempt", f"{SCHED}features"
MODELS = ("full", "lazy")
READ_ONLY = ("ple_gap", "ple_window", "ple_window_grow", "ple_window_shrink", "ple_window_max")
"""Parameters of kvm_intel that Linux takes when the module is loaded only."""


@dataclass(frozen=True)
class HostWrite:
    """A write to a file: when, the file's last name (of `features`: the feature), and the number that it becomes."""

    at_ns: int
    name: str
    value: int


@dataclass(frozen=True)
class Pin:
    """A vCPU, by its number among all, that may run on these CPUs from now on."""

    at_ns: int
    vcpu: int
    cpus: tuple[int, ...]


def host_writes(scenario: Any) -> list[HostWrite]:
    """The writes under /sys, in the order of the scenario.

    Raises:
        ValueError: one that Linux would refuse.
    """
    return [write_of(i, change) for i, change in enumerate(scenario.changes) if change.file is not None]


def write_of(i: int, change: Change) -> HostWrite:
    """One of them."""
    file, value = str(change.file), change.value
    name = file.rpartition("/")[2]
    if file == PREEMPT:
        if value not in MODELS:
            raise ValueError(f"changes.{i}.value: value {shown(value)} (allowed: {', '.join(MODELS)})")
        return HostWrite(change.at_ns, name, MODELS.index(str(value)))
    if file == FEATURE:
        feature = str(value).removeprefix("NO_")
        if feature not in FEATURES:
            allowed = nearest(feature, FEATURES)
            raise ValueError(f"changes.{i}.value: value {shown(value)} (a feature, or NO_ and a feature; {allowed})")
        return HostWrite(change.at_ns, feature, int(feature == value))
    if file not in FILES:
        if name in READ_ONLY:
            raise ValueError(f"changes.{i}.file: value '{file}' (allowed: files that Linux lets write; set kvm.{name})")
        raise ValueError(f"changes.{i}.file: value '{file}' ({nearest(file, (*FILES, PREEMPT, FEATURE))})")
    low, high = FILES[file]
    number = {"Y": 1, "N": 0}.get(str(value), value) if high == 1 else value
    if not isinstance(number, int) or not low <= number <= high:
        raise ValueError(f"changes.{i}.value: value {shown(value)} (allowed: {low}..{high})")
    return HostWrite(change.at_ns, name, number)


def pins(scenario: Any) -> list[Pin]:
    """The vCPUs that are pinned during the run; a change of a VM with copies is of all of them.

    Raises:
        ValueError: a CPU or vCPU that there is not.
    """
    found = []
    for i, change in enumerate(scenario.changes):
        if change.cpus is None:
            continue
        if wrong := wrong_cpus(change.cpus, scenario.host.cpus):
            raise ValueError(f"changes.{i}.{wrong}")
        copies = {vm.name: [f"{vm.name}-{k + 1}" for k in range(vm.count)] for vm in scenario.vms if vm.count > 1}
        names = copies.get(change.vm, [change.vm])
        first, known = 0, list(copies)
        for vm in scenario.expanded_vms:
            known.append(vm.name)
            if vm.name in names:
                if change.vcpu is not None and change.vcpu >= vm.vcpus:
                    raise ValueError(f"changes.{i}.vcpu: value {change.vcpu} (allowed: 0..{vm.vcpus - 1})")
                vcpus = range(vm.vcpus) if change.vcpu is None else [change.vcpu]
                found += [Pin(change.at_ns, first + vcpu, change.cpus) for vcpu in vcpus]
            first += vm.vcpus
        if not set(names) <= set(known):
            raise ValueError(f"changes.{i}.vm: value '{change.vm}' (allowed: {', '.join(known)})")
    return found
