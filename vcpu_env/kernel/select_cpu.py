"""Where a task wakes or starts: select_task_rq_fair() for CPUs that share one last-level cache, without SMT.

A wakeup chooses between the CPU where the task last ran and the waker's (`wake_affine`), then looks for an idle CPU
near that choice (`select_idle_sibling`); without idle CPUs it mostly stays. A new task goes to the idlest CPU.
"""

from vcpu_env._jit import NIL, kjit
from vcpu_env.kernel.pelt import task_h_load
from vcpu_env.kernel.types import (
    NSEC_PER_SEC,
    WF_SYNC,
    WF_TTWU,
    cfs_rq,
    cpu_rq,
    sched_domain_shared,
    sched_features,
    sched_tunables,
    task_struct,
)

IMBALANCE_PCT = 117
SCHED_CAPACITY_SCALE = 1024

GROUP_HAS_SPARE, GROUP_FULLY_BUSY, GROUP_OVERLOADED = 0, 1, 2


@kjit
def cpu_allowed(w, p, cpu):
    """Whether a task's affinity allows a CPU."""
    return (task_struct(w, p).cpus_allowed[cpu >> 6] >> (cpu & 63)) & 1 != 0


@kjit
def first_allowed_cpu(w, p):
    """The lowest CPU that a task's affinity allows."""
    cpu = 0
    while not cpu_allowed(w, p, cpu):
        cpu += 1
    return cpu


@kjit
def is_pinned(w, p):
    """Whether a task's affinity names just one CPU."""
    task, found = task_struct(w, p), 0
    for word in range((sched_tunables(w, 0).nr_cpus + 63) >> 6):
        mask = task.cpus_allowed[word]
        if mask & (mask - 1):
            return False
        found += mask != 0
    return found == 1


@kjit
def idle_cpu(w, cpu):
    """core.c: available_idle_cpu(). A CPU that is idle and to which nothing has been queued meanwhile."""
    rq = cpu_rq(w, cpu)
    return rq.curr == NIL and rq.nr_running == 0


@kjit
def idle_for_wakeup(w, cpu):
    """available_idle_cpu() or sched_idle_cpu(): a CPU that a waking task would not have to share."""
    rq = cpu_rq(w, cpu)
    if rq.nr_running:
        return rq.nr_running == cfs_rq(w, cpu).h_nr_idle
    return rq.curr == NIL


@kjit
def record_wakee(w, waker, p, now):
    """fair.c: record_wakee(). Count how often a waker changes between wakees; the count halves every second."""
    task = task_struct(w, waker)
    if now > task.wakee_flip_decay_ns + NSEC_PER_SEC:
        task.wakee_flips >>= 1
        task.wakee_flip_decay_ns = now
    if task.last_wakee != p:
        task.last_wakee = p
        task.wakee_flips += 1


@kjit
def wake_wide(w, waker, p):
    """fair.c: wake_wide(). Whether waker and wakee have too many partners for all of them to stay close together."""
    a, b = task_struct(w, waker).wakee_flips, task_struct(w, p).wakee_flips
    master, slave = max(a, b), min(a, b)
    llc_size = sched_tunables(w, 0).nr_cpus
    return slave >= llc_size and master >= slave * llc_size


@kjit
def wake_affine(w, p, this_cpu, prev_cpu, sync):
    """fair.c: wake_affine(). The waker's CPU or the task's previous one, by idleness, then by load."""
    feat, this_rq = sched_features(w, 0), cpu_rq(w, this_cpu)
    if feat.WA_IDLE:
        prev_idle = idle_cpu(w, prev_cpu)
        if idle_cpu(w, this_cpu):
            return prev_cpu if prev_idle else this_cpu
        this_cfs = cfs_rq(w, this_cpu)
        if sync and this_rq.nr_running - (this_cfs.h_nr_queued - this_cfs.h_nr_runnable) == 1:
            return this_cpu
        if prev_idle:
            return prev_cpu
    if feat.WA_WEIGHT:
        this_load, prev_load = cfs_rq(w, this_cpu).load_avg, cfs_rq(w, prev_cpu).load_avg
        if sync and this_rq.curr != NIL:
            current_load = task_h_load(w, this_rq.curr)
            if current_load > this_load:
                return this_cpu
            this_load -= current_load
        load = task_h_load(w, p)
        this_load += load
        prev_load -= load
        if feat.WA_BIAS:
            this_load *= 100
            prev_load *= 100 + (IMBALANCE_PCT - 100) // 2
        if this_load < prev_load + (1 if sync else 0):
            return this_cpu
    return prev_cpu


@kjit
def select_idle_cpu(w, p, target):
    """fair.c: select_idle_cpu(). Scan for an idle CPU after `target`; shorter when CPUs are busier (SIS_UTIL)."""
    nr_cpus = sched_tunables(w, 0).nr_cpus
    left = nr_cpus
    if sched_features(w, 0).SIS_UTIL:
        left = sched_domain_shared(w, 0).nr_idle_scan
    cpu = target
    for _ in range(nr_cpus):
        cpu += 1
        if cpu == nr_cpus:
            cpu = 0
        if cpu_allowed(w, p, cpu):
            if left == 0:
                return NIL
            left -= 1
            if idle_for_wakeup(w, cpu):
                return cpu
    return NIL


