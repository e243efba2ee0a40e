"""How much a group weighs on a CPU, and a task among all tasks of its CPU.

A group's entity has a part of the group's shares by one of five rules (``cgroup_mode``); under `concur`, the default,
the whole has as many times the shares as the group keeps CPUs busy, so that the part does not shrink as it spreads.
A task's ``h_load`` is its weight multiplied down the hierarchy: at each level times what its entity is of its queue.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.load_avg import reweight_load_avg
from vcpu_env.kernel.types import (
    CGROUP_CONCUR,
    CGROUP_MAX,
    CGROUP_SMP,
    CGROUP_UP,
    cfs_rq,
    sched_entity,
    sched_tunables,
    task_group,
)
from vcpu_env.kernel.weights import MIN_SHARES, NICE_0_LOAD, scale_load_down

LARGEST_WEIGHT = 88761 << 10
"""That of nice -20; `max` gives a group no more."""

RECIPROCAL_UNUSED = 1
"""7.3 divides by weights, it has no reciprocals; those of v6.19 need not be computed."""


@kjit
def smp_shares(w, q, shares, most):
    """fair.c: __calc_smp_shares(). The part of `shares` that a CPU's load is of the group's; at most `most`."""
    cfs = cfs_rq(w, q)
    load = max(scale_load_down(cfs.load_weight), cfs.load_avg)
    tg_weight = task_group(w, cfs.tg).load_avg - cfs.tg_load_avg_contrib + load
    shares *= load
    if tg_weight:
        shares //= tg_weight
    return min(max(shares, MIN_SHARES), most)


@kjit
def tg_tasks(w, tg):
    """fair.c: tg_tasks(). How many tasks a group has had runnable lately, rounded down, at least one."""
    return max(1, task_group(w, tg).runnable_avg >> 10)


@kjit
def calc_group_shares(w, q):
    """fair.c: calc_up_shares() and its four siblings. The weight of a group's entity on the CPU of this queue.

    Where no load is tracked there is one CPU, which has all of the load.
    """
    tun = sched_tunables(w)
    tg = cfs_rq(w, q).tg
    group = task_group(w, tg)
    shares = group.shares
    if tun.cgroup_mode == CGROUP_UP:
        return shares
    if tun.track_load == 0:
        return min(shares, LARGEST_WEIGHT) if tun.cgroup_mode == CGROUP_MAX else shares
    if tun.cgroup_mode == CGROUP_SMP:
        return smp_shares(w, q, shares, shares)
    if tun.cgroup_mode == CGROUP_MAX:
        return smp_shares(w, q, group.nr_cpus * shares, LARGEST_WEIGHT)
    count = tg_tasks(w, tg)
    if tun.cgroup_mode == CGROUP_CONCUR:
        count = min(count, group.nr_cpus)
    return smp_shares(w, q, count * shares, count * shares)


@kjit
def reweight_entity(w, se_id, weight):
    """fair.c: reweight_entity(). Another weight in the sums of the entity's own queue; EEVDF knows nothing of it."""
    se = sched_entity(w, se_id)
    if se.weight == weight:
        return
    cfs = cfs_rq(w, se.cfs_rq)
    if se.on_rq:
        cfs.load_weight += weight - se.weight
    reweight_load_avg(cfs, se, weight, RECIPROCAL_UNUSED)


@kjit
def update_cfs_group(w, se_id):
    """fair.c: update_cfs_group(). Let the weight of a group entity follow the group's shares; not while it is empty."""
    se = sched_entity(w, se_id)
    if se.my_q != NIL and cfs_rq(w, se.my_q).load_weight:
        reweight_entity(w, se_id, calc_group_shares(w, se.my_q))


@kjit
def calc_prop_weight(w, se_id, weight):
    """fair.c: __calc_prop_weight(). One level of `h_load`: what is below an entity weighs as much on its queue."""
    se = sched_entity(w, se_id)
    weight *= se.weight
    if se.parent != NIL:
        weight //= cfs_rq(w, se.cfs_rq).load_weight
    else:
        weight //= NICE_0_LOAD
    return max(weight, MIN_SHARES)


@kjit
def hierarchical_weight(w, p):
    """The weight of a queued task among all tasks of its CPU, scaled (nice 0 in no group: 2^20)."""
    weight = NICE_0_LOAD
    while p != NIL:
        weight = calc_prop_weight(w, p, weight)
        p = sched_entity(w, p).parent
    return weight
