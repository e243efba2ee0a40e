"""What the CPUs of a scheduling group add up to, and how busy that makes it."""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.domain_types import SD_SHARE_CPUCAPACITY, sched_group, sg_lb_stats, span_cpu
from vcpu_env.kernel.pelt import SCHED_CAPACITY_SCALE
from vcpu_env.kernel.rt_load import capacity_of
from vcpu_env.kernel.types import cfs_rq, cpu_rq, sched_features, sched_tunables, task_struct

GROUP_HAS_SPARE, GROUP_FULLY_BUSY, GROUP_SMT_BALANCE, GROUP_IMBALANCED, GROUP_OVERLOADED = range(5)
"""enum group_type without the kinds that only unequal CPUs have: the higher, the more it needs help."""


@kjit
def idle_cpu(w, cpu):
    """core.c: idle_cpu(), available_idle_cpu(). A CPU that is idle and to which nothing comes."""
    rq = cpu_rq(w, cpu)
    return rq.curr == NIL and rq.nr_running == 0 and rq.ttwu_pending == 0


@kjit
def is_core_idle(w, cpu):
    """fair.c: is_core_idle(). Whether the other thread of a CPU's core, if there is one, is idle."""
    sibling = cpu_rq(w, cpu).sibling
    return sibling == NIL or idle_cpu(w, sibling)


@kjit
def cpu_allowed(w, p, cpu):
    """Whether a task's affinity allows a CPU."""
    return (task_struct(w, p).cpus_allowed[cpu >> 6] >> (cpu & 63)) & 1 != 0


@kjit
def cpu_util_cfs(w, cpu):
    """fair.c: cpu_util_cfs(). How much of a CPU is used: lately, or by what its tasks used when they last ran."""
    cfs = cfs_rq(w, cpu)
    util = cfs.util_avg
    if sched_features(w).UTIL_EST:
        util = max(util, cfs.util_est)
    return min(util, SCHED_CAPACITY_SCALE)


@kjit
def cpu_util_cfs_boost(w, cpu):
    """fair.c: cpu_util_cfs_boost(). The same, counting also those that wait for the CPU."""
    return max(cpu_util_cfs(w, cpu), min(cfs_rq(w, cpu).runnable_avg, SCHED_CAPACITY_SCALE))


@kjit
def sum_group(w, at, g, p):
    """fair.c: update_sg_lb_stats(), update_sg_wakeup_stats(), the sums: over the CPUs that an attempt may look at.

    For a new task `p` these are the CPUs that it may use, for a balance (NIL) those that it has not given up.
    """
    stats, group = sg_lb_stats(w, at), sched_group(w, g)
    load = util = runnable = nr_running = h_nr_runnable = idle_cpus = lost = 0
    rt_used = sched_tunables(w).rt_used
    for i in range(group.first, group.first + group.weight):
        cpu = span_cpu(w, i).cpu
        rq, cfs = cpu_rq(w, cpu), cfs_rq(w, cpu)
        if rt_used:
            lost += SCHED_CAPACITY_SCALE - capacity_of(w, cpu)
        if rq.excluded if p == NIL else not cpu_allowed(w, p, cpu):
            continue
        load += cfs.load_avg
        util += cpu_util_cfs(w, cpu)
        runnable += cfs.runnable_avg
        nr_running += rq.nr_running
        h_nr_runnable += cfs.h_nr_runnable
        if idle_cpu(w, cpu):
            idle_cpus += 1
    stats.load, stats.util, stats.runnable = load, util, runnable
    stats.nr_running, stats.h_nr_runnable, stats.idle_cpus = nr_running, h_nr_runnable, idle_cpus
    stats.avg_load, stats.group = 0, g
    stats.capacity = group.weight * SCHED_CAPACITY_SCALE - lost


@kjit
def group_classify(w, at, imbalance_pct, smt_balance):
    """fair.c: group_classify(), smt_balance(). `smt_balance`: tasks that share a core may be wanted elsewhere."""
    stats = sg_lb_stats(w, at)
    group = sched_group(w, stats.group)
    capacity = stats.capacity
    over_runnable = capacity * imbalance_pct < stats.runnable * 100
    util_margin = capacity * 100 - stats.util * imbalance_pct
    if stats.nr_running > group.weight and (util_margin < 0 or over_runnable):
        return GROUP_OVERLOADED
    if group.imbalance:
        return GROUP_IMBALANCED
    if smt_balance and group.flags & SD_SHARE_CPUCAPACITY and stats.h_nr_runnable > 1:
        return GROUP_SMT_BALANCE
    if stats.nr_running < group.weight or (util_margin > 0 and not over_runnable):
        return GROUP_HAS_SPARE
    return GROUP_FULLY_BUSY


@kjit
def group_avg_load(w, at):
    """The load of a group in relation to its capacity."""
    stats = sg_lb_stats(w, at)
    return stats.load * SCHED_CAPACITY_SCALE // stats.capacity


@kjit
def adjust_numa_imbalance(imbalance, dst_running, imb_numa_nr):
    """fair.c: adjust_numa_imbalance(). While a node has little to do, a pair of tasks more than elsewhere is fine."""
    if dst_running <= imb_numa_nr and imbalance <= 2:
        return 0
    return imbalance
