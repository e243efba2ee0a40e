"""Where a task stands against its competitors, of v7.3: those are all tasks of its CPU, in whatever group."""

from vcpu_env.base.jit import kjit
from vcpu_env.kernel.types import cfs_rq, sched_entity, task_struct
from vcpu_env.kernel.v7_3.entity import virtual_time


@kjit
def lags(w, p):
    """The lag of a task, ns of virtual time, 0 on an empty CPU; and once more, since groups have none."""
    cpu = task_struct(w, p).cpu
    lag_ns = virtual_time(w, cpu) - sched_entity(w, p).vruntime if cfs_rq(w, cpu).h_nr_queued > 0 else 0
    return lag_ns, lag_ns


@kjit
def lead_over(w, p, other):
    """How far a task is ahead of another of the CPU."""
    return sched_entity(w, p).vruntime - sched_entity(w, other).vruntime


@kjit
def nr_competitors(w, p):
    """Tasks of the CPU."""
    return cfs_rq(w, task_struct(w, p).cpu).h_nr_queued
