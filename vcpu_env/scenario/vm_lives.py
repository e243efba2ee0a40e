"""VMs that are paused and go on during a run, that leave for another host or arrive from one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vcpu_env.scenario.cgroups import Change
from vcpu_env.scenario.vm import Vm

DOWNTIME_NS = 300_000_000
"""QEMU's downtime-limit: how long a migration may stop a VM [source]."""

BEFORE = {"suspend": "runs", "resume": "paused", "migrate-out": "runs", "migrate-in": "elsewhere"}
"""What a VM has to be for each."""
AFTER = {"suspend": "paused", "resume": "runs", "migrate-out": "gone", "migrate-in": "runs"}


@dataclass(frozen=True)
class VmStop:
    """A VM, by its number, stops at a time, or goes on."""

    at_ns: int
    vm: int
    stops: bool


def downtime_ns(change: Change) -> int:
    """How long a migration stops its VM."""
    return DOWNTIME_NS if change.downtime_ns is None else change.downtime_ns


def copies_of(vm: Vm) -> list[str]:
    """The names of a VM's copies, its own if there is one only."""
    return [vm.name] if vm.count == 1 else [f"{vm.name}-{k + 1}" for k in range(vm.count)]


def lives_of(name: str, changes: Iterable[tuple[int, Change]], origin: str) -> list[tuple[int, Change]]:
    """What happens to one VM, in the order of time, with each change's place; `origin`: of which it is a copy."""
    own = [(i, change) for i, change in changes if change.life is not None and change.vm in (name, origin)]
    return sorted(own, key=lambda entry: entry[1].at_ns)


def migrated(copies: Iterable[tuple[Vm, str]], changes: Sequence[Change]) -> tuple[Vm, ...]:
    """VMs, each with the name of which it is a copy, with an end if they leave, and without a boot if they arrive: they
    have booted elsewhere.
    """
    found = []
    for vm, origin in copies:
        update: dict[str, Any] = {}
        for _, change in lives_of(vm.name, enumerate(changes), origin):
            if change.life == "migrate-out":
                update["stop_ns"] = change.at_ns + downtime_ns(change)
            elif change.life == "migrate-in":
                update["boot_ns"] = 0
        found.append(vm.model_copy(update=update) if update else vm)
    return tuple(found)


def vm_stops(scenario: Any) -> list[VmStop]:
    """When VMs stop and go on. A VM that leaves ends (`stop_ns`) when its downtime is over, as `migrated` says.

    Raises:
        ValueError: an order that cannot be, as a resume of a VM that runs.
    """
    known = [name for vm in scenario.vms for name in (vm.name, *copies_of(vm))]
    for i, change in enumerate(scenario.changes):
        if change.life is not None and change.vm not in known:
            raise ValueError(f"changes.{i}.vm: value '{change.vm}' (allowed: {', '.join(dict.fromkeys(known))})")
    stops, number = [], 0
    for vm in scenario.vms:
        for name in copies_of(vm):
            stops += _stops_of(vm, number, lives_of(name, enumerate(scenario.changes), vm.name))
            number += 1
    return sorted(stops, key=lambda stop: stop.at_ns)


def _stops_of(vm: Vm, number: int, lives: list[tuple[int, Change]]) -> list[VmStop]:
    state = "elsewhere" if lives and lives[0][1].life == "migrate-in" else "runs"
    free_ns, stops = vm.start_ns, []
    for i, change in lives:
        kind = str(change.life)
        if state != BEFORE[kind]:
            raise ValueError(f"changes.{i}.life: value '{kind}' (allowed: of a VM that {_said(BEFORE[kind])})")
        if change.at_ns < free_ns or (vm.stop_ns is not None and change.at_ns >= vm.stop_ns):
            until = "" if vm.stop_ns is None else f", before its stop_ns, {vm.stop_ns}"
            raise ValueError(f"changes.{i}.at_ns: value {change.at_ns} (allowed: from {free_ns} on{until})")
        if kind == "migrate-out" and vm.stop_ns is not None:
            raise ValueError(f"changes.{i}.life: value '{kind}' (allowed: of a VM without stop_ns)")
        state = AFTER[kind]
        goes_ns = change.at_ns + (downtime_ns(change) if kind == "migrate-in" else 0)
        stops.append(VmStop(goes_ns, number, stops=state != "runs"))
        free_ns = goes_ns + 1
    return stops


def _said(state: str) -> str:
    return {"runs": "runs", "paused": "is paused", "elsewhere": "has not been here yet, as its first change"}[state]


def arriving(scenario: Any) -> list[int]:
    """The VMs, by number, that are not here at first."""
    seen: set[int] = set()
    found = []
    for stop in vm_stops(scenario):
        if stop.vm not in seen and not stop.stops:
            found.append(stop.vm)
        seen.add(stop.vm)
    return found
