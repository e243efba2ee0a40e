"""Which CPU a real-time task goes to: one that runs what matters least (rt.c, cpupri.c)."""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.domain_types import SD_SHARE_CPUCAPACITY, sched_domain
from vcpu_env.kernel.group_stats import cpu_allowed
from vcpu_env.kernel.resched import resched_curr
from vcpu_env.kernel.rt import highest_prio, requeue_task_rt
from vcpu_env.kernel.rt_types import rt_task, sched_rt_entity
from vcpu_env.kernel.types import cpu_rq, sched_tunables, task_struct


@kjit
def can_move(w, p):
    """p->nr_cpus_allowed > 1."""
    allowed = 0
    for cpu in range(sched_tunables(w).nr_cpus):
        allowed += cpu_allowed(w, p, cpu)
    return allowed > 1


@kjit
def cpupri_find(w, p):
    """cpupri.c: cpupri_find(). The lowest priority that a CPU of the task's runs, if the task's is higher; else NIL.

    A CPU that runs fair tasks is worth as much as an idle one: 0.
    """
    lowest = sched_rt_entity(w, p).priority
    found = NIL
    for cpu in range(sched_tunables(w).nr_cpus):
        if cpu_allowed(w, p, cpu):
            priority = highest_prio(w, cpu)
            if priority < lowest:
                lowest = found = priority
    return found


@kjit
def in_span(w, cpu, sd_id, other):
    """Whether a domain of `cpu` has another CPU."""
    sd = sched_domain(w, sd_id)
    if sd.flags & SD_SHARE_CPUCAPACITY:
        return other == cpu or other == cpu_rq(w, cpu).sibling
    return sd.first <= cpu_rq(w, other).position < sd.first + sd.span_weight


@kjit
def any_in_domain(w, p, cpu, sd_id, level, this_cpu):
    """cpumask_any_and_distribute(). One of the domain's CPUs (NIL: of all) that run `level`; another every time."""
    rq, nr_cpus = cpu_rq(w, this_cpu), sched_tunables(w).nr_cpus
    chosen = rq.distribute_cpu_mask_prev
    for _ in range(nr_cpus):
        chosen = chosen + 1 if chosen + 1 < nr_cpus else 0
        if sd_id != NIL and not in_span(w, cpu, sd_id, chosen):
            continue
        if cpu_allowed(w, p, chosen) and highest_prio(w, chosen) == level:
            rq.distribute_cpu_mask_prev = chosen
            return chosen
    return NIL


@kjit
def find_lowest_rq(w, p, this_cpu):
    """rt.c: find_lowest_rq(). The best CPU for a task, called on `this_cpu`: its own, one nearby, any; NIL if all are
    busy with what matters as much.
    """
    level, cpu = cpupri_find(w, p), task_struct(w, p).cpu
    if level == NIL:
        return NIL
    if cpu_allowed(w, p, cpu) and highest_prio(w, cpu) == level:
        return cpu
    here = cpu_allowed(w, p, this_cpu) and highest_prio(w, this_cpu) == level
    sd_id = cpu_rq(w, cpu).sd
    while sd_id != NIL:
        if here and in_span(w, cpu, sd_id, this_cpu):
            return this_cpu
        best = any_in_domain(w, p, cpu, sd_id, level, this_cpu)
        if best != NIL:
            return best
        sd_id = sched_domain(w, sd_id).parent
    return this_cpu if here else any_in_domain(w, p, cpu, NIL, level, this_cpu)


@kjit
def select_task_rq_rt(w, p, this_cpu):
    """rt.c: select_task_rq_rt(). Where a task wakes: where it was, unless as good a one runs there, or a pinned one."""
    cpu = task_struct(w, p).cpu
    curr = cpu_rq(w, cpu).curr
    if curr == NIL or not rt_task(w, curr):
        return cpu
    priority = sched_rt_entity(w, p).priority
    if can_move(w, curr) and sched_rt_entity(w, curr).priority < priority:
        return cpu
    target = find_lowest_rq(w, p, this_cpu)
    return target if target != NIL and priority > highest_prio(w, target) else cpu


@kjit
def wakeup_preempt_rt(w, cpu, p):
    """rt.c: wakeup_preempt_rt(). A higher priority takes the CPU; at the same one, a task that can't go elsewhere from
    one that can.
    """
    rq = cpu_rq(w, cpu)
    curr = rq.curr
    priority, its = sched_rt_entity(w, p).priority, sched_rt_entity(w, curr).priority
    if priority > its:
        resched_curr(w, cpu)
    elif priority == its and not rq.need_resched:
        if not can_move(w, curr) or cpupri_find(w, curr) == NIL:
            return
        if can_move(w, p) and cpupri_find(w, p) != NIL:
            return
        requeue_task_rt(w, cpu, p, True)
        resched_curr(w, cpu)
