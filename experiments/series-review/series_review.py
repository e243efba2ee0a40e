"""The tables of the review of the series: one function for each, from the sweeps that it needs."""

from collections.abc import Mapping
from pathlib import Path

from baselines.published import PUBLISHED
from baselines.statistics import Estimate
from baselines.summary import Comparison
from experiments.drawings import curves, intervals
from experiments.measures import DONE, SAME_RQ, TRIED, USEFUL, additive, against, equal_cells, rate, share
from experiments.rows import Row, by_scenario, by_variant, by_vm, changes, fate, mechanism, pairs
from experiments.study import Sweep
from experiments.tables import Table, holds_no_zero, write

Sweeps = Mapping[str, Sweep]
HALVES = ["debooster", "ipi", "series-v2"]
WORKLOADS = ["dbench", "dedup", "vips"]
COUNTS = [1, 2, 3, 4, 6, 8]


def causes(sweeps: Sweeps) -> Table:
    """The cover letter's three causes: its halves alone and together."""
    return Table("causes", mechanism(sweeps["core"], HALVES))


def causes_pinned(sweeps: Sweeps) -> Table:
    """The same where siblings share run queues."""
    return Table("causes-pinned", mechanism(sweeps["placement"], HALVES, "random_pinning"))


def micro(sweeps: Sweeps) -> Table:
    """The same where only one of them is at work."""
    return Table("micro", mechanism(sweeps["micro"], HALVES))


def halves(sweeps: Sweeps) -> Table:
    """Do the gains of the halves multiply up to that of the whole?"""
    return Table(
        "halves",
        [
            by_scenario(stock)
            | {c.policy: c.change for c in rivals}
            | {"whole over product of halves": additive(rivals[2], rivals[:2])}
            for stock, rivals in pairs(sweeps["core"], HALVES)
        ],
    )


def curve(sweeps: Sweeps, workload: str, policy: str) -> list[Comparison]:
    """A policy's comparisons over the number of VMs."""
    found = {}
    for c in [*sweeps["core"].of(policy), *sweeps["overcommit"].of(policy)]:
        if c.scenario.vms[0].workload == workload:
            found[len(c.scenario.expanded_vms)] = c
    return [found[count] for count in COUNTS]


def overcommit(sweeps: Sweeps) -> Table:
    """The curve over the number of VMs."""
    return Table(
        "overcommit",
        [
            {"workload": workload, "VMs": count, **{p: curve(sweeps, workload, p)[i].change for p in HALVES}}
            for workload in WORKLOADS
            for i, count in enumerate(COUNTS)
        ],
    )


def published(sweeps: Sweeps) -> Table:
    """Beside what the authors published."""
    rows: list[Row] = []
    for workload in WORKLOADS:
        for i, count in enumerate(COUNTS):
            if said := PUBLISHED.get(f"{workload}-{count}vm"):
                c = curve(sweeps, workload, said.policy)[i]
                rows.append(
                    {
                        "scenario": f"{workload}-{count}vm",
                        "policy": said.policy,
                        "simulated": c.change,
                        "published v2": f"{100 * said.v2:+.1f}",
                        "published v3": f"{100 * said.v3:+.1f}",
                    }
                )
    return Table("published", rows)


def regression(sweeps: Sweeps) -> Table:
    """Every shipped scenario."""
    return Table("regression", changes(sweeps["regression"], HALVES, by_scenario))


def losses(sweeps: Sweeps) -> Table:
    """Those in which a loss of the series or of a half of it can be told."""
    rows = regression(sweeps).rows
    lost = [row for row in rows if any(isinstance(v, Estimate) and v.high < 0 for v in row.values())]
    return Table("losses", lost or [{"scenario": "none"}])


def verdicts(sweeps: Sweeps) -> Table:
    """How many cases gain, lose, or can't be told."""
    rows: list[Row] = []
    for what, names in (("shipped scenarios", ["regression"]), ("layouts", ["cgroups", "placement"])):
        for policy in HALVES:
            found = [c.change for name in names for c in sweeps[name].of(policy)]
            rows.append(
                {
                    "of": what,
                    "policy": policy,
                    "cases": len(found),
                    "gain": sum(e.low > 0 for e in found),
                    "loss": sum(e.high < 0 for e in found),
                    "loss above 1 %": sum(e.high < 0 and e.value < -0.01 for e in found),
                    "interval holds zero": sum(not holds_no_zero(e) for e in found),
                }
            )
    return Table("verdicts", rows)


def layouts(sweeps: Sweeps) -> Table:
    """Cgroups, placement and locks."""
    rows = [*changes(sweeps["cgroups"], HALVES, by_variant), *changes(sweeps["placement"], HALVES, by_variant)]
    return Table("layouts", rows)


