"""What kind of host and guest a scenario has, axis by axis: what a suite's splits are said to differ in."""

from collections.abc import Sequence

from vcpu_env.scenario import Scenario
from vcpu_env.scenario.splits import programs
from vcpu_env.scenario.vm import Vm

FULL_PV = ("pv_tlb_flush", "pv_sched_yield")
LARGE_HOST_CPUS = 16


def kinds(scenario: Scenario) -> dict[str, tuple[str, ...]]:
    """The kinds of a scenario by axis; more than one where its VMs differ."""
    host, vms = scenario.host, scenario.vms
    return {
        "kernel": (host.kernel,),
        "cgroups": ("nested" if scenario.groups else host.cgroups,),
        "placement": ("pinned sets" if any(vm.pinning for vm in vms) else host.placement,),
        "guest": tuple(dict.fromkeys(guest(vm) for vm in vms)),
        "interrupts": (scenario.kvm.apicv,),
        "PLE": (scenario.kvm.ple,),
        "tick": (f"{host.hz} Hz",),
        "caches": (caches(scenario),),
        "quota": (quota(scenario),),
        "weights": (weights(scenario),),
        "noise": ((host.noise or "quiet") + (" and tasks" if scenario.host_tasks else ""),),
        "programs": tuple(programs(scenario).split(", ")),
        "overcommit": (overcommit_class(scenario),),
        "CPUs": (f"up to {LARGE_HOST_CPUS}" if host.cpus <= LARGE_HOST_CPUS else "more",),
    }


def guest(vm: Vm) -> str:
    """What kind of guest kernel a VM has, by its locks and what it is told."""
    if vm.lock == "fifo":
        return "Windows-like" if vm.steal_time == "off" else "told it is alone"
    if vm.lock == "tas":
        return "plain"
    return "PV Linux with all features" if all(getattr(vm, name) for name in FULL_PV) else "PV Linux"


def caches(scenario: Scenario) -> str:
    """What the CPUs share."""
    text = scenario.host.topology or ""
    names = {"NUMA": "s", "LLCs": "l", "SMT": "t"}
    return " + ".join(name for name, letter in names.items() if letter in text) or "one LLC"


def quota(scenario: Scenario) -> str:
    """Whose CPU time is limited."""
    limited = {
        "vCPUs": any(vm.vcpu_quota_us > 0 for vm in scenario.vms),
        "VMs": any(vm.quota_us > 0 for vm in scenario.vms),
        "groups": any(group.quota_us > 0 for group in scenario.groups),
    }
    return " + ".join(name for name, is_so in limited.items() if is_so) or "none"


def weights(scenario: Scenario) -> str:
    """Whether all VMs and groups are entitled to the same."""
    different = len({part.weight for part in scenario.vms} | {group.weight for group in scenario.groups}) > 1
    idle = any(vm.idle for vm in scenario.vms) or any(group.idle for group in scenario.groups)
    return "unequal" if different or idle else "equal"


def overcommit_class(scenario: Scenario) -> str:
    """vCPUs of all VMs for each CPU, in classes."""
    ratio = sum(vm.vcpus for vm in scenario.expanded_vms) / scenario.host.cpus
    return "below 2:1" if ratio < 2 else "2:1 to below 4:1" if ratio < 4 else "4:1 and more"


def union(scenarios: Sequence[Scenario]) -> dict[str, tuple[str, ...]]:
    """All kinds that some scenarios have between them, by axis."""
    found: dict[str, dict[str, None]] = {}
    for scenario in scenarios:
        for axis, names in kinds(scenario).items():
            found.setdefault(axis, {}).update(dict.fromkeys(names))
    return {axis: tuple(names) for axis, names in found.items()}
