"""Where a task wakes: select_task_rq_fair() on CPUs of one speed.

A wakeup chooses between the CPU where the task last ran and the waker's (`wake_affine`), then looks for an idle CPU
that shares a last-level cache with that choice, one on an idle core first (`select_idle_sibling`); without idle CPUs it
mostly stays. A new task goes to the idlest CPU (`kernel.select_idlest`).
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.clock import jiffies_ns
from vcpu_env.kernel.domain_types import sched_domain_shared, span_cpu
from vcpu_env.kernel.group_stats import cpu_allowed, idle_cpu
from vcpu_env.kernel.load_avg import task_h_load, update_cfs_rq_h_load
from vcpu_env.kernel.rt_select import select_task_rq_rt
from vcpu_env.kernel.sched_class import is_rt
from vcpu_env.kernel.select_idlest import sched_balance_find_dst_cpu, sched_idle_cpu
from vcpu_env.kernel.types import (
    NSEC_PER_SEC,
    WF_SYNC,
    WF_TTWU,
    cfs_rq,
    cpu_rq,
    sched_features,
    sched_tunables,
    task_struct,
)

WAKE_AFFINE_BIAS = 117
SMT_WAKE_AFFINE_BIAS = 110
"""imbalance_pct of the lowest domain that waker and previous CPU share: a core, or anything larger."""


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
    for word in range((sched_tunables(w).nr_cpus + 63) >> 6):
        mask = task.cpus_allowed[word]
        if mask & (mask - 1):
            return False
        found += mask != 0
    return found == 1


@kjit
def idle_for_wakeup(w, cpu):
    """available_idle_cpu() or sched_idle_cpu(): a CPU that a waking task would not have to share."""
    return idle_cpu(w, cpu) or sched_idle_cpu(w, cpu)


@kjit
def record_wakee(current, p, now):
    """fair.c: record_wakee(). Count how often a waker changes between wakees; the count halves every second.

    `current` is a task, or the run queue of a CPU whose idle task is interrupted; `now` are jiffies.
    """
    if now > current.wakee_flip_decay_ns + NSEC_PER_SEC:
        current.wakee_flips >>= 1
        current.wakee_flip_decay_ns = now
    if current.last_wakee != p:
        current.last_wakee = p
        current.wakee_flips += 1


@kjit
def wake_wide(w, this_cpu, flips, p):
    """fair.c: wake_wide(). Whether waker and wakee have too many partners for all of them to stay close together.

    `flips` are the waker's.
    """
    wakee_flips = task_struct(w, p).wakee_flips
    master, slave = max(flips, wakee_flips), min(flips, wakee_flips)
    llc_size = sched_domain_shared(w, cpu_rq(w, this_cpu).llc).weight
    return slave >= llc_size and master >= slave * llc_size


@kjit
def cpus_share_cache(w, a, b):
    """core.c: cpus_share_cache(). Whether two CPUs have one last-level cache."""
    return cpu_rq(w, a).llc == cpu_rq(w, b).llc


@kjit
def wake_affine(w, p, this_cpu, prev_cpu, sync):
    """fair.c: wake_affine(). The waker's CPU or the task's previous one, by idleness, then by load."""
    feat, this_rq = sched_features(w), cpu_rq(w, this_cpu)
    if feat.WA_IDLE:
        prev_idle = idle_cpu(w, prev_cpu)
        if idle_cpu(w, this_cpu) and cpus_share_cache(w, this_cpu, prev_cpu):
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
        elif sync:
            update_cfs_rq_h_load(w, this_cpu)  # as asking for the load of the idle task does, which is none
        load = task_h_load(w, p)
        this_load += load
        prev_load -= load
        if feat.WA_BIAS:
            this_load *= 100
            bias = SMT_WAKE_AFFINE_BIAS if this_rq.sibling == prev_cpu else WAKE_AFFINE_BIAS
            prev_load *= 100 + (bias - 100) // 2
        if this_load < prev_load + (1 if sync else 0):
            return this_cpu
    return prev_cpu


@kjit
def select_idle_smt(w, p, cpu):
    """fair.c: select_idle_smt(). The other thread of a CPU's core, if it is idle."""
    sibling = cpu_rq(w, cpu).sibling
    if sibling != NIL and cpu_allowed(w, p, sibling) and idle_for_wakeup(w, sibling):
        return sibling
    return NIL


@kjit
def select_idle_core(w, p, cpu):
    """fair.c: select_idle_core(). `cpu` if its whole core is idle; else, as -2 - CPU, a thread that is; else NIL."""
    sibling = cpu_rq(w, cpu).sibling
    if sibling == NIL:
        if idle_cpu(w, cpu):
            return cpu
        return -2 - cpu if sched_idle_cpu(w, cpu) else NIL
    if idle_cpu(w, cpu) and idle_cpu(w, sibling):
        return cpu
    first, second = min(cpu, sibling), max(cpu, sibling)
    if idle_for_wakeup(w, first) and cpu_allowed(w, p, first):
        return -2 - first
    if idle_for_wakeup(w, second) and cpu_allowed(w, p, second):
        return -2 - second
    return NIL