def one_cgroup(sweeps: Sweeps) -> Table:
    """A cgroup per VM: does the penalty add anything to v6.19's forfeit?"""
    return Table(
        "one-cgroup",
        [
            by_scenario(c)
            | {
                "debooster": c.change,
                "yields/s": rate(c.cells, DONE),
                "same run queue, %": share(c.cells, SAME_RQ, DONE),
                "penalties/s": rate(c.cells, "deboost_applied"),
                "penalised, % of yields": share(c.cells, "deboost_applied", "deboost_yields"),
                "forfeits, % of yields": share(c.cells, "deboost_forfeit", "deboost_yields"),
            }
            for c in sweeps["core"].of("debooster")
        ],
    )


def alternatives(sweeps: Sweeps) -> Table:
    """The reviewer's two simpler forfeits, and none of them."""
    rivals = ["debooster", "hierarchical-forfeit", "proportional-yield", "plain"]
    return Table(
        "alternatives",
        [
            by_variant(stock)
            | {c.policy: c.change for c in found}
            | {"debooster over hierarchical": against(found[0], found[1])}
            for stock, found in pairs(sweeps["cgroups"], rivals)
        ],
    )


def versions(sweeps: Sweeps) -> Table:
    """v1, v2 and v3."""
    rivals = ["series-v1", "series-v2", "series-v3", "series-v3-margin-0.25", "series-v3-margin-4"]
    return Table(
        "versions",
        [
            by_scenario(stock)
            | {c.policy: c.change for c in found}
            | {"v1 over v2": against(found[0], found[1]), "v3 over v2": against(found[2], found[1])}
            for stock, found in pairs(sweeps["core"], rivals)
        ],
    )


def tracking(sweeps: Sweeps) -> Table:
    """What it is worth to know whose IPI waits, and to put that first."""
    v2 = sweeps["core"].of("series-v2")
    rivals = ["series-v2-no-tracking", "series-v2-any-sender", "series-v2-priorities"]
    return Table(
        "tracking",
        [
            by_scenario(stock)
            | {"series-v2": c.change, "over no tracking": against(c, found[0])}
            | {"any sender over mine": against(found[1], c), "priorities over filter": against(found[2], c)}
            for c, (stock, found) in zip(v2, pairs(sweeps["core"], rivals), strict=True)
        ],
    )


def patches(sweeps: Sweeps) -> Table:
    """The IPI half taken apart."""
    rivals = ["debooster", "series-v2-level-8", "series-v2", "relaxed"]
    return Table(
        "patches",
        [
            by_scenario(stock)
            | {"1-5": found[0].change, "1-8": found[1].change, "1-9": found[2].change, "9 alone": found[3].change}
            | {"9 on top of 1-8": against(found[2], found[1])}
            for stock, found in pairs(sweeps["core"], rivals)
        ],
    )


def interrupts(sweeps: Sweeps) -> Table:
    """IPI tracking by interrupt hardware."""
    sweep = sweeps["interrupts"]
    rivals = ["ipi", "series-v2", "series-v2-no-tracking", "series-v2-any-sender"]
    return Table(
        "interrupts",
        [
            by_variant(stock)
            | {"ipi": ipi.change, "series-v2": v2.change, "over no tracking": against(v2, blind)}
            | {"any sender over mine": against(anyone, v2), "useful yields, %": share(v2.cells, USEFUL, DONE)}
            | {"without tracking": share(blind.cells, USEFUL, DONE)}
            for stock, (ipi, v2, blind, anyone) in pairs(sweep, rivals)
        ],
    )


def inert(sweeps: Sweeps) -> Table:
    """How many cells are equal to stock's in every counter."""
    rows: list[Row] = []
    for sweep, policies in ((sweeps["inert"], [*HALVES, "series-v3"]), (sweeps["placement"], ["debooster"])):
        for stock, found in pairs(sweep, policies):
            if stock.case.variant in sweeps["inert"].variants:
                equal = {c.policy: equal_cells(c.cells, c.stock) for c in found}
                rows.append(
                    by_variant(stock)
                    | {"VMs": len(stock.scenario.expanded_vms), "cells": len(stock.cells)}
                    | {policy: equal.get(policy) for policy in (*HALVES, "series-v3")}
                    | {"largest change": max((c.change for c in found), key=lambda change: abs(change.value))}
                    | {"PLE exits/s": rate(stock.cells, "kvm_pause_exits"), "yields tried/s": rate(stock.cells, TRIED)}
                )
    return Table("inert", rows)


def futile(sweeps: Sweeps) -> Table:
    """Yields whose target does not run next."""
    policies = ["stock", "debooster", "ipi", "series-v2", "series-v3"]
    return Table(
        "futile",
        [by_scenario(c) | {"policy": c.policy} | fate(c) for _, f in pairs(sweeps["core"], policies) for c in f],
    )


def pingpong(sweeps: Sweeps) -> Table:
    """Two vCPUs on one CPU that hand over to each other."""
    sweep = sweeps["pingpong"]
    return Table(
        "pingpong",
        [
            {"layout": c.case.variant, "policy": c.policy, "hand-overs": c.change, **fate(c)}
            for variant in sweep.variants
            for policy in sweep.policies
            for c in sweep.of(policy, variant=variant)
        ],
    )


