"""Estimated utilisation (UTIL_EST): what a task used when it last ran, which PELT forgets while it sleeps."""

from vcpu_env.base.jit import kjit
from vcpu_env.kernel.types import cfs_rq, sched_entity, sched_features, sched_tunables, task_struct

UTIL_AVG_UNCHANGED = 1 << 31
"""Flag in a task's estimate: its utilisation has not changed since it slept, so there is nothing new to learn."""

UTIL_EST_MARGIN = 1024 // 100
UTIL_EST_WEIGHT_SHIFT = 2


@kjit
def util_est_in_use(w):
    """Whether there is anybody who looks at estimates: balancing between CPUs."""
    return sched_features(w).UTIL_EST and sched_tunables(w).track_load


@kjit
def _task_util_est(se):
    """fair.c: _task_util_est()."""
    return se.util_est & ~UTIL_AVG_UNCHANGED


@kjit
def task_util_est(se):
    """fair.c: task_util_est(). A task's utilisation, or what it was before it slept if that is more."""
    return max(se.util_avg, _task_util_est(se))


@kjit
def util_est_enqueue(w, p):
    """fair.c: util_est_enqueue(). The CPU expects the estimates of all tasks that want to run."""
    if util_est_in_use(w):
        cfs_rq(w, task_struct(w, p).cpu).util_est += _task_util_est(sched_entity(w, p))


@kjit
def util_est_dequeue(w, p):
    """fair.c: util_est_dequeue()."""
    if util_est_in_use(w):
        cfs = cfs_rq(w, task_struct(w, p).cpu)
        cfs.util_est -= min(cfs.util_est, _task_util_est(sched_entity(w, p)))


@kjit
def util_est_update(w, p):
    """fair.c: util_est_update(). A task goes to sleep: its estimate rises at once, and falls by a quarter of the way.

    It does not fall for a task that had to wait for the CPU.
    """
    if not util_est_in_use(w):
        return
    se = sched_entity(w, p)
    ewma, dequeued = se.util_est, se.util_avg
    if ewma & UTIL_AVG_UNCHANGED:
        return
    if ewma <= dequeued:
        ewma = dequeued
    elif ewma - dequeued >= UTIL_EST_MARGIN and dequeued + UTIL_EST_MARGIN >= se.runnable_avg:
        ewma = ((ewma << UTIL_EST_WEIGHT_SHIFT) - (ewma - dequeued)) >> UTIL_EST_WEIGHT_SHIFT
    se.util_est = ewma | UTIL_AVG_UNCHANGED
