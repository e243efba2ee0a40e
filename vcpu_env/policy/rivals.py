"""Rules of a host that sees what a kernel sees: other candidate orders, other boosts, other uses of a PAUSE exit.

A rule answers 0 (nobody), 1 (the kernel's loop) or 2 + i (the i-th candidate), and may set ``view.boost``. The orders
and their combinations with boosts follow the project's feasibility study: unserved interrupt first, oldest spinner
first, same run queue first; what happens when an order finds nobody is the kernel's loop, or a plain yield.
"""

from collections.abc import Callable
from typing import Any

from vcpu_env.base.random import mix64
from vcpu_env.kernel.features import NORMALIZED_BASE_SLICE_NS
from vcpu_env.kernel.yield_types import (
    BOOST_BORROW,
    BOOST_CREDIT,
    BOOST_HINT,
    BOOST_MINIMAL,
    BOOST_PLAIN,
    BOOST_STAY,
    BOOST_STAY_CREDIT,
    BOOST_TRANSFER,
)
from vcpu_env.kvm.pvsched import CS_BUDGET_NS, CS_HARDIRQ, CS_PREEMPT_OFF, GENERIC_BUDGET_NS
from vcpu_env.policy.coscheduling import COSCHED_DELAY, COSCHED_GANG, COSCHED_RELAXED
from vcpu_env.policy.policy import Policy
from vcpu_env.policy.rules import Rule
from vcpu_env.policy.view import AS_KERNEL, FIRST_CANDIDATE


def unserved_first(view):
    """The first sibling for which an interrupt waits, one that lost its CPU before others."""
    found = 0
    for i in range(view.nr_candidates):
        if view.unserved[i]:
            if view.preempted[i]:
                return FIRST_CANDIDATE + i
            if found == 0:
                found = FIRST_CANDIDATE + i
    return found


def oldest_spinner_first(view):
    """An unserved interrupt first, else the waiting sibling that has been spinning longest: locks are first come."""
    found, longest = 0, 0
    for i in range(view.nr_candidates):
        if view.unserved[i]:
            return FIRST_CANDIDATE + i
        if view.candidate_spin_ns[i] > longest:
            found, longest = FIRST_CANDIDATE + i, view.candidate_spin_ns[i]
    return found


def same_rq_first(view):
    """The first sibling on the spinner's own run queue that the kernel's filter takes."""
    for i in range(view.nr_candidates):
        if view.same_rq[i] and view.good[i]:
            return FIRST_CANDIDATE + i
    return 0


def same_node_first(view):
    """The first sibling on the spinner's NUMA node that the kernel's filter takes, else the kernel's loop."""
    for i in range(view.nr_candidates):
        if view.same_node[i] and view.good[i]:
            return FIRST_CANDIDATE + i
    return AS_KERNEL


def longest_wait_first(view):
    """The sibling that lost its CPU in kernel mode and has waited longest."""
    found, longest = 0, -1
    for i in range(view.nr_candidates):
        if view.preempted[i] and view.in_kernel[i] and view.waited_ns[i] > longest:
            found, longest = FIRST_CANDIDATE + i, view.waited_ns[i]
    return found


def ipi_tiers(view):
    """The series' tiers as priorities: my IPI's receiver, else a pending interrupt, else what its filter takes."""
    for i in range(view.nr_candidates):
        if view.ipi_receiver[i]:
            return FIRST_CANDIDATE + i
    for i in range(view.nr_candidates):
        if view.unserved[i]:
            return FIRST_CANDIDATE + i
    return AS_KERNEL


def random_candidate(view):
    """Any candidate, all equally likely."""
    if view.nr_candidates == 0:
        return 0
    return FIRST_CANDIDATE + ((mix64(view.now_ns * 1024 + view.vcpu) >> 33) & 0x7FFFFFFF) % view.nr_candidates


def round_robin(view):
    """The next candidate in scan order, whatever it was doing."""
    return FIRST_CANDIDATE if view.nr_candidates > 0 else 0


def nobody(view):
    """Back into the guest at once."""
    return 0


def plain(view):
    """yield() instead of a directed yield."""
    view.boost = BOOST_PLAIN
    return AS_KERNEL


