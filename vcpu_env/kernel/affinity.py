"""sched_setaffinity(): a task's mask of CPUs changes while the machine runs. The clock of its CPU must be current."""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.group_stats import cpu_allowed
from vcpu_env.kernel.runqueue import migrate_task
from vcpu_env.kernel.sched_change import sched_change_begin, sched_change_end
from vcpu_env.kernel.types import cpu_rq, sched_tunables, task_struct


@kjit
def cpumask_any_and_distribute(w, p, cpu):
    """cpumask.c: cpumask_any_and_distribute(). An allowed CPU, another one every time that CPU `cpu` asks."""
    rq, nr_cpus = cpu_rq(w, cpu), sched_tunables(w).nr_cpus
    chosen = rq.distribute_cpu_mask_prev
    for _ in range(nr_cpus):
        chosen = chosen + 1 if chosen + 1 < nr_cpus else 0
        if cpu_allowed(w, p, chosen):
            rq.distribute_cpu_mask_prev = chosen
            return chosen
    return NIL


@kjit
def cpumask_equal(w, p, word0, word1, word2, word3):
    """cpumask.h: cpumask_equal(). Whether a task's affinity is this one, 64 CPUs a word."""
    task = task_struct(w, p)
    low = task.cpus_allowed[0] == word0 and task.cpus_allowed[1] == word1
    return low and task.cpus_allowed[2] == word2 and task.cpus_allowed[3] == word3


@kjit
def set_cpus_allowed(w, p, word0, word1, word2, word3, cpu):
    """core.c: __set_cpus_allowed_ptr_locked(), called on `cpu`, without the move.

    Returns the CPU to which the task has to go, NIL if it may stay or sleeps: a sleeper finds its CPU when it wakes.
    """
    if cpumask_equal(w, p, word0, word1, word2, word3):
        return NIL
    task = task_struct(w, p)
    was = sched_change_begin(w, p)
    task.cpus_allowed[0], task.cpus_allowed[1] = word0, word1
    task.cpus_allowed[2], task.cpus_allowed[3] = word2, word3
    sched_change_end(w, p, was)
    dst = cpumask_any_and_distribute(w, p, cpu)  # also for a task that stays: the next call's begins after it
    return NIL if was == 0 or cpu_allowed(w, p, task.cpu) else dst


@kjit
def set_cpus_allowed_ptr(w, p, word0, word1, word2, word3, cpu):
    """core.c: __set_cpus_allowed_ptr(), called on `cpu`, for a task that does not run: if it may not stay, it moves."""
    dst = set_cpus_allowed(w, p, word0, word1, word2, word3, cpu)
    if dst != NIL:
        migrate_task(w, p, dst)
