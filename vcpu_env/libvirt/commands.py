"""The commands on hosts of libvirt, as the console script ``vcpu-env`` has them."""

import json
from pathlib import Path
from typing import Annotated

import typer


def from_libvirt(
    domains: Annotated[
        list[Path], typer.Argument(metavar="DOMAIN.xml...", help="domains, as virsh dumpxml writes them")
    ],
    capabilities: Annotated[
        list[Path] | None, typer.Option(help="the host: output of virsh capabilities or lscpu -J; several allowed")
    ] = None,
    parameters: Annotated[
        Path | None, typer.Option(help="KVM's: output of grep . /sys/module/kvm*/parameters/*")
    ] = None,
    workload: Annotated[
        list[str] | None, typer.Option(help="VM=NAME, or NAME for all others; several allowed.  [default: kbuild]")
    ] = None,
    cgroup_version: Annotated[int, typer.Option(min=1, max=2, help="of the host: what <shares> mean")] = 2,
    out: Annotated[Path | None, typer.Option("-o", help="the scenario file to write; default: print it")] = None,
) -> None:
    """Make a scenario of libvirt domains, and list what of them is used, approximated, or without effect."""
    from vcpu_env.libvirt import command

    command.from_libvirt(domains, capabilities or [], parameters, workload or [], cgroup_version, out)


def compare_host(
    host: Annotated[str, typer.Argument(help="scenario, by name or TOML file; its VMs are named as the domains")],
    domstats: Annotated[
        Path | None, typer.Option(help="repeated output of date +%s; virsh domstats --vcpu: two snapshots or more")
    ] = None,
    kvm_stat: Annotated[Path | None, typer.Option(help="output of kvm_stat -l, or -l -c")] = None,
    steal: Annotated[
        list[str] | None, typer.Option(metavar="VM=FILE", help="repeated cat /proc/stat in a guest; several allowed")
    ] = None,
    interval: Annotated[
        float | None, typer.Option(min=0.1, max=86400, help="s between snapshots of --domstats without times")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="runs of the simulated host")] = 3,
    set_: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, e.g. host.hz=250")] = None,
    json_: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
) -> None:
    """Put what was measured on a real host beside the simulated one, quantity by quantity."""
    from vcpu_env.libvirt import beside, command
    from vcpu_env.scenario import apply_overrides, load_scenario

    scenario = apply_overrides(load_scenario(host), set_ or [])
    rows = command.compare_host(scenario, domstats, kvm_stat, steal or [], interval, seeds)
    for line in (json.dumps(row.row()) for row in rows) if json_ else beside.table_lines(rows):
        print(line)
