"""The structs of scheduling domains and of balancing: where CPUs are, and what an attempt to balance works with."""

import numpy as np

from vcpu_env.base.jit import struct
from vcpu_env.base.world import StructArray

SD_SHARE_CPUCAPACITY, SD_SHARE_LLC, SD_NUMA, SD_PREFER_SIBLING = 1, 2, 4, 8
"""Flags of a scheduling domain that make a difference here: balancing, forks and affine wakeups happen in all."""

SCHED_DOMAIN = np.dtype(
    [
        ("parent", "i8"),  # the next larger domain of the same CPU, NIL at the top
        ("child", "i8"),
        ("group", "i8"),  # the group that the CPU itself belongs to
        ("first", "i8"),  # its CPUs: `span_weight` entries of `span_cpu` from here
        ("span_weight", "i8"),
        ("flags", "i8"),
        ("imbalance_pct", "i8"),
        ("cache_nice_tries", "i8"),
        ("imb_numa_nr", "i8"),
        ("min_interval_ms", "i8"),
        ("max_interval_ms", "i8"),
        ("balance_interval_ms", "i8"),
        ("last_balance_ns", "i8"),
        ("nr_balance_failed", "i8"),
        ("newidle_ratio", "i8"),
        ("newidle_call", "i8"),
        ("newidle_success", "i8"),
    ],
    align=True,
)
"""One for every CPU and level, lowest level first; the numbers of a one-level host's domains are those of its CPUs."""

SCHED_GROUP = np.dtype(
    [
        ("next", "i8"),  # ring of the groups of a domain
        ("first", "i8"),  # its CPUs: `weight` entries of `span_cpu` from here
        ("weight", "i8"),
        ("cores", "i8"),
        ("flags", "i8"),  # those of the domain that it is one level below, 0 for a single CPU
        ("imbalance", "i8"),  # affinity kept a balance within it from succeeding
    ],
    align=True,
)

SPAN_CPU = np.dtype([("cpu", "i8")], align=True)
"""CPUs in the order of nodes, caches and numbers; after them, with SMT, once more in the order of cores."""

SCHED_DOMAIN_SHARED = np.dtype(
    [
        ("first", "i8"),
        ("weight", "i8"),
        ("nr_idle_scan", "i8"),
        ("nr_busy_cpus", "i8"),  # as ticks see it: a CPU that is no longer idle counts from its next tick on
        ("has_idle_cores", "i8"),  # a hint: set when a core goes idle, cleared by a search that finds none
    ],
    align=True,
)
"""One for every last-level cache."""

NOHZ = np.dtype(
    [
        ("next_balance_ns", "i8"),
        ("next_blocked_ns", "i8"),
        ("nr_cpus", "i8"),  # whose tick is stopped
        ("has_blocked", "i8"),
        ("needs_update", "i8"),
    ],
    align=True,
)
"""What idle CPUs wait for: a balance, and the aging of their load (struct nohz)."""

SG_LB_STATS = np.dtype(
    [
        ("load", "i8"),
        ("util", "i8"),
        ("runnable", "i8"),
        ("nr_running", "i8"),
        ("h_nr_runnable", "i8"),
        ("idle_cpus", "i8"),
        ("kind", "i8"),  # GROUP_*
        ("avg_load", "i8"),  # only of an overloaded group, as in the kernel
        ("group", "i8"),
    ],
    align=True,
)
"""What a search knows of a group; three of them, for the local one, the best so far, and the one looked at."""

LB_ENV = np.dtype(
    [
        ("sd", "i8"),
        ("dst_cpu", "i8"),
        ("src_cpu", "i8"),
        ("idle", "i8"),
        ("migration_type", "i8"),
        ("imbalance", "i8"),
        ("some_pinned", "i8"),
        ("all_pinned", "i8"),
        ("dst_pinned", "i8"),  # a task could go to `new_dst_cpu` of the group only
        ("new_dst_cpu", "i8"),
        ("active", "i8"),
        ("loop", "i8"),
        ("loop_max", "i8"),
        ("moved", "i8"),
        ("detached", "i8"),  # first of a list by `task.group_next`; NIL
        ("continue_balancing", "i8"),
        ("total_load", "i8"),
        ("local", "i8"),  # places in `sg_lb_stats`
        ("busiest", "i8"),
    ],
    align=True,
)
"""One attempt to balance a domain (struct lb_env and sd_lb_stats)."""

NEWIDLE_DICE = np.dtype([("value", "i8")], align=True)

sched_domain_shared = struct(8, SCHED_DOMAIN_SHARED)
sched_domain = struct(10, SCHED_DOMAIN)
sched_group = struct(11, SCHED_GROUP)
span_cpu = struct(59, SPAN_CPU)
sg_lb_stats = struct(60, SG_LB_STATS)
lb_env = struct(61, LB_ENV)
nohz = struct(62, NOHZ)
newidle_dice = struct(33, NEWIDLE_DICE)


def recorded_dice(dice: int) -> StructArray:
    """The struct array of draws that a recording had."""
    return StructArray(33, "newidle_dice", NEWIDLE_DICE, max(dice, 1))


def domain_arrays(nr_cpus: int, levels: int, nr_llcs: int) -> list[StructArray]:
    """The struct arrays of the domains of a host whose CPUs have up to `levels` of them."""
    return [
        StructArray(8, "sched_domain_shared", SCHED_DOMAIN_SHARED, nr_llcs),
        StructArray(10, "sched_domain", SCHED_DOMAIN, nr_cpus * max(levels, 1)),
        StructArray(11, "sched_group", SCHED_GROUP, nr_cpus * max(levels, 1)),
        StructArray(59, "span_cpu", SPAN_CPU, 2 * nr_cpus),
        StructArray(60, "sg_lb_stats", SG_LB_STATS, 3),
        StructArray(61, "lb_env", LB_ENV, 1),
        StructArray(62, "nohz", NOHZ, 1),
    ]
