"""The engine's own state and the costs of host work."""

import numpy as np

from vcpu_env.base.jit import struct
from vcpu_env.base.world import StructArray

RUNNING, STOPPED_AT_DECISION, ANSWERED, FAILED = range(4)
DECISION_TARGET, DECISION_PENALTY = range(2)

ENGINE = np.dtype(
    [
        ("status", "i8"),
        ("exact_ticks", "i8"),
        ("decisions", "i8"),  # kvm_vcpu_on_spin() calls so far
        ("decision_kind", "i8"),  # what a stopped machine waits for
        ("decision_cpu", "i8"),
        ("decision_by_kick", "i8"),  # the yield comes from a hypercall
        ("answer", "i8"),  # from outside, to be taken when the machine goes on
        ("refused", "i8"),  # the answer that was not allowed
        ("tick_jitter_ns", "i8"),
        ("next_search_ns", "i8"),  # a policy that searches: earliest time of its next search
    ],
    align=True,
)

HOST_COSTS = np.dtype(
    [
        (name, "i8")
        for name in (
            "context_switch_ns",
            "ibpb_ns",
            "vm_exit_ns",
            "injection_exit_ns",
            "hlt_exit_ns",
            "wake_ns",
            "pause_exit_ns",
            "pause_scan_ns",
            "yield_to_ns",
            "tick_ns",
            "resched_ipi_ns",
            "migration_ns",
            "cold_cache_ns",
            "cold_cache_ratio_1024",
            "task_switch_ns",
            "task_syscall_ns",
            "task_yield_ns",
            "task_tick_ns",
            "task_ipi_ns",
            "llc_refill_1024",
            "node_refill_1024",
            "smt_speed_1024",
            "tlb_flush_ns",
            "bandwidth_timer_ns",
        )
    ],
    align=True,
)

YIELD_STATS = np.dtype(
    [
        ("yields", "i8"),  # yield_to() calls that succeeded
        ("applied", "i8"),  # penalties
        ("penalty_ns", "i8"),  # their sum, in virtual time
        ("limited", "i8"),
        ("cross_rq", "i8"),  # the slot of the limiter was used up for a target on another run queue
        ("wrapped", "i8"),
        ("forfeit", "i8"),
        ("credited", "i8"),  # yields whose target was credited with lag
        ("credit_ns", "i8"),  # service that they were credited with
        ("plain", "i8"),  # yields without a target
        ("stayed", "i8"),  # hints after which the spinner kept its CPU
        ("not_applied", "i8"),  # a penalty was asked for and could not be: the yield was a plain hint
    ],
    align=True,
)

COSCHEDULING = np.dtype(
    [
        ("mode", "i8"),
        ("nr_vms", "i8"),
        ("period_ns", "i8"),  # gang: each VM's turn
        ("skew_ns", "i8"),  # relaxed: how long a sibling may wait while others run
        ("delay_ns", "i8"),  # delayed preemption: most time that a lock holder is given
    ],
    align=True,
)

engine = struct(47, ENGINE)
host_costs = struct(48, HOST_COSTS)
yield_stats = struct(49, YIELD_STATS)
coscheduling = struct(56, COSCHEDULING)


def engine_arrays() -> list[StructArray]:
    """The struct arrays of the engine."""
    return [
        StructArray(47, "engine", ENGINE, 1),
        StructArray(48, "host_costs", HOST_COSTS, 1),
        StructArray(49, "yield_stats", YIELD_STATS, 1),
        StructArray(56, "coscheduling", COSCHEDULING, 1),
    ]
