"""The engine's own state and the costs of host work."""

from vcpu_env.base.structs import Struct, StructArray

RUNNING, STOPPED_AT_DECISION, ANSWERED, FAILED = range(4)
DECISION_TARGET, DECISION_PENALTY = range(2)

engine = Struct(
    "engine",
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
    single=True,
)

host_costs = Struct(
    "host_costs",
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
    single=True,
)


def engine_arrays() -> list[StructArray]:
    """The struct arrays of the engine."""
    return [
        engine.array(),
        host_costs.array(),
    ]
