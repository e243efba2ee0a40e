"""Domains and what is known of their host as the text of a scenario file."""

from collections.abc import Iterable, Mapping, Sequence

from vcpu_env.libvirt.domain import Domain
from vcpu_env.libvirt.found import Found
from vcpu_env.libvirt.host import HostFacts
from vcpu_env.libvirt.tree import LibvirtError
from vcpu_env.scenario import Scenario, parse_scenario

LEAST_CPUS = 16
"""CPUs of a host of which nothing is said, if no pin names more."""


def scenario_text(
    domains: Sequence[Domain], facts: HostFacts, workloads: Mapping[str, str], name: str
) -> tuple[str, Scenario, list[Found]]:
    """A scenario file, what it describes, and what became of each part of what it was made from.

    Args:
        workloads: the program of each VM, by its name.

    Raises:
        LibvirtError: a pin names a CPU that the host has not.
        ScenarioError: a scenario cannot have this.
    """
    rows = [*facts.found.rows, *(row for domain in domains for row in domain.rows)]
    cpus = facts.cpus
    if not cpus:
        highest = max((chosen[-1] + 1 for domain in domains for _, chosen in domain.pins), default=0)
        cpus = max(LEAST_CPUS, highest)
        why = f"host.cpus = {cpus}, the most that is named, {LEAST_CPUS} at least; --capabilities says it"
        rows.insert(0, Found("host", "CPUs not given", "approximated", why))
    for domain in domains:
        for element, chosen in domain.pins:
            if chosen[-1] >= cpus:
                element.refuse(f"CPU {chosen[-1]}", f"CPUs 0..{cpus - 1}, as the host has")
    host: dict[str, object] = {} if facts.cpus else {"cpus": cpus}
    host |= {**facts.host, "cgroups": "libvirt"}
    lines = [f'name = "{name}"', "", "[host]", *fields(host)]
    if facts.kvm:
        lines += ["", "[kvm]", *fields(facts.kvm)]
    partitions = sorted({domain.partition for domain in domains})
    groups = [] if partitions == [("machine",)] else group_names(partitions)
    for group, parent in groups:
        lines += ["", "[[groups]]", *fields({"name": group} | ({"parent": parent} if parent else {}))]
    for domain in domains:
        vm = domain.vm | {"workload": workloads[domain.name]}
        if groups:
            vm["group"] = "-".join(domain.partition)
        if "pinning" in vm:
            vm["pinning"] = [own or range(cpus) for own in listed(vm["pinning"])]
        if "iothread_cpus" in vm:
            vm["iothread_cpus"] = [own or range(cpus) for own in listed(vm["iothread_cpus"])]
        lines += ["", "[[vms]]", *fields(vm)]
    text = "\n".join(lines) + "\n"
    return text, parse_scenario(text, name), rows


def listed(value: object) -> list[Sequence[int] | None]:
    """A list of sets of CPUs, none for all."""
    assert isinstance(value, list)
    return value


def group_names(partitions: Iterable[tuple[str, ...]]) -> list[tuple[str, str | None]]:
    """Name and parent of the cgroup of each partition and of those above it."""
    found: dict[str, str | None] = {}
    for path in partitions:
        for depth in range(1, len(path) + 1):
            found["-".join(path[:depth])] = "-".join(path[: depth - 1]) or None
    return list(found.items())


def fields(values: Mapping[str, object]) -> list[str]:
    """Fields in TOML."""
    return [f"{name} = {toml(value)}" for name, value in values.items()]


def toml(value: object) -> str:
    """A value in TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list | tuple | range):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(fields(value))} }}"
    return str(value)


def workload_of(domains: Sequence[Domain], given: Sequence[str], default: str) -> dict[str, str]:
    """The program of each VM.

    Args:
        given: ``VM=NAME``, or ``NAME`` for all others.

    Raises:
        LibvirtError: there is no such VM.
    """
    chosen = {domain.name: "" for domain in domains}
    for text in given:
        vm, equals, name = text.rpartition("=")
        if not name or (equals and vm not in chosen):
            raise LibvirtError(f"--workload: value '{text}' (allowed: VM=NAME or NAME, with VM of {', '.join(chosen)})")
        if equals:
            chosen[vm] = name
        else:
            default = name
    return {vm: name or default for vm, name in chosen.items()}
