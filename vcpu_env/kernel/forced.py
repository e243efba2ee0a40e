"""A task that runs next whatever the fair class says: of rivals that are no scheduling class. No rule of any kernel.

The fair class goes on accounting for whom it did not pick.
"""

from vcpu_env.base.jit import kjit
from vcpu_env.kernel.resched import resched_curr
from vcpu_env.kernel.types import TASK_RUNNING, cpu_rq, sched_entity, task_struct


@kjit
def waits_in_queue(w, p):
    """Whether a task is queued and not running."""
    task = task_struct(w, p)
    se = sched_entity(w, p)
    if se.on_rq == 0 or task.state != TASK_RUNNING or se.sched_delayed:
        return False
    return cpu_rq(w, task.cpu).curr != p


@kjit
def run_next(w, p):
    """The CPU that a waiting task is queued on shall pick it now."""
    cpu = task_struct(w, p).cpu
    cpu_rq(w, cpu).forced = p
    resched_curr(w, cpu)
