"""Where a new task starts: sched_balance_find_dst_cpu(), from the largest domain down to one CPU."""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.domain_types import SD_NUMA, sched_domain, sched_group, sg_lb_stats, span_cpu
from vcpu_env.kernel.group_stats import (
    GROUP_FULLY_BUSY,
    GROUP_HAS_SPARE,
    GROUP_OVERLOADED,
    adjust_numa_imbalance,
    cpu_allowed,
    group_avg_load,
    group_classify,
    idle_cpu,
    sum_group,
)
from vcpu_env.kernel.types import cfs_rq, cpu_rq

NICE_0_WEIGHT = 1024


@kjit
def nr_allowed_in_group(w, p, g):
    """How many CPUs of a group a task's affinity allows."""
    group, allowed = sched_group(w, g), 0
    for i in range(group.first, group.first + group.weight):
        if cpu_allowed(w, p, span_cpu(w, i).cpu):
            allowed += 1
    return allowed


@kjit
def sched_idle_cpu(w, cpu):
    """fair.c: sched_idle_cpu(). A CPU that has tasks, but only of idle policy or of idle groups."""
    nr_running = cpu_rq(w, cpu).nr_running
    return nr_running > 0 and nr_running == cfs_rq(w, cpu).h_nr_idle


@kjit
def update_pick_idlest(w, at, idlest):
    """fair.c: update_pick_idlest(). Whether a group is a better place for a new task than the best one so far."""
    this, best = sg_lb_stats(w, at), sg_lb_stats(w, idlest)
    if best.group == NIL or this.kind != best.kind:
        return best.group == NIL or this.kind < best.kind
    if this.kind == GROUP_OVERLOADED or this.kind == GROUP_FULLY_BUSY:
        return this.avg_load < best.avg_load
    if this.kind != GROUP_HAS_SPARE:
        return False
    if this.idle_cpus != best.idle_cpus:
        return this.idle_cpus > best.idle_cpus
    return this.util < best.util


@kjit
def idlest_is_better(w, p, sd, local, idlest):
    """fair.c: sched_balance_find_dst_group(), both groups alike: whether the idlest is so by enough to leave home."""
    near, far = sg_lb_stats(w, local), sg_lb_stats(w, idlest)
    if near.kind == GROUP_HAS_SPARE:
        if sd.flags & SD_NUMA:
            excess = abs(near.idle_cpus - far.idle_cpus)
            tolerated = min(nr_allowed_in_group(w, p, near.group), sd.imb_numa_nr)
            if adjust_numa_imbalance(excess, near.nr_running + 1, tolerated) == 0:
                return False
        return near.idle_cpus < far.idle_cpus
    if near.kind != GROUP_OVERLOADED and near.kind != GROUP_FULLY_BUSY:
        return False
    margin = NICE_0_WEIGHT * (sd.imbalance_pct - 100) // 100
    if sd.flags & SD_NUMA and far.avg_load + margin >= near.avg_load:
        return False
    if far.avg_load >= near.avg_load + margin:
        return False
    return 100 * near.avg_load > sd.imbalance_pct * far.avg_load


@kjit
def sched_balance_find_dst_group(w, p, sd_id):
    """fair.c: sched_balance_find_dst_group(). The idlest group of a domain, NIL if the forking CPU's own will do."""
    sd = sched_domain(w, sd_id)
    local, idlest, at = 0, 1, 2
    sg_lb_stats(w, local).group = sg_lb_stats(w, idlest).group = NIL
    g = sd.group
    while True:
        if nr_allowed_in_group(w, p, g):
            place = local if g == sd.group else at
            sum_group(w, place, g, p)
            stats = sg_lb_stats(w, place)
            stats.kind, stats.avg_load = group_classify(w, place, sd.imbalance_pct, False), group_avg_load(w, place)
            if place == at and update_pick_idlest(w, at, idlest):
                at, idlest = idlest, at
        g = sched_group(w, g).next
        if g == sd.group:
            break
    near, far = sg_lb_stats(w, local), sg_lb_stats(w, idlest)
    if far.group == NIL or near.group == NIL or near.kind != far.kind:
        leave = far.group != NIL and (near.group == NIL or near.kind > far.kind)
    else:
        leave = idlest_is_better(w, p, sd, local, idlest)
    return far.group if leave else NIL


@kjit
def sched_balance_find_dst_group_cpu(w, p, g, this_cpu):
    """fair.c: sched_balance_find_dst_group_cpu(). A group's CPU that went idle last, else the least loaded one.

    The first CPU that has only tasks of idle policy is good enough.
    """
    group = sched_group(w, g)
    if group.weight == 1:
        return span_cpu(w, group.first).cpu
    idlest, idle_since, least, least_load = NIL, NIL, this_cpu, -1
    for i in range(group.first, group.first + group.weight):
        cpu = span_cpu(w, i).cpu
        if not cpu_allowed(w, p, cpu):
            continue
        rq, load = cpu_rq(w, cpu), cfs_rq(w, cpu).load_avg
        if sched_idle_cpu(w, cpu):
            return cpu
        if idle_cpu(w, cpu):
            if rq.idle_stamp_ns > idle_since:
                idlest, idle_since = cpu, rq.idle_stamp_ns
        elif idlest == NIL and (least_load < 0 or load < least_load):
            least, least_load = cpu, load
    return least if idlest == NIL else idlest


@kjit
def largest_below(w, cpu, weight):
    """The largest domain of a CPU with fewer CPUs than `weight`, NIL if there is none."""
    found, sd_id = NIL, cpu_rq(w, cpu).sd
    while sd_id != NIL and sched_domain(w, sd_id).span_weight < weight:
        found, sd_id = sd_id, sched_domain(w, sd_id).parent
    return found


@kjit
def sched_balance_find_dst_cpu(w, p, this_cpu):
    """fair.c: sched_balance_find_dst_cpu(). The idlest CPU: the idlest group, then the idlest within it, and so on."""
    cpu = this_cpu
    sd_id = cpu_rq(w, cpu).sd
    while sd_id != NIL and sched_domain(w, sd_id).parent != NIL:
        sd_id = sched_domain(w, sd_id).parent
    while sd_id != NIL:
        g = sched_balance_find_dst_group(w, p, sd_id)
        new_cpu = cpu if g == NIL else sched_balance_find_dst_group_cpu(w, p, g, cpu)
        if new_cpu == cpu:
            sd_id = sched_domain(w, sd_id).child
        else:
            weight, cpu = sched_domain(w, sd_id).span_weight, new_cpu
            sd_id = largest_below(w, cpu, weight)
    return cpu
