"""The tables of the study of v7.3 beside v6.19: one function for each, from the sweep that it needs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from baselines.statistics import Estimate, change, paired_ratios
from baselines.summary import Comparison
from experiments.measures import DONE, RAN, SAME_RQ, against, mean_share, rate, share
from experiments.rows import Row, by_scenario, by_variant, changes
from experiments.study import Sweep
from experiments.tables import Table, write

Sweeps = Mapping[str, Sweep]
RIVALS = ["ipi", "debooster", "series-v2", "strict-borrow", "forfeit-none"]
HINTS = ["pvsched", "pvsched-preempt-off"]
LAYOUTS = ("flat", "per_vm", "libvirt")


def rivals(sweep: Sweep) -> list[str]:
    """All policies but stock."""
    return [policy for policy in sweep.policies if policy != "stock"]


def beside(sweep: Sweep, variant: str, other: str) -> list[tuple[Comparison, Comparison]]:
    """Stock in two variants of every scenario."""
    return list(zip(sweep.of("stock", variant=variant), sweep.of("stock", variant=other), strict=True))


def stock(sweeps: Sweeps) -> Table:
    """Stock 7.3 against stock 6.19, and what becomes of directed yields on each."""
    return Table(
        "stock",
        [
            by_scenario(new)
            | {"throughput of 7.3 against 6.19": against(new, old)}
            | {f"{name}: yields/s": rate(c.cells, DONE) for name, c in (("6.19", old), ("7.3", new))}
            | {f"{name}: same run queue, %": share(c.cells, SAME_RQ, DONE) for name, c in (("6.19", old), ("7.3", new))}
            | {f"{name}: hinted ran next, %": share(c.cells, RAN, DONE) for name, c in (("6.19", old), ("7.3", new))}
            for new, old in beside(sweeps["kernels"], "7.3", "6.19")
        ],
    )


def gains(sweeps: Sweeps) -> Table:
    """The series and its rivals, each against the stock kernel of its variant."""
    return Table("gains", changes(sweeps["kernels"], RIVALS, by_variant))


def hints(sweeps: Sweeps) -> Table:
    """Guests that say when they are in a critical section, likewise."""
    return Table("hints", changes(sweeps["kernels"], HINTS, by_variant))


def causes(sweeps: Sweeps) -> Table:
    """What hosts do with two VMs that are alike, under hints and under the best rule."""
    sweep = sweeps["kernels"]
    return Table(
        "causes",
        [
            by_variant(c)
            | {
                "policy": c.policy,
                "exits/s": rate(c.cells, "kvm_exits"),
                "switches/s": rate(c.cells, "sched_nr_switches"),
            }
            | {"CPU lost in a lock, /s": rate(c.cells, "preempt_in_lock")}
            | {"spinning, % of CPU time": rate(c.cells, "spin_ns") / (1e7 * c.scenario.host.cpus)}
            for variant in sweep.variants
            for scenario in ("dbench-2vm", "dedup-2vm", "vips-2vm")
            for policy in ("stock", "strict-borrow", *HINTS)
            for c in sweep.of(policy, scenario, variant)
        ],
    )


def mixed(sweeps: Sweeps) -> Table:
    """VMs that run different programs: the change over all VMs."""
    sweep = sweeps["mixed"]
    return Table("mixed", changes(sweep, rivals(sweep), by_variant))


def work_of(ours: Comparison, other: Comparison, vm: int) -> Estimate:
    """Change of one VM's work against another comparison on the same seeds."""
    return change([paired_ratios(ours.work[:, vm], other.work[:, vm])])


def payers(sweeps: Sweeps) -> Table:
    """What each VM of a mix has of the CPU, and what becomes of its work under the policies of its kernel."""
    sweep = sweeps["mixed"]
    rows: list[Row] = []
    for variant in sweep.variants:
        for stock in sweep.of("stock", variant=variant):
            name = stock.scenario.name
            (old,) = sweep.of("stock", name, "6.19")
            weights = [vm.weight for vm in stock.scenario.expanded_vms]
            for i, vm in enumerate(stock.scenario.expanded_vms):
                row: Row = {"kernel": variant, "scenario": name, "VM": vm.name}
                row["entitled, %"] = 100 * vm.weight / sum(weights)
                row["CPU time, %"] = mean_share(stock.cells, i)
                row["work against stock 6.19"] = work_of(stock, old, i)
                for policy in rivals(sweep):
                    row[policy] = work_of(sweep.of(policy, name, variant)[0], stock, i)
                rows.append(row)
    return Table("payers", rows)


