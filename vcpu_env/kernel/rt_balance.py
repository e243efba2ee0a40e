"""Real-time tasks that wait go where less matters: pushed by their CPU, pulled by one whose task has gone (rt.c).

v6.19 asks the other CPU to push by an interrupt (RT_PUSH_IPI) where this pulls at once.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.clock import sched_clock, update_rq_clock
from vcpu_env.kernel.group_stats import cpu_allowed
from vcpu_env.kernel.resched import resched_curr
from vcpu_env.kernel.rt import highest_prio
from vcpu_env.kernel.rt_select import can_move, find_lowest_rq
from vcpu_env.kernel.rt_types import rt_rq, rt_task, sched_rt_entity
from vcpu_env.kernel.runqueue import migrate_task
from vcpu_env.kernel.types import cpu_rq, sched_tunables, task_struct


@kjit
def pick_next_pushable_task(w, cpu):
    """rt.c: pick_next_pushable_task(). The first that waits on a CPU and may run elsewhere; NIL."""
    p = rt_rq(w, cpu).head
    while p != NIL and (p == cpu_rq(w, cpu).curr or not can_move(w, p)):
        p = sched_rt_entity(w, p).next
    return p


@kjit
def push_rt_task(w, cpu):
    """rt.c: push_rt_task(). Move one task that waits to a CPU that runs what matters less; returns whether it did."""
    p = pick_next_pushable_task(w, cpu)
    if p == NIL:
        return False
    rq, priority = cpu_rq(w, cpu), sched_rt_entity(w, p).priority
    if rq.curr == NIL or not rt_task(w, rq.curr) or priority > sched_rt_entity(w, rq.curr).priority:
        resched_curr(w, cpu)
        return False
    target = find_lowest_rq(w, p, cpu)
    if target == NIL or target == cpu or highest_prio(w, target) >= priority:
        return False
    migrate_task(w, p, target)
    resched_curr(w, target)
    return True


@kjit
def push_rt_tasks(w, cpu):
    """rt.c: push_rt_tasks()."""
    while push_rt_task(w, cpu):
        pass


@kjit
def task_woken_rt(w, cpu, p):
    """rt.c: task_woken_rt(). A task that woke behind one as important looks for another CPU at once."""
    rq = cpu_rq(w, cpu)
    if not rt_task(w, p) or rq.curr == p or rq.curr == NIL or rq.need_resched or not rt_task(w, rq.curr):
        return
    behind = sched_rt_entity(w, rq.curr).priority >= sched_rt_entity(w, p).priority
    if can_move(w, p) and (behind or not can_move(w, rq.curr)):
        push_rt_tasks(w, cpu)


@kjit
def pull_rt_task(w, cpu):
    """rt.c: pull_rt_task(). Take from every other CPU the first task that waits there and would run here."""
    for src in range(sched_tunables(w).nr_cpus):
        if src == cpu:
            continue
        p = rt_rq(w, src).head
        while p != NIL and (p == cpu_rq(w, src).curr or not cpu_allowed(w, p, cpu)):
            p = sched_rt_entity(w, p).next
        if p == NIL or sched_rt_entity(w, p).priority <= highest_prio(w, cpu):
            continue
        curr = cpu_rq(w, src).curr
        if curr == NIL or not rt_task(w, curr) or sched_rt_entity(w, p).priority > sched_rt_entity(w, curr).priority:
            continue  # about to run there
        update_rq_clock(w, src, sched_clock(w))
        migrate_task(w, p, cpu)


@kjit
def balance_rt(w, cpu, prev):
    """rt.c: balance_rt(). A CPU whose real-time task has gone looks for another, before it runs what matters less."""
    if prev == NIL or not rt_task(w, prev) or task_struct(w, prev).on_rq:
        return
    if highest_prio(w, cpu) < sched_rt_entity(w, prev).priority:
        pull_rt_task(w, cpu)
