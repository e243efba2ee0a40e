"""The end of a wakeup: the task joins a queue, at once or, on an idle or distant CPU, when an interrupt gets there."""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.resched import smp_call_function_single_async
from vcpu_env.kernel.rt_balance import task_woken_rt
from vcpu_env.kernel.runqueue import activate_task, update_avg_idle, wakeup_preempt
from vcpu_env.kernel.select_cpu import cpus_share_cache
from vcpu_env.kernel.types import CSD_TTWU, ENQUEUE_WAKEUP, TASK_RUNNING, cpu_rq, sched_tunables, task_struct


@kjit
def ttwu_do_activate(w, p, cpu, flags, wake_flags):
    """core.c: ttwu_do_activate(). A woken task joins a CPU's queue; `flags` are ENQUEUE_MIGRATED or 0."""
    activate_task(w, cpu, p, ENQUEUE_WAKEUP | flags)
    wakeup_preempt(w, cpu, p, wake_flags)
    if sched_tunables(w).rt_used:
        task_woken_rt(w, cpu, p)
    update_avg_idle(w, cpu)


@kjit
def ttwu_queue_cond(w, cpu, waker_cpu):
    """core.c: ttwu_queue_cond(). Whether a CPU does itself what a wakeup takes: it is idle, or far from the waker."""
    if not cpus_share_cache(w, waker_cpu, cpu):
        return True
    return cpu != waker_cpu and cpu_rq(w, cpu).nr_running == 0


@kjit
def ttwu_queue_wakelist(w, p, cpu, flags):
    """core.c: __ttwu_queue_wakelist(). Send a woken task to a CPU by an interrupt."""
    rq, task = cpu_rq(w, cpu), task_struct(w, p)
    rq.ttwu_pending = 1
    task.remote_wakeup, task.wake_next = flags, NIL
    if rq.wake_list_head == NIL:
        rq.wake_list_head = p
    else:
        task_struct(w, rq.wake_list_tail).wake_next = p
    rq.wake_list_tail = p
    smp_call_function_single_async(w, cpu, CSD_TTWU)


@kjit
def sched_ttwu_pending(w, cpu):
    """core.c: sched_ttwu_pending(). The tasks that were sent to a CPU arrive; its clock must be current."""
    rq = cpu_rq(w, cpu)
    rq.csd_pending &= ~CSD_TTWU
    p = rq.wake_list_head
    rq.wake_list_head = NIL
    while p != NIL:
        task = task_struct(w, p)
        if task.state == TASK_RUNNING:  # it may have been killed meanwhile
            ttwu_do_activate(w, p, cpu, task.remote_wakeup, 0)
        p = task.wake_next
    rq.ttwu_pending = 0
