"""A task that is killed while it has no CPU. In Linux it would run once more, to end itself in do_exit()."""

from vcpu_env.base.jit import kjit
from vcpu_env.kernel.bandwidth import leave_limbo
from vcpu_env.kernel.runqueue import sched_info_waited
from vcpu_env.kernel.sched_class import dequeue_task
from vcpu_env.kernel.types import (
    DEQUEUE_DELAYED,
    DEQUEUE_SLEEP,
    DEQUEUE_SPECIAL,
    TASK_DEAD,
    cpu_rq,
    sched_entity,
    task_struct,
)


@kjit
def kill_waiting_task(w, p):
    """The task leaves its queue, if it is on one, and never runs again. Its CPU's clock must be current."""
    task = task_struct(w, p)
    task.state = TASK_DEAD
    if task.on_rq == 0:
        return
    cpu_rq(w, task.cpu).clock_read_ns = cpu_rq(w, task.cpu).clock_ns
    sched_info_waited(w, task.cpu, p)
    task.on_rq = 0
    if sched_entity(w, p).on_rq == 0:
        leave_limbo(w, p)
        return
    flags = DEQUEUE_SLEEP | DEQUEUE_SPECIAL
    if sched_entity(w, p).sched_delayed:
        flags |= DEQUEUE_DELAYED
    dequeue_task(w, p, flags)