def kernel_loop_with(boost: int) -> Rule:
    """The kernel's loop with another boost."""

    def rule(view):
        view.boost = boost
        return AS_KERNEL

    return rule


def order_with(order: Callable[..., int], boost: int, otherwise: Callable[..., int], same_rq_only: bool) -> Rule:
    """A candidate order with a boost; if it finds nobody, another rule answers without that boost."""
    from numba import njit

    choose, fall_back = njit(order), njit(otherwise)

    def rule(view):
        answer = choose(view)
        if answer == 0:
            return fall_back(view)
        if answer == AS_KERNEL or not same_rq_only or view.same_rq[answer - FIRST_CANDIDATE]:
            view.boost = boost
        return answer

    return rule


def kernel_loop(view):
    """The kernel's own loop."""
    return AS_KERNEL


ORDERS: dict[str, tuple[Callable[..., int], str]] = {
    "unserved": (unserved_first, "a sibling with an unserved interrupt first"),
    "spinner": (oldest_spinner_first, "unserved interrupt, else the oldest spinner first"),
    "same-rq": (same_rq_first, "a sibling on the own run queue first"),
    "longest-wait": (longest_wait_first, "the sibling longest preempted in kernel mode first"),
}
BOOSTS = {
    "hint": (BOOST_HINT, "plain hint"),
    "credit": (BOOST_CREDIT, "lag credit"),
    "transfer": (BOOST_TRANSFER, "lag transfer"),
    "minimal": (BOOST_MINIMAL, "smallest bounded penalty"),
    "borrow": (BOOST_BORROW, "a hint that may be 4 ms early"),
    "stay": (BOOST_STAY, "hint, the spinner stays"),
    "stay-credit": (BOOST_STAY_CREDIT, "lag credit, the spinner stays"),
}
ON_QUEUES = ("credit", "transfer", "minimal", "borrow", "stay-credit")
"""Those that act on run queues: on kernel 7.3 with its only level."""
STUDY = "feasibility study of this project"


def ordered(order: str, boost: str, *, else_plain: bool = False, same_rq_only: bool = False) -> Policy:
    """The policy of a candidate order and a boost."""
    rule, what = ORDERS[order]
    number, how = BOOSTS[boost]
    name = f"{order}-{boost}" + ("-same-rq" if same_rq_only else "") + ("-else-plain" if else_plain else "")
    where = ", own run queue only" if same_rq_only else ""
    otherwise = "else a plain yield" if else_plain else "else the kernel's loop"
    composed = order_with(rule, number, plain if else_plain else kernel_loop, same_rq_only)
    ported = boost in ON_QUEUES
    return Policy(name, f"{what}, {how}{where}; {otherwise}", target_rule=composed, ported=ported, source=STUDY)


def simple(name: str, summary: str, rule: Rule, **more: Any) -> Policy:
    """A policy that is one rule."""
    return Policy(name, summary, target_rule=rule, **{"source": STUDY, **more})


def with_boost(name: str, summary: str, boost: int) -> Policy:
    """The kernel's loop with a boost that acts on run queues."""
    return simple(name, summary, kernel_loop_with(boost), ported=True)


def steal_governor(interval_ms: int, name: str, summary: str) -> Policy:
    """Guests with a steal governor, all of them, at the default thresholds."""
    return Policy(
        name,
        summary,
        settings={("guest_vm", "governor_interval_ns"): interval_ms * 1_000_000},
        source="steal governor and preferred CPUs, v14, accepted for Linux 7.4 (needs a guest that has it)",
    )


def guest_hints(name: str, summary: str, cs_bits: int) -> Policy:
    """Hosts and guests with pvsched v3 and its built-in policy, at the default budgets."""
    return Policy(
        name,
        summary,
        settings={
            ("pvsched", "cs_bits"): cs_bits,
            ("pvsched", "cs_budget_ns"): CS_BUDGET_NS,
            ("pvsched", "generic_budget_ns"): GENERIC_BUDGET_NS,
        },
        source="pvsched v3, github.com/pvsched/linux (needs a guest that has it)",
    )


