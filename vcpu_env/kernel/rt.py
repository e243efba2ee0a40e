"""The real-time class, SCHED_FIFO and SCHED_RR: by priority, then first come, first served.

Without CONFIG_RT_GROUP_SCHED, as distributions build kernels: cgroups, their weights and quotas do not exist for
these tasks. What protects fair tasks from them is `kernel.fair_server`. A task keeps its place on its CPU's list while
it runs, and when it is preempted.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.fair_class import stops_running
from vcpu_env.kernel.nr_running import add_nr_running
from vcpu_env.kernel.resched import resched_curr
from vcpu_env.kernel.rt_load import update_rt_rq_load_avg
from vcpu_env.kernel.rt_types import RR_TIMESLICE_NS, rt_rq, sched_rt_entity
from vcpu_env.kernel.types import (
    DEQUEUE_SAVE,
    ENQUEUE_RESTORE,
    SCHED_RR,
    cpu_rq,
    sched_entity,
    sched_tunables,
    task_struct,
)


@kjit
def list_add_rt(w, cpu, p, at_head):
    """Put a task onto its CPU's list, as the last, or as the first, of its priority."""
    rt, se = rt_rq(w, cpu), sched_rt_entity(w, p)
    before, after = NIL, rt.head
    while after != NIL:
        other = sched_rt_entity(w, after).priority
        if other < se.priority or (at_head and other == se.priority):
            break
        before, after = after, sched_rt_entity(w, after).next
    se.prev, se.next = before, after
    if before == NIL:
        rt.head = p
    else:
        sched_rt_entity(w, before).next = p
    if after != NIL:
        sched_rt_entity(w, after).prev = p


@kjit
def list_del_rt(w, cpu, p):
    """Take a task off its CPU's list."""
    se = sched_rt_entity(w, p)
    if se.prev == NIL:
        rt_rq(w, cpu).head = se.next
    else:
        sched_rt_entity(w, se.prev).next = se.next
    if se.next != NIL:
        sched_rt_entity(w, se.next).prev = se.prev
    se.prev = se.next = NIL


@kjit
def highest_prio(w, cpu):
    """rq->rt.highest_prio.curr: the highest priority of a CPU's real-time tasks, 0 without any."""
    head = rt_rq(w, cpu).head
    return 0 if head == NIL else sched_rt_entity(w, head).priority


@kjit
def enqueue_task_rt(w, p, flags):
    """rt.c: enqueue_task_rt(). A task joins its CPU; one that was taken off for a change has kept its place."""
    if flags & ENQUEUE_RESTORE:
        return
    cpu = task_struct(w, p).cpu
    list_add_rt(w, cpu, p, False)
    sched_entity(w, p).on_rq = 1
    add_nr_running(w, cpu, 1)


@kjit
def dequeue_task_rt(w, p, flags):
    """rt.c: dequeue_task_rt(). A task leaves its CPU; always at once."""
    if flags & DEQUEUE_SAVE:
        return
    cpu = task_struct(w, p).cpu
    if cpu_rq(w, cpu).curr == p:
        update_curr_rt(w, cpu)
    list_del_rt(w, cpu, p)
    sched_entity(w, p).on_rq = 0
    add_nr_running(w, cpu, -1)


@kjit
def requeue_task_rt(w, cpu, p, at_head):
    """rt.c: requeue_task_rt(). A task becomes the last, or the first, of its priority."""
    list_del_rt(w, cpu, p)
    list_add_rt(w, cpu, p, at_head)


@kjit
def update_curr_rt(w, cpu):
    """rt.c: update_curr_rt(). Note what the running task has run."""
    rq = cpu_rq(w, cpu)
    se = sched_entity(w, rq.curr)
    se.sum_exec_runtime_ns += rq.clock_ns - se.exec_start_ns
    se.exec_start_ns = rq.clock_ns


@kjit
def put_prev_task_rt(w, p):
    """rt.c: put_prev_task_rt(). A task stops running."""
    cpu = task_struct(w, p).cpu
    if sched_entity(w, p).on_rq:
        update_curr_rt(w, cpu)
    update_rt_rq_load_avg(w, cpu, 1)


@kjit
def set_next_task_rt(w, p):
    """rt.c: set_next_task_rt(). A task starts to run."""
    cpu = task_struct(w, p).cpu
    sched_entity(w, p).exec_start_ns = cpu_rq(w, cpu).clock_ns
    update_rt_rq_load_avg(w, cpu, 0)
    stops_running(w, cpu)


@kjit
def shares_its_priority(w, p):
    """Whether a task's CPU has another one of its priority."""
    se = sched_rt_entity(w, p)
    before = se.prev != NIL and sched_rt_entity(w, se.prev).priority == se.priority
    return before or (se.next != NIL and sched_rt_entity(w, se.next).priority == se.priority)


@kjit
def task_tick_rt(w, p):
    """rt.c: task_tick_rt(). SCHED_RR: after its timeslice a task lets the next one of its priority run."""
    cpu, se = task_struct(w, p).cpu, sched_rt_entity(w, p)
    update_curr_rt(w, cpu)
    update_rt_rq_load_avg(w, cpu, 1)
    if task_struct(w, p).policy != SCHED_RR:
        return
    se.time_slice -= 1
    if se.time_slice > 0:
        return
    se.time_slice = RR_TIMESLICE_NS // sched_tunables(w).tick_ns
    if shares_its_priority(w, p):
        requeue_task_rt(w, cpu, p, False)
        resched_curr(w, cpu)


@kjit
def yield_task_rt(w, cpu):
    """rt.c: yield_task_rt(). sched_yield() lets others of the same priority run."""
    requeue_task_rt(w, cpu, cpu_rq(w, cpu).curr, False)
