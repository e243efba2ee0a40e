"""One level of the hierarchy: load, counts, quotas; who runs there. No virtual time."""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.bandwidth import return_cfs_rq_runtime, start_pelt_clock, stop_pelt_clock
from vcpu_env.kernel.cfs_tasks import list_add_task, list_del_task
from vcpu_env.kernel.group import task_has_idle_policy
from vcpu_env.kernel.load_avg import DO_ATTACH, DO_DETACH, UPDATE_TG, se_update_runnable, update_load_avg
from vcpu_env.kernel.types import (
    DEQUEUE_DELAYED,
    DEQUEUE_MIGRATING,
    DEQUEUE_SLEEP,
    DEQUEUE_SPECIAL,
    ENQUEUE_MIGRATED,
    ENQUEUE_WAKEUP,
    cfs_rq,
    cpu_rq,
    sched_entity,
)
from vcpu_env.kernel.util_est import util_est_update
from vcpu_env.kernel.v7_3.bandwidth import check_enqueue_throttle
from vcpu_env.kernel.v7_3.entity import update_curr
from vcpu_env.kernel.v7_3.group import update_cfs_group


@kjit
def enqueue_entity(w, se_id, flags):
    """fair.c: enqueue_entity(). An entity joins its queue."""
    se = sched_entity(w, se_id)
    q = se.cfs_rq
    cfs = cfs_rq(w, q)
    update_load_avg(w, q, se_id, UPDATE_TG | DO_ATTACH)
    se_update_runnable(w, se_id)
    update_cfs_group(w, se_id)
    cfs.load_weight += se.weight
    if se.my_q == NIL:
        list_add_task(w, se_id)
    cfs.nr_queued += 1
    if flags & ENQUEUE_MIGRATED:
        se.exec_start_ns = 0
    se.on_rq = 1
    if cfs.nr_queued == 1:
        if cfs.runtime_enabled:
            check_enqueue_throttle(w, q)
        cfs.on_list = 1
        if cfs.throttle_count:
            start_pelt_clock(w, q)


@kjit
def dequeue_entity(w, se_id, flags):
    """fair.c: dequeue_entity(). An entity leaves its queue."""
    se = sched_entity(w, se_id)
    q = se.cfs_rq
    cfs = cfs_rq(w, q)
    is_task = se.my_q == NIL
    update_load_avg(w, q, se_id, UPDATE_TG | (DO_DETACH if is_task and flags & DEQUEUE_MIGRATING else 0))
    if is_task and flags & DEQUEUE_SLEEP and not flags & DEQUEUE_DELAYED:
        util_est_update(w, se_id)
    se_update_runnable(w, se_id)
    se.on_rq = 0
    cfs.load_weight -= se.weight
    if is_task:
        list_del_task(w, se_id)
    cfs.nr_queued -= 1
    if cfs.runtime_enabled and cfs.nr_queued == 0:
        return_cfs_rq_runtime(w, q)
    update_cfs_group(w, se_id)
    if cfs.throttle_count and cfs.nr_queued == 0:
        stop_pelt_clock(w, q)


@kjit
def refresh_entity(w, se_id):
    """fair.c: enqueue_hierarchy(), dequeue_hierarchy(), a level whose entity stays: load and weight are brought up."""
    update_load_avg(w, sched_entity(w, se_id).cfs_rq, se_id, UPDATE_TG)
    se_update_runnable(w, se_id)
    update_cfs_group(w, se_id)


@kjit
def enqueue_hierarchy(w, p, flags):
    """fair.c: enqueue_hierarchy(). A task joins its queue, and its groups theirs as far as they were empty."""
    idle = 1 if task_has_idle_policy(w, p) else 0
    runnable = 0 if sched_entity(w, p).sched_delayed and not flags & ENQUEUE_WAKEUP else 1
    se_id = p
    while se_id != NIL:
        se = sched_entity(w, se_id)
        cfs = cfs_rq(w, se.cfs_rq)
        update_curr(w, se.cfs_rq)
        if se.on_rq:
            refresh_entity(w, se_id)
        else:
            enqueue_entity(w, se_id, flags)
        cfs.h_nr_runnable += runnable
        cfs.h_nr_queued += 1
        cfs.h_nr_idle += idle
        if cfs.idle:
            idle = 1
        flags = ENQUEUE_WAKEUP
        se_id = se.parent


@kjit
def dequeue_hierarchy(w, p, flags):
    """fair.c: dequeue_hierarchy(). A task leaves its queue, and its groups theirs as far as they become empty."""
    idle = 1 if task_has_idle_policy(w, p) else 0
    runnable = 1 if flags & (DEQUEUE_SLEEP | DEQUEUE_DELAYED) or not sched_entity(w, p).sched_delayed else 0
    leaves = True
    se_id = p
    while se_id != NIL:
        se = sched_entity(w, se_id)
        cfs = cfs_rq(w, se.cfs_rq)
        update_curr(w, se.cfs_rq)
        if leaves:
            dequeue_entity(w, se_id, flags)
            leaves = cfs.load_weight == 0
        else:
            refresh_entity(w, se_id)
        cfs.h_nr_runnable -= runnable
        cfs.h_nr_queued -= 1
        cfs.h_nr_idle -= idle
        if cfs.idle:
            idle = 1
        flags |= DEQUEUE_SLEEP
        flags &= ~(DEQUEUE_DELAYED | DEQUEUE_SPECIAL)
        se_id = se.parent


@kjit
def add_h_nr_runnable(w, p, count):
    """fair.c: set_delayed(), clear_delayed(). A task that stays queued while asleep is not runnable at any level."""
    while p != NIL:
        se = sched_entity(w, p)
        cfs_rq(w, se.cfs_rq).h_nr_runnable += count
        p = se.parent


@kjit
def set_next_entity(w, se_id):
    """fair.c: set_next_entity(). An entity is what runs on its level from now on."""
    se = sched_entity(w, se_id)
    if se.on_rq:
        update_load_avg(w, se.cfs_rq, se_id, UPDATE_TG)
    cfs = cfs_rq(w, se.cfs_rq)
    se.exec_start_ns = cpu_rq(w, cfs.cpu).clock_ns
    cfs.curr = se_id


@kjit
def put_prev_entity(w, se_id):
    """fair.c: put_prev_entity(). An entity stops running: charged for the time until now."""
    se = sched_entity(w, se_id)
    if se.on_rq:
        update_curr(w, se.cfs_rq)
        update_load_avg(w, se.cfs_rq, se_id, 0)
    cfs_rq(w, se.cfs_rq).curr = NIL
