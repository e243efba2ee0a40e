"""The structs of scheduling domains and of balancing: where CPUs are, and what an attempt to balance works with."""

from vcpu_env.base.structs import Struct, StructArray

SD_SHARE_CPUCAPACITY, SD_SHARE_LLC, SD_NUMA, SD_PREFER_SIBLING = 1, 2, 4, 8
"""Flags of a scheduling domain that make a difference here: balancing, forks and affine wakeups happen in all."""

sched_domain = Struct(
    "sched_domain",
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
)
"""One for every CPU and level, lowest level first; the numbers of a one-level host's domains are those of its CPUs."""

sched_group = Struct(
    "sched_group",
    [
        ("next", "i8"),  # ring of the groups of a domain
        ("first", "i8"),  # its CPUs: `weight` entries of `span_cpu` from here
        ("weight", "i8"),
        ("cores", "i8"),
        ("flags", "i8"),  # those of the domain that it is one level below, 0 for a single CPU
        ("imbalance", "i8"),  # affinity kept a balance within it from succeeding
    ],
)

span_cpu = Struct("span_cpu", [("cpu", "i8")])
"""CPUs in the order of nodes, caches and numbers; after them, with SMT, once more in the order of cores."""

sched_domain_shared = Struct(
    "sched_domain_shared",
    [
        ("first", "i8"),
        ("weight", "i8"),
        ("nr_idle_scan", "i8"),
        ("nr_busy_cpus", "i8"),  # as ticks see it: a CPU that is no longer idle counts from its next tick on
        ("has_idle_cores", "i8"),  # a hint: set when a core goes idle, cleared by a search that finds none
    ],
)
"""One for every last-level cache."""

nohz = Struct(
    "nohz",
    [
        ("next_balance_ns", "i8"),
        ("next_blocked_ns", "i8"),
        ("nr_cpus", "i8"),  # whose tick is stopped
        ("has_blocked", "i8"),
        ("needs_update", "i8"),
    ],
    single=True,
)
"""What idle CPUs wait for: a balance, and the aging of their load (struct nohz)."""

sg_lb_stats = Struct(
    "sg_lb_stats",
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
        ("capacity", "i8"),
    ],
)
"""What a search knows of a group; three of them, for the local one, the best so far, and the one looked at."""

lb_env = Struct(
    "lb_env",
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
        ("total_capacity", "i8"),
        ("local", "i8"),  # places in `sg_lb_stats`
        ("busiest", "i8"),
    ],
    single=True,
)
"""One attempt to balance a domain (struct lb_env and sd_lb_stats)."""

newidle_dice = Struct("newidle_dice", [("value", "i8")])


def recorded_dice(dice: int) -> StructArray:
    """The struct array of draws that a recording had."""
    return newidle_dice.array(max(dice, 1))


def domain_arrays(nr_cpus: int, levels: int, nr_llcs: int) -> list[StructArray]:
    """The struct arrays of the domains of a host whose CPUs have up to `levels` of them."""
    return [
        sched_domain_shared.array(nr_llcs),
        sched_domain.array(nr_cpus * max(levels, 1)),
        sched_group.array(nr_cpus * max(levels, 1)),
        span_cpu.array(2 * nr_cpus),
        sg_lb_stats.array(3),
        lb_env.array(),
        nohz.array(),
    ]
