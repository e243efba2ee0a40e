"""What happens to cgroups at set times: the timers of bandwidth control, and what an administrator writes during a run.

Each group's period timer and slack timer, and each change, owns a slot on the timeline, in this order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from vcpu_env.base.jit import NIL, entry_point, kjit
from vcpu_env.base.structs import Struct, StructArray
from vcpu_env.base.timeline import NEVER, set_event
from vcpu_env.kernel.bandwidth import Bandwidth, bandwidth_arrays, bandwidth_slots, cfs_bandwidth, init_bandwidth
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.group_weight import sched_group_set_idle, sched_group_set_shares
from vcpu_env.kernel.throttle import sched_cfs_period_timer, sched_cfs_slack_timer, tg_set_cfs_bandwidth
from vcpu_env.kernel.types import cpu_rq, sched_tunables

CHANGE_SHARES, CHANGE_IDLE, CHANGE_BANDWIDTH = range(3)

cgroup_change = Struct(
    "cgroup_change",
    [
        ("kind", "i8"),
        ("tg", "i8"),
        ("value", "i8"),  # scaled shares, or cpu.idle
        ("quota_ns", "i8"),
        ("period_ns", "i8"),
        ("burst_ns", "i8"),
    ],
)


@dataclass(frozen=True)
class Change:
    """One write to a file of a group: cpu.weight, cpu.idle, or cpu.max with its burst."""

    at_ns: int
    kind: int
    tg: int
    value: int = 0
    bandwidth: Bandwidth = Bandwidth()


def cgroup_arrays(nr_cpus: int, nr_groups: int, nr_changes: int) -> list[StructArray]:
    """The struct arrays of groups with quotas or changes."""
    changes = cgroup_change.array(nr_changes)
    return [*bandwidth_arrays(nr_cpus, nr_groups), changes]


def cgroup_slots(nr_groups: int, nr_changes: int) -> int:
    """How many slots of the timeline they need."""
    return bandwidth_slots(nr_groups) + nr_changes


def init_cgroups(
    world,
    limits: Sequence[Bandwidth],
    phases_ns: Sequence[int],
    changes: Sequence[Change],
    first_slot: int,
    timer_cpus: Sequence[int] = (),
) -> None:
    """Set the groups' limits (those of group 1 first) and put timers and changes on the timeline.

    `timer_cpus` are the CPUs that serve the period timers at first (default: CPU 0).
    """
    init_bandwidth(world, limits, phases_ns, first_slot)
    world["cfs_bandwidth"]["period_cpu"][1:] = timer_cpus or 0
    first_slot += bandwidth_slots(len(limits))
    for i, change in enumerate(changes):
        limit = change.bandwidth
        row = (change.kind, change.tg, change.value, limit.quota_ns, limit.period_ns, limit.burst_ns)
        world["cgroup_change"][i] = row
        set_event(world.handle, first_slot + i, change.at_ns)


@kjit
def apply_change(w, i, now_ns):
    """Do what the administrator writes."""
    change = cgroup_change(w, i)
    if change.kind == CHANGE_BANDWIDTH:
        tg_set_cfs_bandwidth(w, change.tg, change.quota_ns, change.period_ns, change.burst_ns, 0, now_ns)
        return
    for cpu in range(sched_tunables(w).nr_cpus):
        update_rq_clock(w, cpu, now_ns)
        rq = cpu_rq(w, cpu)
        rq.clock_read_ns = rq.clock_ns
    if change.kind == CHANGE_IDLE:
        sched_group_set_idle(w, change.tg, change.value)
    else:
        sched_group_set_shares(w, change.tg, change.value)


@kjit
def timer_cpu(w, slot):
    """The CPU that serves the timer of a slot; NIL if that is a change."""
    groups, i = sched_tunables(w).nr_groups + 1, slot - cfs_bandwidth(w, 0).period_timer
    if i < groups:
        return cfs_bandwidth(w, i).period_cpu
    return cfs_bandwidth(w, i - groups).slack_cpu if i < 2 * groups else NIL


@entry_point
def cgroup_event(w, slot, now_ns):
    """A timer of a group has expired, or a change is due. Returns for how long that keeps the timer's CPU busy (ns)."""
    groups, i = sched_tunables(w).nr_groups + 1, slot - cfs_bandwidth(w, 0).period_timer
    if i < groups:
        return sched_cfs_period_timer(w, i, now_ns)
    if i < 2 * groups:
        return sched_cfs_slack_timer(w, i - groups, now_ns)
    set_event(w, slot, NEVER)
    apply_change(w, i - 2 * groups, now_ns)
    return 0
