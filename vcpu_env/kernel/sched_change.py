"""Changes of a task that may be queued or running: it leaves its queue and its CPU, is changed, and comes back.

The clock of the task's CPU must be current.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.bandwidth import in_limbo, join_limbo, leave_limbo
from vcpu_env.kernel.fair_class import reweight_task_fair
from vcpu_env.kernel.group import set_task_rq
from vcpu_env.kernel.load_avg import DO_ATTACH, UPDATE_TG, update_load_avg
from vcpu_env.kernel.resched import resched_curr
from vcpu_env.kernel.runqueue import detach_task_cfs_rq, migrate_task, sched_info_switch
from vcpu_env.kernel.sched_class import dequeue_task, enqueue_task, put_prev_task, set_next_task
from vcpu_env.kernel.sched_trace import trace_task_throttle
from vcpu_env.kernel.types import (
    DEQUEUE_SAVE,
    ENQUEUE_RESTORE,
    SCHED_IDLE,
    TASK_NEW,
    cfs_rq,
    cpu_rq,
    sched_entity,
    task_group,
    task_struct,
)
from vcpu_env.kernel.weights import SCHED_PRIO_TO_WEIGHT, SCHED_PRIO_TO_WMULT, WEIGHT_IDLEPRIO, WMULT_IDLEPRIO

CHANGE_QUEUED, CHANGE_RUNNING, CHANGE_LIMBO = 1, 2, 4
"""Where a task was before a change."""


@kjit
def sched_change_begin(w, p):
    """core.c: sched_change_begin(). Take a task off its queue, and off its CPU, before something about it changes.

    Returns what `sched_change_end` needs to know.
    """
    task = task_struct(w, p)
    rq = cpu_rq(w, task.cpu)
    rq.clock_read_ns = rq.clock_ns
    was = CHANGE_RUNNING if rq.curr == p else 0
    if in_limbo(w, p):
        was |= CHANGE_LIMBO
        leave_limbo(w, p)
    elif task.on_rq:
        was |= CHANGE_QUEUED
        dequeue_task(w, p, DEQUEUE_SAVE)
    if was & CHANGE_RUNNING:
        put_prev_task(w, p)
    return was


@kjit
def sched_change_end(w, p, was):
    """core.c: sched_change_end(). Put a task back to where `sched_change_begin` found it; it keeps its lag."""
    if was & CHANGE_LIMBO and cfs_rq(w, sched_entity(w, p).cfs_rq).throttle_count:
        join_limbo(w, p)
    elif was & (CHANGE_QUEUED | CHANGE_LIMBO):
        enqueue_task(w, p, ENQUEUE_RESTORE)
        if was & CHANGE_LIMBO:
            trace_task_throttle(w, p, 0)
    if was & CHANGE_RUNNING:
        set_next_task(w, p, 0)


@kjit
def set_load_weight(w, p):
    """core.c: set_load_weight(). The weight of a task follows its policy and nice value."""
    task = task_struct(w, p)
    if task.policy == SCHED_IDLE:
        weight, inv_weight = WEIGHT_IDLEPRIO, WMULT_IDLEPRIO
    else:
        weight, inv_weight = SCHED_PRIO_TO_WEIGHT[task.nice + 20], SCHED_PRIO_TO_WMULT[task.nice + 20]
    reweight_task_fair(w, p, weight << 10, inv_weight)


@kjit
def sched_setscheduler(w, p, policy):
    """syscalls.c: __sched_setscheduler(). Another policy of the fair class, at the same nice value."""
    task = task_struct(w, p)
    if task.policy == policy:
        return
    was = sched_change_begin(w, p)
    task.policy = policy
    set_load_weight(w, p)
    sched_change_end(w, p, was)


@kjit
def stop_and_migrate(w, cpu, dst):
    """core.c: migration_cpu_stop(). The stopper thread interrupts a CPU and moves the task that ran there to `dst`.

    The CPU is left without a current task; the caller picks.
    """
    rq = cpu_rq(w, cpu)
    p = rq.curr
    put_prev_task(w, p)
    sched_info_switch(w, cpu, p, NIL)
    rq.curr = NIL
    migrate_task(w, p, dst)


@kjit
def attach_task_cfs_rq(w, p):
    """fair.c: attach_task_cfs_rq(). The load of a task that is not queued joins its queue."""
    se_id, flags = p, DO_ATTACH
    while se_id != NIL:
        se = sched_entity(w, se_id)
        update_load_avg(w, se.cfs_rq, se_id, flags)
        se_id, flags = se.parent, UPDATE_TG


@kjit
def task_change_group_fair(w, p, tg):
    """fair.c: task_change_group_fair(). A task takes its load from its group's queue to that of group `tg`."""
    task, se = task_struct(w, p), sched_entity(w, p)
    attached = task.state != TASK_NEW and se.last_update_time_ns != NIL
    if attached:
        detach_task_cfs_rq(w, p)
        se.last_update_time_ns = NIL
    task.tg = tg
    set_task_rq(w, p, task.cpu)
    se.depth = task_group(w, tg).depth
    if attached:
        attach_task_cfs_rq(w, p)


@kjit
def sched_move_task(w, p, tg):
    """core.c: sched_move_task(). A write to cgroup.threads: a task joins group `tg`; one that runs is picked anew."""
    if task_struct(w, p).tg == tg:
        return
    was = sched_change_begin(w, p)
    task_change_group_fair(w, p, tg)
    sched_change_end(w, p, was)
    if was & CHANGE_RUNNING:
        resched_curr(w, task_struct(w, p).cpu)
