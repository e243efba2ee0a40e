"""The hosts of a question: a scenario at other ratios of vCPUs to CPUs, and each of its VMs alone."""

import re
from collections.abc import Sequence
from typing import Any

from vcpu_env.scenario import Scenario, Vm
from vcpu_env.scenario.errors import InputError

LARGEST_RATIO = 64.0
CPUS, VCPUS = 8, 4
"""Of the host of a question about a workload, and of each of its VMs: ratios in steps of a half."""


class QuestionError(InputError):
    """A question that cannot be answered: one line that says why."""


def parse_ratio(text: str, option: str) -> float:
    """The number that a ratio like ``1.5:1`` or ``2`` means, of an option of the command line.

    Raises:
        QuestionError: it is none.
    """
    match = re.fullmatch(r"(\d{1,2}(?:\.\d{1,3})?)(?::1)?", text.strip(), re.ASCII)
    ratio = float(match[1]) if match else 0.0
    if not 0 < ratio <= LARGEST_RATIO:
        raise QuestionError(f"{option}: value '{text:.40}' (allowed: N:1 with N above 0, up to {LARGEST_RATIO:g})")
    return ratio


def workload_host(workload: str, overrides: Sequence[str] = ()) -> Scenario:
    """Eight CPUs and one VM of four vCPUs that runs a workload.

    Raises:
        ScenarioError: an override is wrong.
    """
    from vcpu_env.scenario import apply_overrides

    scenario = Scenario(
        name=re.sub(r"[^A-Za-z0-9_.-]", "-", workload.removesuffix(".toml"))[:40].lstrip("_.-") or "host",
        host={"cpus": CPUS},
        vms=[{"name": "vm", "vcpus": VCPUS, "workload": workload}],
        run={"duration_ns": 500_000_000},
    )
    return apply_overrides(scenario, overrides)


def ratio_of(scenario: Scenario) -> float:
    """vCPUs for each CPU."""
    return sum(vm.vcpus * vm.count for vm in scenario.vms) / scenario.host.cpus


def named(ratio: float) -> str:
    """How a ratio is written."""
    return f"{ratio:.3g}:1"


def with_vms(scenario: Scenario, vms: Sequence[Vm], name: str) -> Scenario:
    """The same host with other VMs; what was said of VMs that are no longer there goes with them."""
    data: dict[str, Any] = scenario.model_dump(exclude_unset=True)
    names = {vm.name for vm in vms}
    data["vms"] = [vm.model_dump(exclude_unset=True) for vm in vms]
    data["host_tasks"] = [
        task.model_dump(exclude_unset=True) for task in scenario.host_tasks if task.vm is None or task.vm in names
    ]
    data["changes"] = [
        change.model_dump(exclude_unset=True) for change in scenario.changes if change.vm is None or change.vm in names
    ]
    return Scenario(**data | {"name": name})


def at_ratio(scenario: Scenario, ratio: float) -> tuple[Scenario, list[int]]:
    """A host with as many of its VMs, in turn and again in turn, as come nearest to a ratio.

    Returns:
        The scenario, and for each of its VMs the place of the one that it is a copy of among the given host's.

    Raises:
        ScenarioError: too many vCPUs.
    """
    vms, wanted = scenario.expanded_vms, ratio * scenario.host.cpus
    chosen: list[int] = []
    total = 0
    while True:
        origin = len(chosen) % len(vms)
        after = total + vms[origin].vcpus
        if chosen and abs(after - wanted) >= abs(total - wanted):
            break
        chosen.append(origin)
        total = after
    copies = [
        vms[origin].model_copy(update={"name": copy_name(vms[origin].name, i // len(vms))})
        for i, origin in enumerate(chosen)
    ]
    return with_vms(scenario, copies, f"{scenario.name[:48]}-at-{total / scenario.host.cpus:.3g}"), chosen


def copy_name(name: str, round_: int) -> str:
    """What a VM's copy in a later round is called."""
    return name if round_ == 0 else f"{name[:56]}.{round_ + 1}"


def kinds_of(scenario: Scenario) -> list[int]:
    """For each VM the first that is the same but for its name."""
    seen: dict[str, int] = {}
    return [
        seen.setdefault(vm.model_copy(update={"name": ""}).model_dump_json(), i)
        for i, vm in enumerate(scenario.expanded_vms)
    ]


def alone(scenario: Scenario, place: int) -> Scenario:
    """A host with one of its VMs only."""
    vm = scenario.expanded_vms[place]
    return with_vms(scenario, [vm], f"{scenario.name[:30]}-alone-{vm.name[:26]}")
