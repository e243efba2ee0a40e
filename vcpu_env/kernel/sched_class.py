"""A task's scheduling class as the core calls it: real-time tasks before fair ones, unless fair ones have starved.

A host without real-time tasks pays one comparison: nothing else here is reached.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel import fair_class
from vcpu_env.kernel.fair_server import dl_server_start, dl_server_stop, dl_server_update
from vcpu_env.kernel.resched import resched_curr
from vcpu_env.kernel.rt import (
    dequeue_task_rt,
    enqueue_task_rt,
    put_prev_task_rt,
    set_next_task_rt,
    task_tick_rt,
    yield_task_rt,
)
from vcpu_env.kernel.rt_select import wakeup_preempt_rt
from vcpu_env.kernel.rt_types import fair_server, rt_rq, rt_task
from vcpu_env.kernel.types import cfs_rq, cpu_rq, sched_tunables, task_struct


@kjit
def is_rt(w, p):
    """Whether a task is of the real-time class; on most hosts none is."""
    return sched_tunables(w).rt_used != 0 and rt_task(w, p)


@kjit
def enqueue_fair_beside_rt(w, p, flags):
    """fair.c: enqueue_task_fair(), the server: it starts with the first task."""
    cpu = task_struct(w, p).cpu
    dl_server_update(w, cpu)
    alone = cfs_rq(w, cpu).h_nr_queued == 0
    fair_class.enqueue_task_fair(w, p, flags)
    if alone and cfs_rq(w, cpu).h_nr_queued:
        dl_server_start(w, cpu)


@kjit
def enqueue_task(w, p, flags):
    """A task joins its CPU; `flags` are ENQUEUE_*."""
    if sched_tunables(w).rt_used == 0:
        fair_class.enqueue_task_fair(w, p, flags)
    elif rt_task(w, p):
        enqueue_task_rt(w, p, flags)
    else:
        enqueue_fair_beside_rt(w, p, flags)


@kjit
def dequeue_task(w, p, flags):
    """A task leaves its CPU; returns False if it stays for now. `flags` are DEQUEUE_*."""
    if is_rt(w, p):
        dequeue_task_rt(w, p, flags)
        return True
    return fair_class.dequeue_task_fair(w, p, flags)


@kjit
def pick_task_by_class(w, cpu):
    """core.c: __pick_next_task(). Fair tasks whose server's turn it is, real-time tasks, other fair tasks."""
    dl_server_update(w, cpu)
    if fair_server(w, cpu).on_dl_rq:
        p = fair_class.pick_task_fair(w, cpu)
        if p != NIL:
            return p
        dl_server_stop(w, cpu)
    p = rt_rq(w, cpu).head
    return fair_class.pick_task_fair(w, cpu) if p == NIL else p


@kjit
def pick_task(w, cpu):
    """The task to run; NIL if there is none."""
    if sched_tunables(w).rt_used:
        return pick_task_by_class(w, cpu)
    return fair_class.pick_task_fair(w, cpu)


@kjit
def put_prev_task(w, p):
    """A task stops running."""
    if is_rt(w, p):
        put_prev_task_rt(w, p)
    else:
        fair_class.put_prev_task_fair(w, p)


@kjit
def set_next_task(w, p, first):
    """A task starts to run; `first`: it was picked, else it goes on after a change."""
    if is_rt(w, p):
        set_next_task_rt(w, p)
    else:
        fair_class.set_next_task_fair(w, p, first)


@kjit
def put_prev_set_next_task(w, prev, p):
    """sched.h: put_prev_set_next_task(). `prev` stops running and `p` starts."""
    if is_rt(w, prev) or is_rt(w, p):
        put_prev_task(w, prev)
        set_next_task(w, p, 1)
    else:
        fair_class.switch_fair(w, prev, p)


@kjit
def task_tick(w, cpu, p):
    """The tick meets a running task."""
    if sched_tunables(w).rt_used:
        dl_server_update(w, cpu)
    if is_rt(w, p):
        task_tick_rt(w, p)
    else:
        fair_class.task_tick_fair(w, p)


@kjit
def wakeup_preempt_class(w, cpu, p, wake_flags):
    """core.c: wakeup_preempt(), a CPU that runs a task: within a class by its rules, between classes by theirs."""
    if sched_tunables(w).rt_used == 0:
        fair_class.wakeup_preempt_fair(w, cpu, p, wake_flags)
        return
    wakes, runs = rt_task(w, p), rt_task(w, cpu_rq(w, cpu).curr)
    if wakes and runs:
        wakeup_preempt_rt(w, cpu, p)
    elif wakes:
        resched_curr(w, cpu)
    elif not runs:
        fair_class.wakeup_preempt_fair(w, cpu, p, wake_flags)


@kjit
def yield_task(w, cpu):
    """The running task yields."""
    if is_rt(w, cpu_rq(w, cpu).curr):
        yield_task_rt(w, cpu)
    else:
        fair_class.yield_task_fair(w, cpu)
