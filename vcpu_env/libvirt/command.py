"""``vcpu-env from-libvirt``, ``compare-host``: a scenario of domains; a measured host beside the simulated one."""

import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from vcpu_env.base.files import write_whole
from vcpu_env.build.guests import guest_plans
from vcpu_env.libvirt.beside import KVM_NAMES, Beside, Measured, check_measured, compare, simulate
from vcpu_env.libvirt.domain import check_names, read_domain
from vcpu_env.libvirt.found import Found
from vcpu_env.libvirt.host import HostFacts
from vcpu_env.libvirt.measured import read_domstats, read_kvm_stat, read_steal
from vcpu_env.libvirt.scenario import scenario_text, workload_of
from vcpu_env.libvirt.tree import LibvirtError
from vcpu_env.scenario import Scenario

WORKLOAD = "kbuild"
"""What VMs run of which nothing else is said: short processes, locks, sleeps: some of everything."""

MAX_DOMAINS = 1024


def from_libvirt(
    files: Sequence[Path],
    capabilities: Sequence[Path],
    parameters: Path | None,
    workloads: Sequence[str],
    cgroup_version: int,
    out: Path | None,
) -> None:
    """Make a scenario of domains; without `out` it is printed, and the list goes to stderr.

    Raises:
        LibvirtError, ScenarioError, ValueError: something in them is wrong.
    """
    if len(files) > MAX_DOMAINS:
        raise LibvirtError(f"DOMAIN: {len(files)} files (allowed: up to {MAX_DOMAINS})")
    domains = [read_domain(path, cgroup_version) for path in files]
    check_names(domains)
    facts = HostFacts()
    for path in capabilities:
        facts.read_capabilities(path)
    if parameters is not None:
        facts.read_parameters(parameters)
    programs = workload_of(domains, workloads, WORKLOAD)
    name = "host" if out is None else out.stem
    text, scenario, rows = scenario_text(domains, facts, programs, name)
    guest_plans(scenario)
    vcpus = sum(vm.vcpus for vm in scenario.vms)
    ratio = f"{vcpus} vCPUs on {scenario.host.cpus} CPUs, {vcpus / scenario.host.cpus:.2g}:1"
    if out is None:
        print(text, end="")
        print_rows(rows, sys.stderr)
        return
    try:
        write_whole(out, text.encode())
    except OSError as error:
        raise LibvirtError(f"-o: value '{out}' (allowed: a file to write; {error.strerror})") from None
    print_rows(rows, sys.stdout)
    count = f"{len(scenario.vms)} VM{'s' if len(scenario.vms) > 1 else ''}"
    print(f"\n{out}: {count}, {ratio}; next: python -m baselines.overcommit {out}")


def compare_host(
    scenario: Scenario,
    domstats: Path | None,
    kvm_stat: Path | None,
    steal: Sequence[str],
    interval_s: float | None,
    seeds: int,
) -> list[Beside]:
    """What was measured on a host, beside the simulated one.

    Args:
        steal: VM=FILE.

    Raises:
        LibvirtError, ValueError: something in the files is wrong.
    """
    if domstats is None and kvm_stat is None and not steal:
        raise LibvirtError("nothing measured (allowed: at least one of --domstats, --kvm-stat, --steal)")
    if not scenario.vms:
        raise LibvirtError(f"HOST: '{scenario.name}' has no VMs (allowed: hosts with VMs)")
    guests = {}
    for text in steal:
        name, _, file = text.partition("=")
        if not name or not file or name in guests:
            raise LibvirtError(f"--steal: value '{text:.80}' (allowed: VM=FILE, each VM once)")
        guests[name] = read_steal(Path(file))
    measured = Measured(
        read_domstats(domstats, interval_s) if domstats else {},
        read_kvm_stat(kvm_stat, KVM_NAMES) if kvm_stat else [],
        guests,
    )
    check_measured(scenario, measured)
    for name in measured.domains.keys() - {vm.name for vm in scenario.expanded_vms}:
        print(f"note: domain '{name}' is not in HOST: what it takes from the others is not simulated", file=sys.stderr)
    return compare(scenario, measured, simulate(scenario, seeds))


def print_rows(rows: Sequence[Found], stream: TextIO) -> None:
    """The list, as wide as the terminal, 80 columns at least; equal rows of several domains together."""
    width = max(80, min(120, shutil.get_terminal_size((80, 24)).columns))
    merged: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        merged.setdefault((row.effect, row.what, row.how), []).append(row.of)
    several = len({row.of for row in rows} - {"host"}) > 1
    for effect in ("used", "approximated", "without effect"):
        own = [(key, of) for key, of in merged.items() if key[0] == effect]
        if own:
            print(f"\n{effect}", file=stream)
        for (_, what, how), of in own:
            whose = f" ({', '.join(of) if len(of) < 4 else f'{len(of)} domains'})" if several or of == ["host"] else ""
            text = f"{what:32} {how}{whose}" if len(what) <= 32 else f"{what} {how}{whose}"
            for line in textwrap.wrap(
                text, width - 2, subsequent_indent=" " * 33, break_long_words=False, break_on_hyphens=False
            ):
                print(f"  {line}", file=stream)
