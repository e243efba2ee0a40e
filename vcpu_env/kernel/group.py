"""Task groups: which queue an entity sits on, and the weight of a group's entity on a CPU."""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.entity import reweight_entity
from vcpu_env.kernel.load_avg import UPDATE_TG, update_load_avg
from vcpu_env.kernel.shares import calc_group_shares
from vcpu_env.kernel.types import SCHED_IDLE, cfs_rq, cpu_rq, sched_entity, sched_tunables, task_group, task_struct
from vcpu_env.kernel.weights import MAX_SHARES, MIN_SHARES, NICE_0_LOAD, WEIGHT_IDLEPRIO


@kjit
def se_is_idle(w, se_id):
    """fair.c: se_is_idle(). Whether an entity is a SCHED_IDLE task or the entity of an idle group."""
    se = sched_entity(w, se_id)
    if se.my_q == NIL:
        return task_has_idle_policy(w, se_id)
    return cfs_rq(w, se.my_q).idle != 0


@kjit
def task_has_idle_policy(w, p):
    """sched.h: task_has_idle_policy()."""
    return task_struct(w, p).policy == SCHED_IDLE


@kjit
def set_task_rq(w, p, cpu):
    """sched.h: set_task_rq(). Let a task that is not queued belong to a CPU."""
    task, se = task_struct(w, p), sched_entity(w, p)
    task.cpu = cpu
    se.cfs_rq = task.tg * sched_tunables(w, 0).nr_cpus + cpu
    se.parent = cfs_rq(w, se.cfs_rq).se


@kjit
def update_cfs_group(w, se_id):
    """fair.c: update_cfs_group(). Let the weight of a group entity follow the group's shares; not while it is empty."""
    se = sched_entity(w, se_id)
    if se.my_q == NIL or cfs_rq(w, se.my_q).load_weight == 0:
        return
    shares = calc_group_shares(w, se.my_q)
    if se.weight != shares:
        reweight_entity(w, se.cfs_rq, se_id, shares, 0)


@kjit
def __sched_group_set_shares(w, tg, weight):
    """fair.c: __sched_group_set_shares(). The same for a group of any policy."""
    group = task_group(w, tg)
    shares = min(max(weight, MIN_SHARES << 10), MAX_SHARES << 10)
    if group.shares == shares:
        return
    group.shares = shares
    nr_cpus = sched_tunables(w, 0).nr_cpus
    for cpu in range(nr_cpus):
        rq = cpu_rq(w, cpu)
        rq.clock_read_ns = rq.clock_ns
        se = cfs_rq(w, tg * nr_cpus + cpu).se
        while se != NIL:
            update_load_avg(w, sched_entity(w, se).cfs_rq, se, UPDATE_TG)
            update_cfs_group(w, se)
            se = sched_entity(w, se).parent


@kjit
def sched_group_set_shares(w, tg, weight):
    """fair.c: sched_group_set_shares(). Set a group's shares, `weight` in scaled units (nice 0 = 2^20).

    Every CPU's clock must have been updated.
    """
    if not task_group(w, tg).idle:
        __sched_group_set_shares(w, tg, weight)


@kjit
def sched_group_set_idle(w, tg, idle):
    """fair.c: sched_group_set_idle(). Write a group's cpu.idle. A group that is not idle any more has weight 100.

    Every CPU's clock must have been updated.
    """
    group, nr_cpus = task_group(w, tg), sched_tunables(w, 0).nr_cpus
    if group.idle == idle:
        return
    group.idle = idle
    for cpu in range(nr_cpus):
        cfs = cfs_rq(w, tg * nr_cpus + cpu)
        cfs.idle = idle
        more_idle = cfs.h_nr_queued - cfs.h_nr_idle
        if not idle:
            more_idle = -more_idle
        se_id = cfs.se
        while se_id != NIL and sched_entity(w, se_id).on_rq:
            above = cfs_rq(w, sched_entity(w, se_id).cfs_rq)
            above.h_nr_idle += more_idle
            if above.idle:
                break
            se_id = sched_entity(w, se_id).parent
    __sched_group_set_shares(w, tg, WEIGHT_IDLEPRIO << 10 if idle else NICE_0_LOAD)
