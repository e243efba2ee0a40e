"""Which shipped scenarios are for training, for choosing among trained policies, and for reporting.

The split is fixed: a policy is trained on *train* only, what is chosen by results (checkpoints, hyper-parameters, which
baseline constant is best) is chosen on *validation*, and *test* is looked at once, for the report. A rule that has no
fitted constant may be reported on all.

What changes from one to the next is what a policy could have learnt by heart: workload mix, overcommit and size.

* train: 2:1 and 3:1 on 8 or 16 pCPUs, five programs, three mixes of two programs.
* validation: the same programs in cells that training has not (the other overcommit, the other size), 32 pCPUs, 1.5:1.
* test: what neither has at all. Every scenario in it has 4:1 overcommit, 64 pCPUs, ferret, three or more programs on
  one host, or unequal weights.

The nine published cells, dbench, dedup and vips in 2 to 4 VMs, are three in each; a table of all nine says which are
which. Each split has blackscholes as its null control, which no policy may change. Scenarios in none are *diagnostic*:
one VM without overcommit, where no policy has anything to do, the micro-benchmarks, which isolate one mechanism each
and say nothing about performance; hosts with threads that are no vCPUs, whose numbers are assumed, or with libvirt's
cgroups (*host-*); VMs limited by quota (*quota-*, `cpu.max`), unlike any published run; hosts with SMT, several
caches or NUMA nodes (all splits have equal cores around one cache, as far as is known of the published runs); three
sizes of host for the simulator's speed.
"""

from collections import Counter

from vcpu_env.scenario.load import list_scenarios, load_scenario
from vcpu_env.scenario.model import Scenario

SPLITS: dict[str, tuple[str, ...]] = {
    "train": (
        "blackscholes-2vm",
        "dbench-2vm",
        "dbench-2vm-8cpu",
        "dedup-2vm",
        "kbuild-2vm",
        "kbuild-3vm",
        "mixed-2vm",
        "mixed-2vm-bystander",
        "mixed-2vm-locks",
        "vips-3vm",
        "vips-3vm-8cpu",
    ),
    "validation": (
        "blackscholes-3vm",
        "dbench-3vm",
        "dedup-2vm-32cpu",
        "dedup-2vm-8cpu",
        "dedup-3vm",
        "kbuild-2vm-32cpu",
        "mixed-sizes-2vm",
        "vips-2vm",
    ),
    "test": (
        "blackscholes-4vm",
        "dbench-2vm-64cpu",
        "dbench-4vm",
        "dedup-4vm",
        "ferret-2vm",
        "ferret-3vm",
        "ferret-4vm",
        "kbuild-4vm",
        "mixed-3vm",
        "mixed-4vm",
        "mixed-4vm-64cpu",
        "mixed-weights-3vm",
        "vips-3vm-64cpu",
        "vips-4vm",
    ),
}

PUBLISHED = tuple(f"{workload}-{vms}vm" for workload in ("dbench", "dedup", "vips") for vms in (2, 3, 4))
"""The cells for which the series' authors gave numbers: 16 pCPUs, equal VMs of 16 vCPUs."""

DIAGNOSTIC = "diagnostic"


def split_of(name: str) -> str:
    """The split of a shipped scenario: train, validation, test, or diagnostic."""
    return next((split for split, names in SPLITS.items() if name in names), DIAGNOSTIC)


def overcommit(scenario: Scenario) -> float:
    """vCPUs of all VMs for each pCPU."""
    return sum(vm.vcpus for vm in scenario.expanded_vms) / scenario.host.cpus


def size_of_vms(scenario: Scenario) -> str:
    """How many VMs there are, and how large."""
    sizes = Counter(vm.vcpus for vm in scenario.expanded_vms)
    return " + ".join(f"{count} x {vcpus} vCPUs" for vcpus, count in sizes.items()) or "none"


def programs(scenario: Scenario) -> str:
    """What runs in the VMs."""
    return ", ".join(dict.fromkeys(vm.workload for vm in scenario.vms)) or "host tasks"


def cpus_of(scenario: Scenario) -> str:
    """How many CPUs there are, and how they are arranged if that matters."""
    topology = scenario.host.topology
    return f"{scenario.host.cpus}" + (f" ({topology})" if topology else "")


def scenarios_page() -> str:
    """All shipped scenarios as a Markdown page (docs/scenarios.md is this text)."""
    intro = (__doc__ or "").partition("\n\n")[2].strip()
    lines = [
        "# Scenarios and their splits\n",
        "Made by `python -m vcpu_env.scenario.splits`. A scenario's file, `vcpu_env/scenario/shipped/NAME.toml`, says",
        "in its first lines what it is for. *P* marks the published cells.\n",
        f"{intro}\n",
        "| scenario | VMs | workload | pCPUs | overcommit | split | |",
        "|---|---|---|---:|---:|---|---|",
    ]
    order = [*SPLITS, DIAGNOSTIC]
    for name in sorted(list_scenarios(), key=lambda name: (order.index(split_of(name)), name)):
        scenario = load_scenario(name)
        host = (cpus_of(scenario), f"{overcommit(scenario):g}:1", split_of(name))
        cells = (name, size_of_vms(scenario), programs(scenario), *host, "P" if name in PUBLISHED else "")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(scenarios_page(), end="")
