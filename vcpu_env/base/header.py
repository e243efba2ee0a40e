"""The header of a world: which structs there are, where each begins, and how many of it there are.

Word *s* of the header is the byte offset of the array of struct number *s*, word ``COUNTS_AT + s`` its length; both
are 0 for a struct that the world does not have. After them come two words for the first wrong index that compiled code
has met in debug mode, and one that says what is traced.
"""

import ctypes

STRUCTS = (
    "sched_tunables",
    "sched_features",
    "task_struct",
    "sched_entity",
    "cfs_rq",
    "rq",
    "task_group",
    "kicked_cpus",
    "sched_domain_shared",
    "rq_totals",
    "sched_domain",
    "sched_group",
    "cfs_bandwidth",
    "cfs_rq_bandwidth",
    "host_task",
    "host_op",
    "deboost_params",
    "yield_decision",
    "decision_rules",
    "yield_view",
    "kvm_vcpu",
    "kvm",
    "kvm_params",
    "candidate",
    "pcpu",
    "lapic",
    "event_slots",
    "lapic_costs",
    "guest_vcpu",
    "guest_thread",
    "guest_lock",
    "guest_queue",
    "guest_op",
    "newidle_dice",
    "guest_vm",
    "guest_costs",
    "guest_totals",
    "ipi_totals",
    "grace_period",
    "event",
    "earliest",
    "machine_clock",
    "engine",
    "host_costs",
    "yield_stats",
    "env_params",
    "env_state",
    "observation",
    "action_mask",
    "vm_account",
    "hidden",
    "coscheduling",
    "trace_record",
    "cgroup_change",
    "span_cpu",
    "sg_lb_stats",
    "lb_env",
    "nohz",
    "rq_bandwidth",
    "host_signal",
    "guest_shape",
    "alignment",
    "vm_alignment",
    "random_key",
    "host_change",
    "trace_ring",
    "rule_curve",
    "sched_rt_entity",
    "rt_rq",
    "fair_server",
    "pvsched",
    "pvsched_vcpu",
)
"""Names of all structs; a name's place is its number. Append only: cached code and snapshots know structs by number."""

COUNTS_AT = len(STRUCTS)
FAULT_AT = 2 * len(STRUCTS)
"""Number + 1 of the struct that was reached with a wrong index, 0: none; the next word is the index."""

TRACE_AT = FAULT_AT + 2
"""The groups of records that are written (`base.trace_ring`)."""

HEADER_WORDS = -(-(TRACE_AT + 1) // 8) * 8
"""Rounded up to cache lines."""


def outside(name: str, index: int, count: int) -> str:
    """What is said of an index that no struct has."""
    return (
        f"struct {name}: index {index} outside 0..{count - 1}" if count else f"struct {name}: index {index}, has none"
    )


def check_indices(address: int) -> None:
    """Debug mode: raise the first wrong index that compiled code has met in the world at `address`.

    Raises:
        IndexError: names struct and index.
    """
    header = (ctypes.c_int64 * HEADER_WORDS).from_address(address)
    if header[FAULT_AT]:
        number = header[FAULT_AT] - 1
        raise IndexError(outside(STRUCTS[number], header[FAULT_AT + 1], header[COUNTS_AT + number]))
