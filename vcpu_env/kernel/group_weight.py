"""What is written to a group's cpu.weight and cpu.idle."""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.fair_class import update_cfs_group
from vcpu_env.kernel.load_avg import UPDATE_TG, update_load_avg
from vcpu_env.kernel.types import cfs_rq, cpu_rq, sched_entity, sched_tunables, task_group
from vcpu_env.kernel.weights import MAX_SHARES, MIN_SHARES, NICE_0_LOAD, WEIGHT_IDLEPRIO


@kjit
def __sched_group_set_shares(w, tg, weight):
    """fair.c: __sched_group_set_shares(). The same for a group of any policy."""
    group = task_group(w, tg)
    shares = min(max(weight, MIN_SHARES << 10), MAX_SHARES << 10)
    if group.shares == shares:
        return
    group.shares = shares
    nr_cpus = sched_tunables(w).nr_cpus
    for cpu in range(nr_cpus):
        rq = cpu_rq(w, cpu)
        rq.clock_read_ns = rq.clock_ns
        se_id = cfs_rq(w, tg * nr_cpus + cpu).se
        while se_id != NIL:
            update_load_avg(w, sched_entity(w, se_id).cfs_rq, se_id, UPDATE_TG)
            update_cfs_group(w, se_id)
            se_id = sched_entity(w, se_id).parent


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
    group, nr_cpus = task_group(w, tg), sched_tunables(w).nr_cpus
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
