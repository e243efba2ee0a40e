"""The fair class as the core calls it: each function in the kernel that the machine has.

`v6_19` and `v7_3` have a function of the same name, or one that does the same. Nothing else asks which kernel it is,
but `tg_load_avg`, which load tracking calls from below.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.types import KERNEL_6_19, cfs_rq, sched_entity, sched_tunables, task_struct
from vcpu_env.kernel.v6_19 import entity as entity_v6_19
from vcpu_env.kernel.v6_19 import fair as v6_19
from vcpu_env.kernel.v6_19 import lag as lag_v6_19
from vcpu_env.kernel.v6_19 import queue as queue_v6_19
from vcpu_env.kernel.v7_3 import entity as entity_v7_3
from vcpu_env.kernel.v7_3 import fair as v7_3
from vcpu_env.kernel.v7_3 import group as group_v7_3
from vcpu_env.kernel.v7_3 import hrtick as hrtick_v7_3
from vcpu_env.kernel.v7_3 import lag as lag_v7_3
from vcpu_env.kernel.v7_3 import preempt as preempt_v7_3


@kjit
def is_v6_19(w):
    """Whether the machine has v6.19's fair class; else it has v7.3's."""
    return sched_tunables(w).kernel == KERNEL_6_19


@kjit
def enqueue_task_fair(w, p, flags):
    """A task joins its CPU; `flags` are ENQUEUE_*."""
    if is_v6_19(w):
        v6_19.enqueue_task_fair(w, p, flags)
    else:
        v7_3.enqueue_task_fair(w, p, flags)


@kjit
def dequeue_task_fair(w, p, flags):
    """A task leaves its CPU; returns False if it stays for now. `flags` are DEQUEUE_*."""
    if is_v6_19(w):
        return v6_19.dequeue_task_fair(w, p, flags)
    return v7_3.dequeue_task_fair(w, p, flags) != 0


@kjit
def pick_task_fair(w, cpu):
    """The task to run; NIL if there is none."""
    if is_v6_19(w):
        return v6_19.pick_task_fair(w, cpu)
    return v7_3.pick_task_fair(w, cpu)


@kjit
def put_prev_task_fair(w, p):
    """A task stops running."""
    if is_v6_19(w):
        v6_19.put_prev_task_fair(w, p)
    else:
        v7_3.put_prev_task_fair(w, p)


@kjit
def set_next_task_fair(w, p, first):
    """A task starts to run; `first`: it was picked, else it goes on after a change."""
    if is_v6_19(w):
        v6_19.set_next_task_fair(w, p)
    else:
        v7_3.set_next_task_fair(w, p, first)


@kjit
def switch_fair(w, prev, p):
    """`prev` stops running and `p` starts."""
    if is_v6_19(w):
        v6_19.switch_fair(w, prev, p)
    else:
        v7_3.switch_fair(w, prev, p)


@kjit
def task_tick_fair(w, p):
    """The tick meets a running task."""
    if is_v6_19(w):
        v6_19.task_tick_fair(w, p)
    else:
        v7_3.task_tick_fair(w, p)


@kjit
def wakeup_preempt_fair(w, cpu, p, wake_flags):
    """A task has woken up where another runs: whether it takes the CPU. `wake_flags` are WF_*."""
    if is_v6_19(w):
        v6_19.check_preempt_wakeup_fair(w, cpu, p, wake_flags)
    else:
        preempt_v7_3.wakeup_preempt_fair(w, cpu, p, wake_flags)


@kjit
def yield_task_fair(w, cpu):
    """The running task yields; returns whether it gave anything up."""
    if is_v6_19(w):
        return v6_19.yield_task_fair(w, cpu)
    return v7_3.yield_task_fair(w, cpu) != 0


@kjit
def set_next_buddy(w, p):
    """A task is hinted as the next pick of its CPU."""
    if is_v6_19(w):
        queue_v6_19.set_next_buddy(w, p)
    else:
        v7_3.set_next_buddy(w, p)


@kjit
def reweight_task_fair(w, p, weight, inv_weight):
    """A task that is not queued gets another weight, scaled, with its reciprocal."""
    if is_v6_19(w):
        entity_v6_19.reweight_entity(w, sched_entity(w, p).cfs_rq, p, weight, inv_weight)
    else:
        group_v7_3.reweight_entity(w, p, weight)


@kjit
def update_cfs_group(w, se_id):
    """The weight of a group's entity follows the group's shares."""
    if is_v6_19(w):
        entity_v6_19.update_cfs_group(w, se_id)
    else:
        group_v7_3.update_cfs_group(w, se_id)


@kjit
def only_one_queued(w, cpu):
    """Whether nothing competes with what runs on a CPU: of v6.19 on its root queue, of 7.3 among its tasks."""
    if is_v6_19(w):
        return cfs_rq(w, cpu).nr_queued == 1
    return cfs_rq(w, cpu).h_nr_queued == 1


@kjit
def ineligible_on_dst_cpu(w, p, dst):
    """fair.c: task_is_ineligible_on_dst_cpu(). A task that is ahead where it waits gains nothing on a CPU where it
    has to wait as well: of v6.19 on the queues of its group, of 7.3 on those of the CPUs.
    """
    cpu = task_struct(w, p).cpu
    if is_v6_19(w):
        there = task_struct(w, p).tg * sched_tunables(w).nr_cpus + dst
        return cfs_rq(w, there).nr_queued != 0 and not entity_v6_19.entity_eligible(w, sched_entity(w, p).cfs_rq, p)
    return cfs_rq(w, dst).h_nr_queued != 0 and not entity_v7_3.entity_eligible(w, cpu, p)


@kjit
def lags(w, p):
    """How far a task is behind (+) or ahead of (-) its share where it competes itself, and the smallest such lag of it
    and the groups that it is in; of 7.3 only the task has one.
    """
    return lag_v6_19.lags(w, p) if is_v6_19(w) else lag_v7_3.lags(w, p)


@kjit
def lead_over(w, p, other):
    """How far a task is ahead of another of its CPU in virtual time, where they compete."""
    return lag_v6_19.lead_over(w, p, other) if is_v6_19(w) else lag_v7_3.lead_over(w, p, other)


@kjit
def nr_competitors(w, p):
    """How many tasks compete on the queue where a task does, itself included."""
    return lag_v6_19.nr_competitors(w, p) if is_v6_19(w) else lag_v7_3.nr_competitors(w, p)


@kjit
def nr_levels(w, p):
    """Queues above the one where a task competes."""
    return sched_entity(w, p).depth if is_v6_19(w) else 0


@kjit
def charge_running(w, q, now_ns):
    """Of 7.3: charge what runs on a queue before somebody looks at what is left of its quota."""
    if not is_v6_19(w) and cfs_rq(w, q).curr != NIL:
        update_rq_clock(w, cfs_rq(w, q).cpu, now_ns)
        entity_v7_3.update_curr(w, q)


@kjit
def stops_running(w, cpu):
    """A CPU idles, or runs a task of another class."""
    if not is_v6_19(w):
        hrtick_v7_3.hrtick_cancel(w, cpu)
