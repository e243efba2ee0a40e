"""What a scenario's changes write to which group, in order, and what the kernel would refuse of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from vcpu_env.scenario.cgroups import DEFAULT_WEIGHT, NO_QUOTA, Change, check_quota

OF_THREADS = ("vcpu_quota_us", "emulator_quota_us", "iothread_quota_us")
"""Limits of groups of a VM's threads, which only libvirt's layout has."""


class Cgroups(Protocol):
    """What is needed of a scenario."""

    @property
    def groups(self) -> Sequence[Any]:
        """Groups beside those of VMs."""

    @property
    def changes(self) -> Sequence[Change]:
        """What is written, and when."""

    @property
    def vms(self) -> Sequence[Any]:
        """VMs as they are described, copies together."""

    @property
    def host(self) -> Any:
        """Has `cgroups`, the layout."""

    @property
    def expanded_vms(self) -> Sequence[Any]:
        """Every VM by itself."""


@dataclass
class Limits:
    """The limits of one group at a moment."""

    weight: int
    idle: bool
    quota_us: int
    period_us: int
    burst_us: int


@dataclass(frozen=True)
class Write:
    """A change of one group, with the group's limits after it.

    Attributes:
        at_ns: when.
        owner: ("group", name) or ("vm", name of one VM).
        kind: "weight", "idle" or "bandwidth".
    """

    at_ns: int
    owner: tuple[str, str]
    kind: str
    limits: Limits


def limits_of(part: Any) -> Limits:
    """What a group or a VM starts with."""
    return Limits(part.weight, part.idle, part.quota_us, part.period_us, part.burst_us)


def owners(scenario: Cgroups, i: int) -> list[tuple[str, str]]:
    """The groups that the change with index `i` is about; refuses names that do not exist."""
    change = scenario.changes[i]
    if change.group is not None:
        groups = [group.name for group in scenario.groups]
        if change.group not in groups:
            raise ValueError(
                f"changes.{i}.group: value '{change.group}' (allowed: {', '.join(groups) or 'no group is defined'})"
            )
        return [("group", change.group)]
    if scenario.host.cgroups == "flat":
        raise ValueError(f"changes.{i}.vm: given (allowed: group, since host.cgroups is 'flat')")
    copies = {vm.name: [f"{vm.name}-{k + 1}" for k in range(vm.count)] for vm in scenario.vms if vm.count > 1}
    names = copies.get(str(change.vm), [str(change.vm)])
    for name in names:
        vm = next((vm for vm in scenario.expanded_vms if vm.name == name), None)
        if vm is None:
            known = ", ".join([*copies, *(vm.name for vm in scenario.expanded_vms)])
            raise ValueError(f"changes.{i}.vm: value '{change.vm}' (allowed: {known})")
        if vm.vcpu_groups is not None:
            raise ValueError(f"changes.{i}.vm: value '{change.vm}' (allowed: VMs without vcpu_groups)")
    return [("vm", name) for name in names]


def writes(scenario: Cgroups) -> list[Write]:
    """The changes of a scenario group by group, in the order in which they happen.

    Raises:
        ValueError: one that the kernel would refuse, or of a group that does not exist.
    """
    limits = {("group", group.name): limits_of(group) for group in scenario.groups}
    limits |= {("vm", vm.name): limits_of(vm) for vm in scenario.expanded_vms}
    done = []
    for i in sorted(range(len(scenario.changes)), key=lambda i: scenario.changes[i].at_ns):
        change = scenario.changes[i]
        for owner in owners(scenario, i) if change.of_cgroup else ():
            now = limits[owner]
            if change.weight is not None:
                if now.idle:
                    raise ValueError(f"changes.{i}.weight: value {change.weight} (allowed: none while idle is true)")
                now.weight, kind = change.weight, "weight"
            elif change.idle is not None:
                now.idle, now.weight, kind = change.idle, DEFAULT_WEIGHT, "idle"
            else:
                for field in ("quota_us", "period_us", "burst_us"):
                    if getattr(change, field) is not None:
                        setattr(now, field, getattr(change, field))
                check_quota(f"changes.{i}.", now.quota_us, now.burst_us)
                kind = "bandwidth"
            done.append(Write(change.at_ns, owner, kind, Limits(**vars(now))))
    return done


def check_cgroups(scenario: Cgroups) -> None:
    """Refuse limits of groups that the scenario's layout does not have, and changes that cannot be."""
    preset = scenario.host.cgroups
    for i, vm in enumerate(scenario.vms):
        off: dict[str, int | bool] = {"quota_us": NO_QUOTA, "idle": False} | dict.fromkeys(OF_THREADS, NO_QUOTA)
        for field, without in off.items():
            why, value = "", getattr(vm, field)
            if vm.vcpu_groups is not None:
                why = "vcpu_groups takes the place of the VM's own groups"
            elif preset == "flat" or (field in OF_THREADS and preset != "libvirt"):
                why = f"host.cgroups is '{preset}'"
            if why and value != without:
                raise ValueError(f"vms.{i}.{field}: value {value} (allowed: {without}, since {why})")
    writes(scenario)
