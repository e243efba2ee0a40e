"""Rows of tables: what stands in front of them, and groups of columns that several tables share."""

from collections.abc import Callable, Sequence

from baselines.statistics import change
from baselines.summary import Comparison
from experiments.measures import DONE, RAN, SAME_RQ, USEFUL, each, mean_share, per_unit, rate, share, vm_share
from experiments.study import Sweep
from experiments.tables import Value

Row = dict[str, Value]


def by_scenario(c: Comparison) -> Row:
    """The scenario."""
    return {"scenario": c.scenario.name}


def by_variant(c: Comparison) -> Row:
    """Variant and scenario."""
    return {"variant": c.case.variant, "scenario": c.scenario.name}


def pairs(sweep: Sweep, policies: Sequence[str]) -> list[tuple[Comparison, list[Comparison]]]:
    """For every case stock's comparison, and those of some policies."""
    found = zip(*(sweep.of(policy) for policy in policies), strict=True)
    return [(stock, list(rivals)) for stock, rivals in zip(sweep.of("stock"), found, strict=True)]


def changes(sweep: Sweep, policies: Sequence[str], name: Callable[[Comparison], Row]) -> list[Row]:
    """A row for every case: the change of throughput under each policy."""
    return [name(stock) | {c.policy: c.change for c in rivals} for stock, rivals in pairs(sweep, policies)]


def mechanism(sweep: Sweep, policies: Sequence[str], variant: str | None = None) -> list[Row]:
    """The cover letter's three causes, against stock; of one variant only, if that is given."""
    return [
        by_scenario(c)
        | {
            "policy": c.policy,
            "throughput": c.change,
            "holders preempted per unit": per_unit(c, "preempt_in_lock"),
            "lock wait per unit": per_unit(c, "lock_wait_ns"),
            "IPI latency": each(c, "ipi_latency_ns", "ipis"),
            "wait per call": each(c, "call_wait_ns", "calls"),
            "switches per unit": per_unit(c, "sched_nr_switches"),
        }
        for stock, rivals in pairs(sweep, policies)
        for c in rivals
        if variant in (None, stock.case.variant)
    ]


def fate(c: Comparison) -> Row:
    """What becomes of directed yields."""
    return {
        "yields per 1000 units": 1000 * rate(c.cells, DONE) / float(c.work.sum(axis=1).mean()),
        "same run queue, %": share(c.cells, SAME_RQ, DONE),
        "hinted ran next, %": share(c.cells, RAN, DONE),
        "and was waited for, %": share(c.cells, USEFUL, DONE),
    }


def by_vm(sweep: Sweep, policies: Sequence[str]) -> list[Row]:
    """CPU time and work of every VM under every policy."""
    rows = []
    for case in zip(*(sweep.of(policy) for policy in policies), strict=True):
        for i, vm in enumerate(case[0].scenario.expanded_vms):
            for c in case:
                rows.append(
                    by_scenario(c)
                    | {"VM": vm.name, "policy": c.policy, "CPU time, %": mean_share(c.cells, i)}
                    | {"change of CPU time": vm_share(c, i), "change of work": change([c.vm_ratios[:, i]])}
                )
    return rows
