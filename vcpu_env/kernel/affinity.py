"""sched_setaffinity(): a task's mask of CPUs changes while the machine runs."""

from vcpu_env._jit import NIL, kjit
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.core import sched_change_begin, sched_change_end
from vcpu_env.kernel.group_stats import cpu_allowed
from vcpu_env.kernel.runqueue import migrate_task
from vcpu_env.kernel.types import cpu_rq, sched_tunables, task_struct


@kjit
def cpumask_any_and_distribute(w, p, cpu):
    """cpumask.c: cpumask_any_and_distribute(). An allowed CPU, another one every time that CPU `cpu` asks."""
    rq, nr_cpus = cpu_rq(w, cpu), sched_tunables(w, 0).nr_cpus
    chosen = rq.distribute_cpu_mask_prev
    for _ in range(nr_cpus):
        chosen = chosen + 1 if chosen + 1 < nr_cpus else 0
        if cpu_allowed(w, p, chosen):
            rq.distribute_cpu_mask_prev = chosen
            return chosen
    return NIL


@kjit
def set_cpus_allowed_ptr(w, p, mask, cpu, now_ns):
    """core.c: __set_cpus_allowed_ptr(), called on `cpu`. `mask` is of the first 64 CPUs.

    A waiting task that may not stay where it is moves at once; a sleeping one does when it wakes. A running task may
    not lose its CPU here.
    """
    task = task_struct(w, p)
    if task.cpus_allowed[0] == mask:
        return
    src = task.cpu
    update_rq_clock(w, src, now_ns)
    context = sched_change_begin(w, p)
    task.cpus_allowed[0] = mask
    sched_change_end(w, p, context)
    dst = cpumask_any_and_distribute(w, p, cpu)
    if task.on_rq and not cpu_allowed(w, p, src):
        migrate_task(w, p, dst)