@kjit
def select_idle_sibling(w, p, prev_cpu, target):
    """fair.c: select_idle_sibling(). An idle CPU: the target, the previous one, a recently used one, or one nearby."""
    if idle_for_wakeup(w, target):
        return target
    if prev_cpu != target and idle_for_wakeup(w, prev_cpu):
        return prev_cpu
    task = task_struct(w, p)
    recent_used_cpu = task.recent_used_cpu
    task.recent_used_cpu = prev_cpu
    if recent_used_cpu != NIL and recent_used_cpu != prev_cpu and recent_used_cpu != target:
        if idle_for_wakeup(w, recent_used_cpu) and cpu_allowed(w, p, recent_used_cpu):
            return recent_used_cpu
    cpu = select_idle_cpu(w, p, target)
    return target if cpu == NIL else cpu


@kjit
def group_classify(w, cpu):
    """fair.c: group_classify(). What a CPU, seen as a group of one, has to spare."""
    rq = cpu_rq(w, cpu)
    over_runnable = rq.runnable_avg * 100 > SCHED_CAPACITY_SCALE * IMBALANCE_PCT
    util_margin = SCHED_CAPACITY_SCALE * 100 - rq.util_avg * IMBALANCE_PCT
    if rq.nr_running > 1 and (util_margin < 0 or over_runnable):
        return GROUP_OVERLOADED
    if rq.nr_running < 1 or (util_margin > 0 and not over_runnable):
        return GROUP_HAS_SPARE
    return GROUP_FULLY_BUSY


@kjit
def idler(w, kind, cpu, best_kind, best):
    """fair.c: update_pick_idlest(). Whether a CPU is a better place for a new task than the best one so far."""
    if kind != best_kind:
        return kind < best_kind
    if kind != GROUP_HAS_SPARE:
        return cfs_rq(w, cpu).load_avg < cfs_rq(w, best).load_avg
    idle, best_idle = idle_cpu(w, cpu), idle_cpu(w, best)
    if idle != best_idle:
        return idle
    return cpu_rq(w, cpu).util_avg < cpu_rq(w, best).util_avg


@kjit
def find_idlest_cpu(w, p, this_cpu):
    """fair.c: sched_balance_find_dst_group(). Where a new task starts: the idlest CPU, or the forking one."""
    nr_cpus = sched_tunables(w, 0).nr_cpus
    idlest, idlest_kind = NIL, GROUP_HAS_SPARE
    cpu = this_cpu
    for _ in range(nr_cpus - 1):
        cpu += 1
        if cpu == nr_cpus:
            cpu = 0
        if cpu_allowed(w, p, cpu):
            kind = group_classify(w, cpu)
            if idlest == NIL or idler(w, kind, cpu, idlest_kind, idlest):
                idlest, idlest_kind = cpu, kind
    if idlest == NIL:
        return this_cpu
    if not cpu_allowed(w, p, this_cpu):
        return idlest
    kind = group_classify(w, this_cpu)
    if kind != idlest_kind:
        return this_cpu if kind < idlest_kind else idlest
    if kind == GROUP_HAS_SPARE:
        return idlest if idle_cpu(w, idlest) and not idle_cpu(w, this_cpu) else this_cpu
    load, idlest_load = cfs_rq(w, this_cpu).load_avg, cfs_rq(w, idlest).load_avg
    return this_cpu if 100 * load <= IMBALANCE_PCT * idlest_load else idlest


@kjit
def select_task_rq_fair(w, p, this_cpu, wake_flags):
    """fair.c: select_task_rq_fair(). The CPU for a task that wakes or starts; `this_cpu` is the waker's."""
    prev_cpu = task_struct(w, p).cpu
    if sched_tunables(w, 0).nr_cpus == 1:
        return prev_cpu
    if is_pinned(w, p):
        return first_allowed_cpu(w, p)
    if wake_flags & WF_TTWU == 0:
        return find_idlest_cpu(w, p, this_cpu)
    waker = cpu_rq(w, this_cpu).curr
    target = prev_cpu
    want_affine = cpu_allowed(w, p, this_cpu)
    if waker != NIL:
        record_wakee(w, waker, p, cpu_rq(w, this_cpu).clock_ns)
        want_affine = want_affine and not wake_wide(w, waker, p)
    if want_affine and this_cpu != prev_cpu:
        target = wake_affine(w, p, this_cpu, prev_cpu, wake_flags & WF_SYNC)
    cpu = select_idle_sibling(w, p, prev_cpu, target)
    return cpu if cpu_allowed(w, p, cpu) else first_allowed_cpu(w, p)