def local(sweeps: Sweeps) -> Table:
    """Is a boost worth more if it works across run queues?"""
    rivals = ["unserved-credit", "unserved-credit-same-rq", "oracle-credit", "oracle-credit-same-rq"]
    return Table(
        "local",
        [
            by_scenario(stock)
            | {"stock: same run queue, %": share(stock.cells, SAME_RQ, DONE)}
            | {c.policy: c.change for c in found}
            | {"rule: all over local": against(found[0], found[1]), "oracle: all over local": against(*found[2:])}
            for stock, found in pairs(sweeps["core"], rivals)
        ],
    )


def right_target(sweeps: Sweeps) -> Table:
    """With the true target: does it run next?"""
    policies = ["oracle-naive", "oracle-series", "oracle-credit"]
    return Table(
        "right-target",
        [
            by_scenario(c) | {"policy": c.policy, "throughput": c.change} | fate(c)
            for _, found in pairs(sweeps["core"], policies)
            for c in found
        ],
    )


def switches(sweeps: Sweeps) -> Table:
    """v2 against v2 with one thing as described."""
    sweep = sweeps["switches"]
    rivals = [policy for policy in sweep.policies if policy not in ("stock", "series-v2")]
    rows: list[Row] = []
    for v2, (stock, found) in zip(sweep.of("series-v2"), pairs(sweep, rivals), strict=True):
        rows.append(
            by_variant(stock) | {c.policy.removeprefix("series-").removeprefix("v2-"): against(c, v2) for c in found}
        )
    return Table("switches", rows)


def limiter(sweeps: Sweeps) -> Table:
    """Where the slots of the 6 ms limiter go."""
    sweep = sweeps["switches"]
    names = ["series-v1", "series-v2", "series-v2-late-limiter", "series-v2-no-limiter"]
    slots = ("deboost_cross_rq", "deboost_applied", "deboost_wrapped")
    return Table(
        "limiter",
        [
            by_variant(c)
            | {"policy": c.policy, "penalties/s": rate(c.cells, "deboost_applied")}
            | {"mean penalty, ms": (share(c.cells, "deboost_penalty_ns", "deboost_applied") or 0.0) / 100 / 1e6}
            | {"refused by the limiter, %": share(c.cells, "deboost_limited", "deboost_yields")}
            | {
                "slots used up by another CPU's target, %": share(c.cells, "deboost_cross_rq", *slots)
                if posted
                else None
            }
            for _, found in pairs(sweep, names)
            for c, posted in zip(found, (True, True, False, False), strict=True)
        ],
    )


def exact(sweeps: Sweeps) -> Table:
    """Pairs of kernels that must not differ in anything."""
    sweep = sweeps["exact"]
    couples = [
        ("series-v2", "series-v2-no-debounce", "the 600 us debounce"),
        ("series-v2", "series-v2-no-baseline", "the table of zero-gap baselines"),
        ("debooster", "series-v2-level-7", "patches 6 and 7 without 8 and 9"),
    ]
    rows: list[Row] = []
    for ours, other, what in couples:
        groups = list(zip(sweep.of(ours), sweep.of(other), strict=True))
        same = sum(equal_cells(a.cells, b.cells) for a, b in groups)
        penalties = sum(row["deboost_applied"] for a, _ in groups for row in a.cells)
        rows.append({"without": what, "cells": sum(len(a.cells) for a, _ in groups), "equal": same})
        rows[-1] |= {"penalties in them": penalties}
    return Table("exact", rows)


def bystander(sweeps: Sweeps) -> Table:
    """Neighbours of a VM whose vCPUs yield to each other."""
    return Table("bystander", by_vm(sweeps["bystander"], sweeps["bystander"].policies))


def fairness(sweeps: Sweeps) -> Table:
    """VMs that differ in what they do or weigh."""
    return Table("fairness", by_vm(sweeps["fairness"], ["stock", "debooster", "series-v2", "series-v3"]))


TABLES = (
    causes, causes_pinned, micro, halves, published, overcommit, verdicts, losses, regression, layouts, one_cgroup,
    alternatives, versions, tracking, patches, interrupts, inert, futile, pingpong, local, right_target, switches,
    limiter, exact, bystander, fairness,
)  # fmt: skip


def drawings(sweeps: Sweeps) -> dict[str, str]:
    """The tables of overcommit and layouts, drawn."""
    lines = {w: {p: [c.change for c in curve(sweeps, w, p)] for p in HALVES} for w in WORKLOADS}
    cases: dict[str, list[tuple[str, dict[str, Estimate]]]] = {f"{w}-2vm": [] for w in WORKLOADS}
    for sweep in (sweeps["cgroups"], sweeps["placement"]):
        for stock, found in pairs(sweep, HALVES):
            cases[stock.scenario.name].append((stock.case.variant, {c.policy: c.change for c in found}))
    return {"overcommit": curves(lines, COUNTS, "VMs of 16 vCPUs on 16 CPUs"), "layouts": intervals(cases)}


def write_study(sweeps: Sweeps, directory: Path, out: Path) -> None:
    """Write all tables and drawings, and the README with its tables."""
    write([table(sweeps) for table in TABLES], drawings(sweeps), directory / "README.md", out)
