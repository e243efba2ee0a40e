"""Load averages of entities and queues: aged, joined, taken along to another CPU, passed on to the groups above.

A ``last_update_time_ns`` of NIL means that an entity's load is in no queue's sum. A task that wakes elsewhere leaves
a note on its old queue (``removed_*``), which takes the load out at its next update. On one CPU nothing ever looks at a
load average (a group's weight there is its shares), so none is kept unless it is asked for (``track_load``).
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.bandwidth import cfs_rq_clock_pelt, pelt_clock
from vcpu_env.kernel.clock import jiffies_ns, sched_clock, update_rq_clock
from vcpu_env.kernel.pelt import (
    PELT_MIN_DIVIDER,
    SCHED_CAPACITY_SCALE,
    ___update_load_avg,
    ___update_load_sum,
    get_pelt_divider,
    load_avg_is_decayed,
)
from vcpu_env.kernel.rt_load import update_rt_rq_load_avg
from vcpu_env.kernel.rt_types import rt_rq, rt_task
from vcpu_env.kernel.tg_load_avg import update_tg_load_avg
from vcpu_env.kernel.types import cfs_rq, cpu_rq, sched_entity, sched_tunables, task_group
from vcpu_env.kernel.util_est import UTIL_AVG_UNCHANGED
from vcpu_env.kernel.weights import scale_load_down, update_load_set

UPDATE_TG = 0x1
DO_ATTACH = 0x4
DO_DETACH = 0x8

U32 = (1 << 32) - 1


@kjit
def least_sum(total, average):
    """fair.c: ``max_t(u32, sum, avg * PELT_MIN_DIVIDER)``. A sum is worth its average, as far as 32 bits reach."""
    return max(total & U32, (average * PELT_MIN_DIVIDER) & U32)


@kjit
def __update_load_avg_se(w, now, q, se_id):
    """pelt.c: __update_load_avg_se(). Age the averages of an entity."""
    se = sched_entity(w, se_id)
    runnable = 0
    if se.on_rq:
        runnable = 1 - se.sched_delayed if se.my_q == NIL else se.runnable_weight
    if ___update_load_sum(now, se, 1 if se.on_rq else 0, runnable, cfs_rq(w, q).curr == se_id):
        ___update_load_avg(se, scale_load_down(se.weight))
        se.util_est &= ~UTIL_AVG_UNCHANGED


@kjit
def __update_load_avg_blocked_se(now, se):
    """pelt.c: __update_load_avg_blocked_se(). The same for one that sleeps."""
    if ___update_load_sum(now, se, 0, 0, False):
        ___update_load_avg(se, scale_load_down(se.weight))


@kjit
def se_update_runnable(w, se_id):
    """fair.c: se_update_runnable(). Note how many tasks a group entity stands for."""
    se = sched_entity(w, se_id)
    if se.my_q != NIL:
        se.runnable_weight = cfs_rq(w, se.my_q).h_nr_runnable


@kjit
def add_tg_cfs_propagate(cfs, runnable_sum):
    """fair.c: add_tg_cfs_propagate(). The entity of a queue's group has to follow."""
    cfs.propagate = 1
    cfs.prop_runnable_sum += runnable_sum


@kjit
def remove_load_avg(cfs):
    """fair.c: update_cfs_rq_load_avg(), the removed loads: those of tasks that woke elsewhere."""
    divider = get_pelt_divider(cfs)
    load, runnable, util = cfs.removed_load, cfs.removed_runnable, cfs.removed_util
    cfs.removed_nr = cfs.removed_load = cfs.removed_runnable = cfs.removed_util = 0
    cfs.load_avg = max(cfs.load_avg - load, 0)
    cfs.load_sum = least_sum(max(cfs.load_sum - load * divider, 0), cfs.load_avg)
    cfs.util_avg = max(cfs.util_avg - util, 0)
    cfs.util_sum = least_sum(max(cfs.util_sum - util * divider, 0), cfs.util_avg)
    cfs.runnable_avg = max(cfs.runnable_avg - runnable, 0)
    cfs.runnable_sum = least_sum(max(cfs.runnable_sum - runnable * divider, 0), cfs.runnable_avg)
    add_tg_cfs_propagate(cfs, -(runnable * divider) >> 10)


@kjit
def update_cfs_rq_load_avg(w, q, now):
    """fair.c: update_cfs_rq_load_avg(). Age a queue to `now` on its clock; returns whether anything has changed."""
    cfs = cfs_rq(w, q)
    changed = cfs.removed_nr > 0
    if changed:
        remove_load_avg(cfs)
    if now - cfs.last_update_time_ns >= 1024:
        load = scale_load_down(cfs.load_weight)
        if ___update_load_sum(now, cfs, load, cfs.h_nr_runnable, cfs.curr != NIL):
            ___update_load_avg(cfs, 1)
            changed = True
    return changed