RIVALS = (
    Policy("no-ple", "no PAUSE exits: a spinner spins on", settings={("kvm_params", "ple_gap"): 0}, source="ple_gap=0"),
    simple("ignore", "PAUSE exits, but nobody is yielded to", nobody),
    simple("plain", "yield() instead of a directed yield", plain),
    simple("stay", "the kernel's candidate is hinted, the spinner keeps its CPU", kernel_loop_with(BOOST_STAY)),
    with_boost("stock-credit", "the kernel's candidate, with lag credit", BOOST_CREDIT),
    with_boost("stock-transfer", "the kernel's candidate, with lag transfer", BOOST_TRANSFER),
    with_boost("stock-borrow", "the kernel's candidate, a hint that may be 4 ms early", BOOST_BORROW),
    with_boost("stock-minimal", "the kernel's candidate, smallest bounded penalty", BOOST_MINIMAL),
    *(ordered(order, boost) for order in ORDERS for boost in ("hint", "credit", "transfer")),
    ordered("unserved", "borrow"),
    ordered("unserved", "stay-credit"),
    ordered("spinner", "stay-credit"),
    ordered("unserved", "transfer", else_plain=True),
    ordered("spinner", "transfer", else_plain=True),
    ordered("unserved", "credit", same_rq_only=True),
    ordered("unserved", "transfer", same_rq_only=True),
    ordered("same-rq", "minimal"),
    simple("same-node", "a sibling on the own NUMA node first, else the kernel's loop", same_node_first),
    simple("random", "any candidate, all equally likely", random_candidate),
    simple("round-robin", "the next candidate in scan order, whatever it was doing", round_robin),
    Policy(
        "series-v2-priorities",
        "v2 with its three tiers as priorities between candidates",
        frozenset(range(1, 10)),
        target_rule=ipi_tiers,
        source="cover letter of v2",
    ),
    Policy(
        "micro-slices",
        "base slice of 0.7 ms instead of the host's (ticks of 1 ms bound it)",
        settings={
            ("sched_tunables", "base_slice_ns"): NORMALIZED_BASE_SLICE_NS,
            ("sched_tunables", "normalized_base_slice_ns"): NORMALIZED_BASE_SLICE_NS,
        },
        source="micro-sliced CPUs: Ahn, Park, Heo, Huh, EuroSys 2018, by the base slice",
    ),
    Policy("balance", "siblings never share a CPU", keep_apart=True, source="Sukwong, Kim, EuroSys 2011, by pinning"),
    Policy(
        "relaxed-co-scheduling",
        "siblings that waited 3 ms while others ran are run",
        settings={("coscheduling", "mode"): COSCHED_RELAXED, ("coscheduling", "skew_ns"): 3_000_000},
        source="VMware ESX, relaxed co-scheduling",
    ),
    Policy(
        "gang",
        "VMs take turns of 10 ms, siblings kept apart",
        settings={("coscheduling", "mode"): COSCHED_GANG, ("coscheduling", "period_ns"): 10_000_000},
        keep_apart=True,
        source="Ousterhout, ICDCS 1982, at ticks",
    ),
    steal_governor(1000, "steal-governor", "guests that lose over 5 % of their time keep to fewer vCPUs, one a second"),
    steal_governor(100, "steal-governor-100ms", "the same, looking ten times a second, as often as it may"),
    guest_hints(
        "pvsched",
        "a vCPU with an interrupt goes before all others, within a budget, until its guest says that it is served",
        CS_HARDIRQ,
    ),
    guest_hints(
        "pvsched-preempt-off",
        "the same, also while its guest has preemption off: it holds or spins for a lock, or waits for a cross-call",
        CS_HARDIRQ | CS_PREEMPT_OFF,
    ),
    Policy(
        "delayed-preemption",
        "a vCPU whose guest says that it holds a lock keeps its CPU up to 0.5 ms longer",
        settings={("coscheduling", "mode"): COSCHED_DELAY, ("coscheduling", "delay_ns"): 500_000},
        source="eCS: Kashyap, Min, Kim, USENIX ATC 2018 (needs a paravirtual guest)",
    ),
)
