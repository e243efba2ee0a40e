"""Which CPU to pull from, and how much: the busiest group of a domain, then the busiest CPU in it.

While the pulling group has CPUs to spare, *tasks* are counted, or, between caches, *utilisation*; when all are busy,
*load*. A search goes round the ring of groups from the pulling CPU's own.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.domain_types import (
    SD_NUMA,
    SD_PREFER_SIBLING,
    SD_SHARE_CPUCAPACITY,
    SD_SHARE_LLC,
    lb_env,
    sched_domain,
    sched_domain_shared,
    sched_group,
    sg_lb_stats,
    span_cpu,
)
from vcpu_env.kernel.group_stats import (
    GROUP_FULLY_BUSY,
    GROUP_HAS_SPARE,
    GROUP_IMBALANCED,
    GROUP_OVERLOADED,
    GROUP_SMT_BALANCE,
    adjust_numa_imbalance,
    cpu_util_cfs_boost,
    group_avg_load,
    group_classify,
    sum_group,
)
from vcpu_env.kernel.pelt import SCHED_CAPACITY_SCALE
from vcpu_env.kernel.rt_load import capacity_of, has_reduced_capacity
from vcpu_env.kernel.types import cfs_rq, cpu_rq, rq_totals, sched_features

CPU_NOT_IDLE, CPU_IDLE, CPU_NEWLY_IDLE = 0, 1, 2
MIGRATE_LOAD, MIGRATE_UTIL, MIGRATE_TASK = range(3)


@kjit
def is_smt(w, g):
    """Whether a group is a core of two threads."""
    return sched_group(w, g).flags & SD_SHARE_CPUCAPACITY != 0


@kjit
def has_more_to_spare_than(w, a, b):
    """Whether group statistics `a` show more idle CPUs than `b`, or as many and no more tasks."""
    this, other = sg_lb_stats(w, a), sg_lb_stats(w, b)
    if this.idle_cpus != other.idle_cpus:
        return this.idle_cpus > other.idle_cpus
    return this.nr_running <= other.nr_running


@kjit
def update_sd_pick_busiest(w, at, busiest):
    """fair.c: update_sd_pick_busiest(). Whether a group is a better one to pull from than the best so far."""
    this, best = sg_lb_stats(w, at), sg_lb_stats(w, busiest)
    kind = this.kind
    if best.group == NIL:
        return True
    if kind != best.kind:
        return kind > best.kind
    if kind == GROUP_OVERLOADED:
        return this.avg_load > best.avg_load
    if kind == GROUP_IMBALANCED:
        return False
    if kind == GROUP_FULLY_BUSY or (kind == GROUP_SMT_BALANCE and this.idle_cpus == 0 and best.idle_cpus == 0):
        return not is_smt(w, best.group)
    if kind == GROUP_HAS_SPARE and is_smt(w, this.group) != is_smt(w, best.group):
        return not is_smt(w, this.group) or this.h_nr_runnable > 1
    return not has_more_to_spare_than(w, at, busiest)


@kjit
def update_idle_cpu_scan(w, sd_id, sum_util):
    """fair.c: update_idle_cpu_scan(). How many CPUs a wakeup may look at: the square of utilisation is against it."""
    sd = sched_domain(w, sd_id)
    shared = sched_domain_shared(w, cpu_rq(w, span_cpu(w, sd.first).cpu).llc)
    if sd.span_weight != shared.weight or not sched_features(w).SIS_UTIL:
        return
    util = sum_util // shared.weight
    busy = util * util * sd.imbalance_pct * sd.imbalance_pct // (10000 * SCHED_CAPACITY_SCALE)
    left = SCHED_CAPACITY_SCALE - min(busy, SCHED_CAPACITY_SCALE)
    shared.nr_idle_scan = left * shared.weight // SCHED_CAPACITY_SCALE


@kjit
def has_overloaded_cpu(w, sd_id):
    """fair.c: update_sg_lb_stats(), sg_overloaded. Whether any CPU of a domain has two tasks, of those looked at."""
    sd = sched_domain(w, sd_id)
    for i in range(sd.first, sd.first + sd.span_weight):
        rq = cpu_rq(w, span_cpu(w, i).cpu)
        if rq.nr_running > 1 and not rq.excluded:
            return True
    return False


@kjit
def update_sd_lb_stats(w):
    """fair.c: update_sd_lb_stats(). Sum up every group of the domain; note the local and the busiest one."""
    env = lb_env(w)
    sd = sched_domain(w, env.sd)
    env.local, env.busiest = 0, 1
    at, g = 0, sd.group
    sg_lb_stats(w, 1).group = NIL
    total_load = total_capacity = sum_util = 0
    while True:
        sum_group(w, at, g, NIL)
        stats = sg_lb_stats(w, at)
        total_load += stats.load
        total_capacity += stats.capacity
        sum_util += stats.util
        if at == env.local or stats.h_nr_runnable:
            stats.kind = group_classify(w, at, sd.imbalance_pct, at != env.local and env.idle != CPU_NOT_IDLE)
            if stats.kind == GROUP_OVERLOADED:
                stats.avg_load = group_avg_load(w, at)
            if at != env.local and update_sd_pick_busiest(w, at, env.busiest):
                env.busiest = at
        at = 3 - env.busiest
        g = sched_group(w, g).next
        if g == sd.group:
            break
    env.total_load, env.total_capacity = total_load, total_capacity
    if sd.parent == NIL:
        rq_totals(w).overloaded = 1 if has_overloaded_cpu(w, env.sd) else 0
    if env.idle != CPU_NEWLY_IDLE:
        update_idle_cpu_scan(w, env.sd, sum_util)


@kjit
def sibling_imbalance(w):
    """fair.c: sibling_imbalance(). How many more tasks a core the busiest group has than the local one."""
    env = lb_env(w)
    local, busiest = sg_lb_stats(w, env.local), sg_lb_stats(w, env.busiest)
    if env.idle == CPU_NOT_IDLE:
        return 0
    local_cores, busiest_cores = sched_group(w, local.group).cores, sched_group(w, busiest.group).cores
    if local_cores == busiest_cores:
        return max(busiest.nr_running - local.nr_running, 0)
    excess = max(local_cores * busiest.nr_running - busiest_cores * local.nr_running, 0)
    both = local_cores + busiest_cores
    excess = (2 * excess + both) // both
    if excess <= 1 and local.nr_running == 0 and busiest.nr_running > 1:
        return 2
    return excess


@kjit
def prefer_sibling(w):
    """Whether the busiest group would rather see its tasks spread over groups than packed into it."""
    busiest = sg_lb_stats(w, lb_env(w).busiest)
    return sched_group(w, busiest.group).flags & SD_PREFER_SIBLING != 0


@kjit
def mean_load(w):
    """fair.c: sds->avg_load. The load of all groups in relation to their capacity."""
    env = lb_env(w)
    return env.total_load * SCHED_CAPACITY_SCALE // env.total_capacity


@kjit
def overloaded_group_is_unfair(w):
    """fair.c: sched_balance_find_src_group(), both groups overloaded: whether the other one is so by enough."""
    env = lb_env(w)
    sd, local, busiest = sched_domain(w, env.sd), sg_lb_stats(w, env.local), sg_lb_stats(w, env.busiest)
    if local.avg_load >= busiest.avg_load or local.avg_load >= mean_load(w):
        return False
    return 100 * busiest.avg_load > sd.imbalance_pct * local.avg_load


@kjit
def has_imbalance(w):
    """fair.c: sched_balance_find_src_group(). Whether there is anything to be pulled from the busiest group."""
    env = lb_env(w)
    local, busiest = sg_lb_stats(w, env.local), sg_lb_stats(w, env.busiest)
    if busiest.group == NIL:
        return False
    if busiest.kind == GROUP_IMBALANCED:
        return True
    if local.kind > busiest.kind:
        return False
    if local.kind == GROUP_OVERLOADED and not overloaded_group_is_unfair(w):
        return False
    if prefer_sibling(w) and local.kind == GROUP_HAS_SPARE and sibling_imbalance(w) > 1:
        return True
    if busiest.kind == GROUP_OVERLOADED:
        return True
    if env.idle == CPU_NOT_IDLE:
        return False
    if busiest.kind == GROUP_SMT_BALANCE and is_smt(w, local.group) != is_smt(w, busiest.group):
        return True
    if sched_group(w, busiest.group).weight > 1 and local.idle_cpus <= busiest.idle_cpus + 1:
        return False
    return busiest.h_nr_runnable > 1


@kjit
def spare_imbalance(w):
    """fair.c: calculate_imbalance(), local group with CPUs to spare. How much to pull of what."""
    env = lb_env(w)
    sd, local, busiest = sched_domain(w, env.sd), sg_lb_stats(w, env.local), sg_lb_stats(w, env.busiest)
    if busiest.kind > GROUP_FULLY_BUSY and not sd.flags & SD_SHARE_LLC:
        spare = max(local.capacity - local.util, 0)
        if spare == 0 and env.idle != CPU_NOT_IDLE:
            return MIGRATE_TASK, 1
        return MIGRATE_UTIL, spare
    if sched_group(w, busiest.group).weight == 1 or prefer_sibling(w):
        excess = sibling_imbalance(w)
    else:
        excess = max(local.idle_cpus - busiest.idle_cpus, 0)
    if sd.flags & SD_NUMA:
        excess = adjust_numa_imbalance(excess, local.nr_running + 1, sd.imb_numa_nr)
    return MIGRATE_TASK, excess >> 1


@kjit
def load_imbalance(w):
    """fair.c: calculate_imbalance(), all CPUs busy. How much load to pull: neither group passes the average.

    The kernel subtracts unsigned numbers: a busiest group below the average gives as much as the local one can take.
    """
    env = lb_env(w)
    local, busiest = sg_lb_stats(w, env.local), sg_lb_stats(w, env.busiest)
    load, mean = group_avg_load(w, env.local), mean_load(w)
    if load >= busiest.avg_load or load >= mean:
        return 0
    room = (mean - load) * local.capacity // SCHED_CAPACITY_SCALE
    if busiest.avg_load < mean:
        return room
    return min((busiest.avg_load - mean) * busiest.capacity // SCHED_CAPACITY_SCALE, room)


@kjit
def calculate_imbalance(w):
    """fair.c: calculate_imbalance(). Fill in how much of what is to be pulled."""
    env = lb_env(w)
    busiest_kind = sg_lb_stats(w, env.busiest).kind
    env.migration_type = MIGRATE_TASK
    if busiest_kind == GROUP_SMT_BALANCE or busiest_kind == GROUP_IMBALANCED:
        env.imbalance = 1
    elif sg_lb_stats(w, env.local).kind == GROUP_HAS_SPARE:
        env.migration_type, env.imbalance = spare_imbalance(w)
    else:
        env.migration_type, env.imbalance = MIGRATE_LOAD, load_imbalance(w)


@kjit
def sched_balance_find_src_rq(w):
    """fair.c: sched_balance_find_src_rq(). The CPU of the busiest group with most of what is to be pulled, or NIL."""
    env = lb_env(w)
    group = sched_group(w, sg_lb_stats(w, env.busiest).group)
    imbalance_pct = sched_domain(w, env.sd).imbalance_pct
    busiest, most, capacity = NIL, 0, SCHED_CAPACITY_SCALE
    for i in range(group.first, group.first + group.weight):
        cpu = span_cpu(w, i).cpu
        cfs = cfs_rq(w, cpu)
        waiting = cfs.h_nr_runnable
        if cpu_rq(w, cpu).excluded or waiting == 0:
            continue
        if env.migration_type == MIGRATE_LOAD:
            amount = cfs.load_avg
            if waiting == 1 and amount > env.imbalance and not has_reduced_capacity(w, cpu, imbalance_pct):
                continue
        elif env.migration_type == MIGRATE_UTIL:
            amount = cpu_util_cfs_boost(w, cpu)
            if waiting == 1:
                continue
        else:
            amount = waiting
        its_capacity = capacity_of(w, cpu) if env.migration_type == MIGRATE_LOAD else SCHED_CAPACITY_SCALE
        if amount * capacity > most * its_capacity:
            busiest, most, capacity = cpu, amount, its_capacity
    return busiest


@kjit
def sched_balance_find_src(w):
    """fair.c: sched_balance_find_src_group(), sched_balance_find_src_rq(). The CPU to pull from, NIL if all is well."""
    env = lb_env(w)
    env.imbalance = 0
    update_sd_lb_stats(w)
    if has_imbalance(w):
        calculate_imbalance(w)
        if env.imbalance:
            return sched_balance_find_src_rq(w)
    return NIL