@kjit
def enqueue_load_avg(cfs, se):
    """fair.c: enqueue_load_avg(). Add an entity's load to its queue's."""
    cfs.load_avg += se.load_avg
    cfs.load_sum += scale_load_down(se.weight) * se.load_sum


@kjit
def dequeue_load_avg(cfs, se):
    """fair.c: dequeue_load_avg(). Take an entity's load out of its queue's."""
    cfs.load_avg = max(cfs.load_avg - se.load_avg, 0)
    cfs.load_sum = least_sum(max(cfs.load_sum - scale_load_down(se.weight) * se.load_sum, 0), cfs.load_avg)


@kjit
def reweight_load_avg(cfs, se, weight, inv_weight):
    """fair.c: reweight_entity(), the load average. Change an entity's weight and its part of its queue's load."""
    if se.last_update_time_ns == NIL:
        update_load_set(se, weight, inv_weight)
        return
    dequeue_load_avg(cfs, se)
    update_load_set(se, weight, inv_weight)
    se.load_avg = scale_load_down(weight) * se.load_sum // get_pelt_divider(se)
    enqueue_load_avg(cfs, se)


@kjit
def attach_entity_load_avg(cfs, se):
    """fair.c: attach_entity_load_avg(). An entity's load joins a queue, in step with the queue's periods."""
    divider = get_pelt_divider(cfs)
    se.last_update_time_ns = cfs.last_update_time_ns
    se.period_contrib = cfs.period_contrib
    se.util_sum, se.runnable_sum = se.util_avg * divider, se.runnable_avg * divider
    weight, load_sum = scale_load_down(se.weight), se.load_avg * divider
    se.load_sum = load_sum // weight if weight < load_sum else 1
    enqueue_load_avg(cfs, se)
    cfs.util_avg += se.util_avg
    cfs.util_sum += se.util_sum
    cfs.runnable_avg += se.runnable_avg
    cfs.runnable_sum += se.runnable_sum
    add_tg_cfs_propagate(cfs, se.load_sum)


@kjit
def detach_entity_load_avg(cfs, se):
    """fair.c: detach_entity_load_avg(). An entity's load leaves a queue."""
    dequeue_load_avg(cfs, se)
    cfs.util_avg = max(cfs.util_avg - se.util_avg, 0)
    cfs.util_sum = least_sum(max(cfs.util_sum - se.util_sum, 0), cfs.util_avg)
    cfs.runnable_avg = max(cfs.runnable_avg - se.runnable_avg, 0)
    cfs.runnable_sum = least_sum(max(cfs.runnable_sum - se.runnable_sum, 0), cfs.runnable_avg)
    add_tg_cfs_propagate(cfs, -se.load_sum)


