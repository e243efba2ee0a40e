"""A group's load and its number of runnable tasks, as sums of what its queues have last told."""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.clock import sched_clock
from vcpu_env.kernel.types import cfs_rq, task_group
from vcpu_env.kernel.v6_19.shares import UPDATE_TG_INTERVAL_NS


@kjit
def update_tg_load_avg(w, q):
    """fair.c: update_tg_load_avg(). Refresh a queue's contributions to its group's sums if either is off enough."""
    cfs = cfs_rq(w, q)
    if cfs.se == NIL:
        return
    now = sched_clock(w)
    if now - cfs.last_update_tg_load_avg_ns < UPDATE_TG_INTERVAL_NS:
        return
    load = cfs.load_avg - cfs.tg_load_avg_contrib
    runnable = cfs.runnable_avg - cfs.tg_runnable_avg_contrib
    if abs(load) > cfs.tg_load_avg_contrib // 64 or abs(runnable) > cfs.tg_runnable_avg_contrib // 64:
        group = task_group(w, cfs.tg)
        group.load_avg += load
        group.runnable_avg += runnable
        cfs.tg_load_avg_contrib, cfs.tg_runnable_avg_contrib = cfs.load_avg, cfs.runnable_avg
        cfs.last_update_tg_load_avg_ns = now
