"""A CPU's run queue as the core sees it: its clock, tasks that join it or move to another, how long tasks wait."""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.bandwidth import in_limbo, join_limbo, leave_limbo
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.group import set_task_rq
from vcpu_env.kernel.load_avg import DO_DETACH, UPDATE_TG, migrate_task_rq_fair, update_load_avg
from vcpu_env.kernel.resched import resched_curr
from vcpu_env.kernel.sched_class import dequeue_task, enqueue_task, wakeup_preempt_class
from vcpu_env.kernel.sched_trace import trace_sched_switch, trace_task_throttle
from vcpu_env.kernel.types import (
    DEQUEUE_MIGRATING,
    ENQUEUE_MIGRATED,
    TASK_RUNNING,
    cfs_rq,
    cpu_rq,
    rq_totals,
    sched_entity,
    task_struct,
)
from vcpu_env.kernel.weights import div_trunc


@kjit
def sched_info_queued(w, cpu, p):
    """stats.h: sched_info_enqueue(). A task begins to wait."""
    task = task_struct(w, p)
    if task.last_queued_ns == NIL:
        task.last_queued_ns = cpu_rq(w, cpu).clock_ns


@kjit
def sched_info_waited(w, cpu, p):
    """stats.h: sched_info_dequeue(), half of sched_info_arrive(). A task's wait ends."""
    task, rq = task_struct(w, p), cpu_rq(w, cpu)
    if task.last_queued_ns != NIL:
        delay = rq.clock_ns - task.last_queued_ns
        task.last_queued_ns = NIL
        task.run_delay_ns += delay
        rq.run_delay_ns += delay


@kjit
def sched_info_switch(w, cpu, prev, p):
    """stats.h: sched_info_switch(), and the counts of switches. `prev` leaves the CPU, `p` arrives."""
    rq = cpu_rq(w, cpu)
    rq.nr_switches += 1
    rq_totals(w).nr_switches += 1
    trace_sched_switch(w, cpu, prev, p)
    if prev != NIL:
        task = task_struct(w, prev)
        rq.rq_cpu_time_ns += rq.clock_ns - task.last_arrival_ns
        if task.state == TASK_RUNNING:
            sched_info_queued(w, cpu, prev)
            task.nivcsw += 1
        else:
            task.nvcsw += 1
    if p != NIL:
        sched_info_waited(w, cpu, p)
        task = task_struct(w, p)
        task.last_arrival_ns = rq.clock_ns
        task.pcount += 1
        rq.pcount += 1


@kjit
def activate_task(w, cpu, p, flags):
    """core.c: activate_task(). Queue a task on a CPU."""
    rq = cpu_rq(w, cpu)
    rq.clock_read_ns = rq.clock_ns
    sched_info_queued(w, cpu, p)
    enqueue_task(w, p, flags)
    task_struct(w, p).on_rq = 1


@kjit
def wakeup_preempt(w, cpu, p, wake_flags):
    """core.c: wakeup_preempt()."""
    if cpu_rq(w, cpu).curr == NIL:
        resched_curr(w, cpu)
    else:
        wakeup_preempt_class(w, cpu, p, wake_flags)


@kjit
def update_avg_idle(w, cpu):
    """core.c: ttwu_do_activate(), the idle statistics. A wakeup ends an idle time: the average follows by an eighth."""
    rq = cpu_rq(w, cpu)
    if rq.idle_stamp_ns != NIL:
        rq.avg_idle_ns += div_trunc(rq.clock_ns - rq.idle_stamp_ns - rq.avg_idle_ns, 8)
        rq.avg_idle_ns = min(rq.avg_idle_ns, 2 * rq.max_idle_balance_cost_ns)
        rq.idle_stamp_ns = NIL


@kjit
def set_task_cpu(w, p, cpu):
    """core.c: set_task_cpu(). Let a task that is not queued belong to another CPU."""
    task = task_struct(w, p)
    if not task.on_rq:
        migrate_task_rq_fair(w, p)
    sched_entity(w, p).last_update_time_ns = NIL
    task.nr_migrations += 1
    set_task_rq(w, p, cpu)


@kjit
def detach_task(w, p, cpu):
    """fair.c: detach_task(). A task that is queued but not running leaves for a CPU; it keeps lag and deadline."""
    sched_info_waited(w, task_struct(w, p).cpu, p)
    dequeue_task(w, p, DEQUEUE_MIGRATING)
    set_task_cpu(w, p, cpu)


@kjit
def attach_task(w, p):
    """fair.c: attach_task(). A task that was detached joins its new CPU, whose clock must be current."""
    cpu = task_struct(w, p).cpu
    activate_task(w, cpu, p, ENQUEUE_MIGRATED)
    wakeup_preempt(w, cpu, p, 0)


@kjit
def detach_task_cfs_rq(w, p):
    """fair.c: detach_task_cfs_rq(). The load of a task that is not queued leaves its queue, if it is there."""
    if sched_entity(w, p).last_update_time_ns == NIL:
        return
    se_id, flags = p, DO_DETACH
    while se_id != NIL:
        se = sched_entity(w, se_id)
        update_load_avg(w, se.cfs_rq, se_id, flags)
        se_id, flags = se.parent, UPDATE_TG


@kjit
def migrate_task(w, p, cpu):
    """core.c: move_queued_task(). Move a task that is runnable but not running.

    A task in limbo stays there if it may not run on the other CPU either.
    """
    now_ns = cpu_rq(w, task_struct(w, p).cpu).clock_ns
    limbo = in_limbo(w, p)
    if limbo:
        sched_info_waited(w, task_struct(w, p).cpu, p)
        leave_limbo(w, p)
        detach_task_cfs_rq(w, p)
        set_task_cpu(w, p, cpu)
    else:
        detach_task(w, p, cpu)
    update_rq_clock(w, cpu, now_ns)
    if limbo and cfs_rq(w, sched_entity(w, p).cfs_rq).throttle_count:
        join_limbo(w, p)
    else:
        attach_task(w, p)
        if limbo:
            trace_task_throttle(w, p, 0)
