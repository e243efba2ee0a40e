"""Task groups: which queue a task belongs to."""

from vcpu_env.base.jit import kjit
from vcpu_env.kernel.types import SCHED_IDLE, cfs_rq, sched_entity, sched_tunables, task_struct


@kjit
def task_has_idle_policy(w, p):
    """sched.h: task_has_idle_policy()."""
    return task_struct(w, p).policy == SCHED_IDLE


@kjit
def set_task_rq(w, p, cpu):
    """sched.h: set_task_rq(). Let a task that is not queued belong to a CPU."""
    task, se = task_struct(w, p), sched_entity(w, p)
    task.cpu = cpu
    se.cfs_rq = task.tg * sched_tunables(w).nr_cpus + cpu
    se.parent = cfs_rq(w, se.cfs_rq).se