@kjit
def select_idle_cpu(w, p, target, has_idle_core):
    """fair.c: select_idle_cpu(). Scan for an idle CPU after `target`, within its cache; NIL if there is none.

    As long as there are said to be idle cores all of them are looked at, else fewer the busier the CPUs are (SIS_UTIL).
    """
    shared = sched_domain_shared(w, cpu_rq(w, target).llc)
    left = shared.nr_idle_scan if sched_features(w).SIS_UTIL else shared.weight
    at, end, found = cpu_rq(w, target).position, shared.first + shared.weight, NIL
    if left == 0 or shared.weight == 1:
        return NIL
    for _ in range(shared.weight):
        at += 1
        if at == end:
            at = shared.first
        cpu = span_cpu(w, at).cpu
        if not cpu_allowed(w, p, cpu):
            continue
        if has_idle_core:
            idle = select_idle_core(w, p, cpu)
            if idle >= 0:
                return idle
            if found == NIL and idle < NIL:
                found = -2 - idle
        elif left == 0:
            return NIL
        else:
            left -= 1
            if idle_for_wakeup(w, cpu):
                return cpu
    if has_idle_core:
        shared.has_idle_cores = 0
    return found


@kjit
def update_idle_core(w, cpu):
    """fair.c: __update_idle_core(). A CPU has gone idle: if its whole core has, the cache has an idle core."""
    sibling = cpu_rq(w, cpu).sibling
    if sibling != NIL and idle_cpu(w, sibling):
        sched_domain_shared(w, cpu_rq(w, cpu).llc).has_idle_cores = 1


@kjit
def select_idle_sibling(w, p, prev_cpu, target):
    """fair.c: select_idle_sibling(). An idle CPU: the target, the previous one, a recently used one, or one nearby."""
    if idle_for_wakeup(w, target):
        return target
    prev_is_near = cpus_share_cache(w, prev_cpu, target)
    if prev_cpu != target and prev_is_near and idle_for_wakeup(w, prev_cpu):
        return prev_cpu
    task = task_struct(w, p)
    recent_used_cpu = task.recent_used_cpu
    task.recent_used_cpu = prev_cpu
    if recent_used_cpu != NIL and recent_used_cpu != prev_cpu and recent_used_cpu != target:
        near = cpus_share_cache(w, recent_used_cpu, target)
        if near and idle_for_wakeup(w, recent_used_cpu) and cpu_allowed(w, p, recent_used_cpu):
            return recent_used_cpu
    smt = cpu_rq(w, target).sibling != NIL
    has_idle_core = smt and sched_domain_shared(w, cpu_rq(w, target).llc).has_idle_cores != 0
    if not has_idle_core and prev_is_near:
        cpu = select_idle_smt(w, p, prev_cpu)
        if cpu != NIL:
            return cpu
    cpu = select_idle_cpu(w, p, target, has_idle_core)
    return target if cpu == NIL else cpu


@kjit
def select_task_rq_fair(w, p, this_cpu, wake_flags):
    """fair.c: select_task_rq_fair(). The CPU for a task that wakes or starts; `this_cpu` is the waker's.

    It may be one that the task's affinity does not allow (any more).
    """
    prev_cpu = task_struct(w, p).cpu
    if wake_flags & WF_TTWU == 0:
        return sched_balance_find_dst_cpu(w, p, this_cpu)
    waker, now = cpu_rq(w, this_cpu).curr, jiffies_ns(w)
    if waker == NIL:
        record_wakee(cpu_rq(w, this_cpu), p, now)
        flips = cpu_rq(w, this_cpu).wakee_flips
    else:
        record_wakee(task_struct(w, waker), p, now)
        flips = task_struct(w, waker).wakee_flips
    target = prev_cpu
    if this_cpu != prev_cpu and cpu_allowed(w, p, this_cpu) and not wake_wide(w, this_cpu, flips, p):
        target = wake_affine(w, p, this_cpu, prev_cpu, wake_flags & WF_SYNC)
    return select_idle_sibling(w, p, prev_cpu, target)


@kjit
def select_fallback_rq(w, p):
    """core.c: select_fallback_rq(). A CPU that the task may use: the first one of its node, or else of the host."""
    node = cpu_rq(w, task_struct(w, p).cpu).node
    for cpu in range(sched_tunables(w).nr_cpus):
        if cpu_rq(w, cpu).node == node and cpu_allowed(w, p, cpu):
            return cpu
    return first_allowed_cpu(w, p)


@kjit
def select_task_rq(w, p, this_cpu, wake_flags):
    """core.c: select_task_rq(). The CPU for a task that wakes or starts, one that its affinity allows.

    A real-time task starts as a fair one: libvirt sets its class when it is there.
    """
    if sched_tunables(w).nr_cpus == 1:
        return task_struct(w, p).cpu
    if is_pinned(w, p):
        return first_allowed_cpu(w, p)
    if wake_flags & WF_TTWU and is_rt(w, p):
        cpu = select_task_rq_rt(w, p, this_cpu)
    else:
        cpu = select_task_rq_fair(w, p, this_cpu, wake_flags)
    return cpu if cpu_allowed(w, p, cpu) else select_fallback_rq(w, p)
