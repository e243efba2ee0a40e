"""From a scenario's quotas and changes to the kernel's: limits of groups, their timers, and what is written when."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vcpu_env.base.structs import StructArray
from vcpu_env.base.world import World
from vcpu_env.kernel.bandwidth import RUNTIME_INF, Bandwidth
from vcpu_env.kernel.build import Group
from vcpu_env.kernel.cgroup import (
    CHANGE_BANDWIDTH,
    CHANGE_IDLE,
    CHANGE_SHARES,
    Change,
    cgroup_arrays,
    cgroup_slots,
    init_cgroups,
)
from vcpu_env.kernel.weights import sched_weight_from_cgroup
from vcpu_env.scenario.cgroup_writes import Limits, writes
from vcpu_env.scenario.cgroups import DEFAULT_WEIGHT, NO_QUOTA
from vcpu_env.scenario.model import Scenario
from vcpu_env.scenario.vm import Vm

UNLIMITED = Limits(weight=DEFAULT_WEIGHT, idle=False, quota_us=NO_QUOTA, period_us=100_000, burst_us=0)
"""What a group has that nobody has written to."""

CPU_STAT = {"nr_periods": 1, "nr_throttled": 1, "throttled_usec": 1000, "nr_bursts": 1, "burst_usec": 1000}
"""What bandwidth control adds to a group's cpu.stat: the names, and nanoseconds in the unit."""

CPU_STAT_FIELDS = ("nr_periods", "nr_throttled", "throttled_time_ns", "nr_burst", "burst_time_ns")


def cpu_shares(weight: int) -> int:
    """Scaled shares of a cgroup's cpu.weight."""
    return sched_weight_from_cgroup(weight) << 10


def bandwidth_of(limits: Limits) -> Bandwidth:
    """Limits in nanoseconds."""
    quota_ns = RUNTIME_INF if limits.quota_us == NO_QUOTA else limits.quota_us * 1000
    return Bandwidth(quota_ns, limits.period_us * 1000, limits.burst_us * 1000)


def thread_limits(vm: Vm, threads: str) -> Limits:
    """What libvirt writes to the group of each of a VM's threads: a "vcpu", the "emulator", an "iothread"."""
    quota_us, period_us = getattr(vm, f"{threads}_quota_us"), getattr(vm, f"{threads}_period_us")
    return Limits(DEFAULT_WEIGHT, False, quota_us, period_us, 0)


def cgroup_changes(scenario: Scenario, groups: Sequence[Group]) -> list[Change]:
    """What is written to which group's files."""
    ids = {group.owner: tg for tg, group in enumerate(groups, start=1)}
    changes = []
    for write in writes(scenario):
        tg, limits = ids[write.owner], write.limits
        if write.kind == "weight":
            changes.append(Change(write.at_ns, CHANGE_SHARES, tg, cpu_shares(limits.weight)))
        elif write.kind == "idle":
            changes.append(Change(write.at_ns, CHANGE_IDLE, tg, int(limits.idle)))
        else:
            changes.append(Change(write.at_ns, CHANGE_BANDWIDTH, tg, 0, bandwidth_of(limits)))
    return changes


def limited(groups: Sequence[Group], changes: Sequence[Change]) -> list[int]:
    """The groups that have a quota at some time."""
    given = {change.tg for change in changes if change.bandwidth.quota_ns != RUNTIME_INF}
    return [tg for tg, g in enumerate(groups, start=1) if tg in given or g.bandwidth.quota_ns != RUNTIME_INF]


class CgroupEvents:
    """The quotas and changes of a scenario on their way into a world; nothing at all if there are none.

    Attributes:
        nr_slots: on the timeline, from `first_slot` on.
    """

    def __init__(self, scenario: Scenario, groups: Sequence[Group], first_slot: int):
        self.nr_cpus, self.groups, self.first_slot = scenario.host.cpus, groups, first_slot
        self.changes = cgroup_changes(scenario, groups)
        self.any = bool(self.changes or limited(groups, self.changes))
        self.nr_slots = cgroup_slots(len(groups), len(self.changes)) if self.any else 0

    def arrays(self) -> list[StructArray]:
        """Their struct arrays."""
        return cgroup_arrays(self.nr_cpus, len(self.groups), len(self.changes)) if self.any else []

    def fill(self, world: World, seed: int) -> None:
        """Set them. Each group's periods have a phase, and their timer a CPU, as on a host that has long been up."""
        if not self.any:
            return
        rng = np.random.default_rng([seed, 0xCF5])
        limits = [group.bandwidth for group in self.groups]
        phases_ns = [int(rng.integers(limit.period_ns)) for limit in limits]
        timer_cpus = rng.integers(self.nr_cpus, size=len(limits)).tolist()
        init_cgroups(world, limits, phases_ns, self.changes, self.first_slot, timer_cpus)


def cpu_stat(world: World, groups: Sequence[Group], changes: Sequence[Change]) -> list[dict[str, Any]]:
    """cpu.stat of all groups that have a quota at some time."""
    stats = []
    for tg in limited(groups, changes):
        kind, name = groups[tg - 1].owner
        pool = world["cfs_bandwidth"][tg]
        counted = zip(CPU_STAT.items(), CPU_STAT_FIELDS, strict=True)
        stats.append({"kind": kind, "name": name} | {stat: int(pool[field]) // unit for (stat, unit), field in counted})
    return stats