def agents(sweeps: Sweeps) -> Table:
    """Shipped agents, all trained on 6.19."""
    sweep = sweeps["agents"]
    return Table("agents", changes(sweep, rivals(sweep), by_variant))


def small(sweeps: Sweeps) -> Table:
    """The same on small hosts."""
    sweep = sweeps["small"]
    return Table("small", changes(sweep, rivals(sweep), by_variant))


def defaults(sweeps: Sweeps) -> Table:
    """Stock 7.3 against stock 6.19, with 7.3's own defaults and with 6.19's."""
    found = [beside(sweeps["small"], name, "6.19") for name in ("7.3", "7.3-full-ticks")]
    return Table(
        "defaults",
        [
            by_scenario(own[0]) | {"lazy preemption, HRTICK": against(*own), "full preemption, ticks": against(*old)}
            for own, old in zip(*found, strict=True)
        ],
    )


def governor(sweeps: Sweeps) -> Table:
    """Guests that keep to fewer vCPUs, beside yields."""
    sweep = sweeps["governor"]
    return Table("governor", changes(sweep, rivals(sweep), by_variant))


def layout_rows(found: Sequence[Sweep]) -> list[Row]:
    """Stock in flat and libvirt's cgroups against a group for each VM, on the same kernel."""
    rows: list[Row] = []
    for kernel in ("6.19", "7.3"):
        for sweep in found:
            both = [beside(sweep, f"{kernel}-{name}", f"{kernel}-per_vm") for name in ("flat", "libvirt")]
            for flat, libvirt in zip(*both, strict=True):
                rows.append(
                    {"kernel": kernel, "scenario": flat[0].scenario.name}
                    | {"flat against per_vm": against(*flat), "libvirt against per_vm": against(*libvirt)}
                )
    return rows


def layouts(sweeps: Sweeps) -> Table:
    """The layouts beside each other, on small hosts and in published cells."""
    return Table("layouts", layout_rows([sweeps["layouts"], sweeps["published-layouts"]]))


def stock_by_layout(sweeps: Sweeps) -> Table:
    """Stock 7.3 against stock 6.19 in each layout."""
    rows: list[Row] = []
    for sweep in (sweeps["layouts"], sweeps["published-layouts"]):
        found = [beside(sweep, f"7.3-{name}", f"6.19-{name}") for name in LAYOUTS]
        for pairs in zip(*found, strict=True):
            rows.append(
                by_scenario(pairs[0][0]) | {name: against(*pair) for name, pair in zip(LAYOUTS, pairs, strict=True)}
            )
    return Table("stock-by-layout", rows)


def bystander(sweeps: Sweeps) -> Table:
    """Shares of the CPU, of which each VM is entitled to a third."""
    sweep = sweeps["bystander"]
    return Table(
        "bystander",
        [
            {"kernel": c.case.variant, "policy": c.policy}
            | {f"{vm.name}, %": mean_share(c.cells, i) for i, vm in enumerate(c.scenario.expanded_vms)}
            | {"yields/s": rate(c.cells, DONE)}
            for variant in sweep.variants
            for policy in sweep.policies
            for c in sweep.of(policy, variant=variant)
        ],
    )


def used(c: Comparison, vm: int) -> float:
    """How much (%) of the CPUs that its vCPUs are pinned to a VM gets, mean over seeds."""
    vcpus = c.scenario.expanded_vms[vm].vcpus
    return float(np.mean([100 * row["vm_run_ns"][vm] / (row["time_ns"] * vcpus) for row in c.cells]))


def sizes(sweeps: Sweeps) -> Table:
    """VMs of equal weight and different size that share a CPU."""
    sweep = sweeps["sizes"]
    return Table(
        "sizes",
        [
            {"kernel": c.case.variant}
            | {f"{vm.name}: of its CPUs, %": used(c, i) for i, vm in enumerate(c.scenario.expanded_vms)}
            for variant in sweep.variants
            for c in sweep.of("stock", variant=variant)
        ],
    )


TABLES = (
    stock, stock_by_layout, gains, hints, causes, mixed, payers, agents, defaults, small, layouts, bystander, sizes,
    governor,
)  # fmt: skip


def write_study(sweeps: Sweeps, directory: Path, out: Path) -> None:
    """Write every table, and those that the README has."""
    tables = [table(sweeps) for table in TABLES]
    write(tables, {}, directory / "README.md", out)