@kjit
def post_init_entity_util_avg(w, p):
    """fair.c: post_init_entity_util_avg(). A new task is taken to use what the others of its weight do, if it fits."""
    se = sched_entity(w, p)
    cfs = cfs_rq(w, se.cfs_rq)
    room = (SCHED_CAPACITY_SCALE - cfs.util_avg) // 2
    if room > 0:
        util = room
        if cfs.util_avg:
            util = min(cfs.util_avg * scale_load_down(se.weight) // (cfs.load_avg + 1), room)
        se.util_avg = util
    se.runnable_avg = se.util_avg


@kjit
def update_tg_cfs_util(cfs, se, group):
    """fair.c: update_tg_cfs_util(). A group's utilisation shows in its entity."""
    delta = group.util_avg - se.util_avg
    if delta == 0:
        return
    util_sum = group.util_avg * get_pelt_divider(cfs)
    cfs.util_avg = max(cfs.util_avg + delta, 0)
    cfs.util_sum = least_sum(max(cfs.util_sum + util_sum - se.util_sum, 0), cfs.util_avg)
    se.util_avg, se.util_sum = group.util_avg, util_sum


@kjit
def update_tg_cfs_runnable(cfs, se, group):
    """fair.c: update_tg_cfs_runnable(). A group's runnable time shows in its entity."""
    delta = group.runnable_avg - se.runnable_avg
    if delta == 0:
        return
    runnable_sum = group.runnable_avg * get_pelt_divider(cfs)
    cfs.runnable_avg = max(cfs.runnable_avg + delta, 0)
    cfs.runnable_sum = least_sum(max(cfs.runnable_sum + runnable_sum - se.runnable_sum, 0), cfs.runnable_avg)
    se.runnable_avg, se.runnable_sum = group.runnable_avg, runnable_sum


@kjit
def update_tg_cfs_load(cfs, se, group):
    """fair.c: update_tg_cfs_load(). Load that came to or left a group shows in its entity.

    Arrivals add up to at most "always there"; after a departure the rest is taken to be there equally much. An entity
    has been there at least as long as it has run.
    """
    runnable_sum = group.prop_runnable_sum
    if runnable_sum == 0:
        return
    group.prop_runnable_sum = 0
    divider, weight = get_pelt_divider(cfs), scale_load_down(se.weight)
    if runnable_sum > 0:
        runnable_sum = min(se.load_sum + runnable_sum, divider)
    else:
        group_weight = scale_load_down(group.load_weight)
        runnable_sum = min(se.load_sum, group.load_sum // group_weight if group_weight else 0)
    runnable_sum = max(runnable_sum, se.util_sum >> 10)
    load_avg = weight * runnable_sum // divider
    delta = load_avg - se.load_avg
    if delta == 0:
        return
    cfs.load_avg = max(cfs.load_avg + delta, 0)
    cfs.load_sum = least_sum(max(cfs.load_sum + weight * (runnable_sum - se.load_sum), 0), cfs.load_avg)
    se.load_sum, se.load_avg = runnable_sum, load_avg


@kjit
def propagate_entity_load_avg(w, cfs, se):
    """fair.c: propagate_entity_load_avg(). What came to or left a group shows in its entity, and one level up."""
    group = cfs_rq(w, se.my_q)
    if group.propagate == 0:
        return False
    group.propagate = 0
    add_tg_cfs_propagate(cfs, group.prop_runnable_sum)
    update_tg_cfs_util(cfs, se, group)
    update_tg_cfs_runnable(cfs, se, group)
    update_tg_cfs_load(cfs, se, group)
    return True


@kjit
def update_load_avg(w, q, se_id, flags):
    """fair.c: update_load_avg(). Bring an entity and its queue up to the CPU's clock."""
    if sched_tunables(w).track_load == 0:
        return
    cfs, se = cfs_rq(w, q), sched_entity(w, se_id)
    now = cfs_rq_clock_pelt(w, q)
    attached = se.last_update_time_ns != NIL
    if attached and now - se.last_update_time_ns >= 1024:
        __update_load_avg_se(w, now, q, se_id)
    changed = update_cfs_rq_load_avg(w, q, now)
    if se.my_q != NIL and propagate_entity_load_avg(w, cfs, se):
        changed = True
    if flags & DO_ATTACH and not attached:
        attach_entity_load_avg(cfs, se)
        update_tg_load_avg(w, q)
    elif flags & DO_DETACH:
        detach_entity_load_avg(cfs, se)
        update_tg_load_avg(w, q)
    elif changed and flags & UPDATE_TG:
        update_tg_load_avg(w, q)


@kjit
def online_fair_sched_group(w, tg):
    """fair.c: online_fair_sched_group(), attach_entity_cfs_rq(). The entities of a new group join the queues above."""
    tun = sched_tunables(w)
    nr_cpus = tun.nr_cpus
    for cpu in range(nr_cpus if tun.track_load else 0):
        se_id = cfs_rq(w, tg * nr_cpus + cpu).se
        q = sched_entity(w, se_id).cfs_rq
        update_load_avg(w, q, se_id, 0)
        attach_entity_load_avg(cfs_rq(w, q), sched_entity(w, se_id))
        update_tg_load_avg(w, q)
        cfs_rq(w, q).on_list = 1
        above = sched_entity(w, se_id).parent
        while above != NIL:
            q = sched_entity(w, above).cfs_rq
            update_load_avg(w, q, above, UPDATE_TG)
            cfs_rq(w, q).on_list = 1
            above = sched_entity(w, above).parent


@kjit
def sync_entity_load_avg(w, p):
    """fair.c: sync_entity_load_avg(). A sleeping task is as old as its queue."""
    se = sched_entity(w, p)
    __update_load_avg_blocked_se(cfs_rq(w, se.cfs_rq).last_update_time_ns, se)


@kjit
def remove_entity_load_avg(w, p):
    """fair.c: remove_entity_load_avg(). A task that is not queued is gone: its queue notices at its next update."""
    se = sched_entity(w, p)
    if sched_tunables(w).track_load == 0 or se.last_update_time_ns == NIL:
        return
    cfs = cfs_rq(w, se.cfs_rq)
    sync_entity_load_avg(w, p)
    cfs.removed_nr += 1
    cfs.removed_load += se.load_avg
    cfs.removed_runnable += se.runnable_avg
    cfs.removed_util += se.util_avg


@kjit
def migrate_task_rq_fair(w, p):
    """fair.c: migrate_task_rq_fair(), migrate_se_pelt_lag(), of a task that is not queued.

    It takes its load along. It is as old as its old queue, but if the CPU there is idle, and does not update anything,
    the task ages up to now.
    """
    se = sched_entity(w, p)
    if sched_tunables(w).track_load == 0 or se.last_update_time_ns == NIL:
        return
    remove_entity_load_avg(w, p)
    cfs = cfs_rq(w, se.cfs_rq)
    if sched_tunables(w).pf_idle and cpu_rq(w, cfs.cpu).curr == NIL and not load_avg_is_decayed(se):
        __update_load_avg_blocked_se(pelt_clock(w, se.cfs_rq, sched_clock(w)), se)


@kjit
def child_cfs_rq_on_list(w, q):
    """fair.c: child_cfs_rq_on_list(). Whether the blocked load of a group below is still aged on this CPU."""
    cfs, tun = cfs_rq(w, q), sched_tunables(w)
    for tg in range(cfs.tg + 1, tun.nr_groups + 1):
        if task_group(w, tg).parent == cfs.tg and cfs_rq(w, tg * tun.nr_cpus + cfs.cpu).on_list:
            return True
    return False


@kjit
def cfs_rq_is_decayed(w, q):
    """fair.c: cfs_rq_is_decayed(). Whether a queue is empty and nothing is left of any load, here or below."""
    cfs = cfs_rq(w, q)
    if cfs.load_weight or cfs.tg_load_avg_contrib or not load_avg_is_decayed(cfs):
        return False
    return not child_cfs_rq_on_list(w, q)


@kjit
def update_blocked_averages(w, cpu):
    """fair.c: sched_balance_update_blocked_averages(). Age a CPU's load, groups before their parents.

    A queue whose load is gone altogether is left alone from then on.
    """
    tun, rq = sched_tunables(w), cpu_rq(w, cpu)
    update_rq_clock(w, cpu, sched_clock(w))
    rq.last_blocked_load_update_ns = jiffies_ns(w)
    blocked = 0
    for tg in range(tun.nr_groups, -1, -1):
        q = tg * tun.nr_cpus + cpu
        cfs = cfs_rq(w, q)
        if cfs.on_list == 0:
            continue
        if update_cfs_rq_load_avg(w, q, cfs_rq_clock_pelt(w, q)):
            update_tg_load_avg(w, q)
        if cfs.se != NIL:
            se = sched_entity(w, cfs.se)
            if se.load_avg or se.util_avg or cfs.propagate:
                update_load_avg(w, se.cfs_rq, cfs.se, UPDATE_TG)
        if cfs_rq_is_decayed(w, q):
            cfs.on_list = 0
        blocked |= cfs.load_avg | cfs.util_avg
    if tun.rt_used:
        update_rt_rq_load_avg(w, cpu, 1 if rq.curr != NIL and rt_task(w, rq.curr) else 0)
        blocked |= rt_rq(w, cpu).util_avg
    if blocked == 0:
        rq.has_blocked_load = 0


@kjit
def ancestor_at_depth(w, se_id, depth):
    """The entity at `depth` on the way from the root to `se_id`."""
    while sched_entity(w, se_id).depth > depth:
        se_id = sched_entity(w, se_id).parent
    return se_id


@kjit
def update_cfs_rq_h_load(w, q):
    """fair.c: update_cfs_rq_h_load(). A queue's part of its CPU's load, through all group levels; once a jiffy."""
    cfs, now = cfs_rq(w, q), jiffies_ns(w)
    if cfs.last_h_load_update_ns == now:
        return
    root = cfs_rq(w, cfs.cpu)
    if root.last_h_load_update_ns != now:
        root.h_load, root.last_h_load_update_ns = root.load_avg, now
    if cfs.se == NIL:
        return
    for depth in range(sched_entity(w, cfs.se).depth + 1):
        se = sched_entity(w, ancestor_at_depth(w, cfs.se, depth))
        group, above = cfs_rq(w, se.my_q), cfs_rq(w, se.cfs_rq)
        if group.last_h_load_update_ns != now:
            group.h_load = above.h_load * se.load_avg // (above.load_avg + 1)
            group.last_h_load_update_ns = now


@kjit
def task_h_load(w, p):
    """fair.c: task_h_load(). A task's part of the load of its CPU."""
    task = sched_entity(w, p)
    update_cfs_rq_h_load(w, task.cfs_rq)
    cfs = cfs_rq(w, task.cfs_rq)
    return task.load_avg * cfs.h_load // (cfs.load_avg + 1)
