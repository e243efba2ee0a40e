"""Per-entity load tracking (PELT): how much load an entity has been, and a queue has had, lately.

Time is cut into periods of 1024 us; a contribution loses half its weight in 32 periods (y^32 = 1/2). ``load_sum`` is
the decayed sum, ``load_avg`` what it is worth as a weight. An entity counts while it is on a queue: waiting, running,
or asleep with a delayed dequeue. Only load is tracked per entity; utilisation and runnable time, which load balancing
looks at, are tracked per CPU. A ``last_update_time_ns`` of NIL means that an entity's load is in no queue's sum.

On one CPU nothing ever looks at a load average (a group's weight there is its shares), so none is kept.
"""

import numpy as np

from vcpu_env._jit import NIL, kjit
from vcpu_env.kernel.bandwidth import cfs_rq_clock_pelt, pelt_clock
from vcpu_env.kernel.shares import update_tg_load_avg
from vcpu_env.kernel.types import cfs_rq, cpu_rq, sched_entity, sched_tunables
from vcpu_env.kernel.weights import scale_load_down, update_load_set

UPDATE_TG = 0x1
DO_ATTACH = 0x4
DO_DETACH = 0x8

LOAD_AVG_PERIOD = 32
LOAD_AVG_MAX = 47742
PELT_MIN_DIVIDER = LOAD_AVG_MAX - 1024

RUNNABLE_AVG_YN_INV = np.array([int((2**32 - 1) * 0.5 ** (n / 32)) for n in range(LOAD_AVG_PERIOD)], np.int64)
"""y^n as 32-bit fractions."""


@kjit
def decay_load(value, periods):
    """pelt.c: decay_load(). ``value * y^periods``, exact for values below 2^62."""
    if periods >= LOAD_AVG_PERIOD:
        if periods > LOAD_AVG_PERIOD * 63:
            return 0
        value >>= periods >> 5
        periods &= 31
    inverse = RUNNABLE_AVG_YN_INV[periods]
    high, low = value >> 31, value & 0x7FFFFFFF
    return (high * inverse + ((low * inverse) >> 31)) >> 1


@kjit
def accumulate_pelt_segments(periods, first, last):
    """pelt.c: __accumulate_pelt_segments(). The elapsed time, cut at `periods` ends of a period."""
    full = LOAD_AVG_MAX - decay_load(LOAD_AVG_MAX, periods) - 1024
    return decay_load(first, periods) + full + last


@kjit
def get_pelt_divider(sa):
    """pelt.h: get_pelt_divider(). The largest sum that is possible at this point of a period."""
    return PELT_MIN_DIVIDER + sa.period_contrib


@kjit
def update_load_sum(now, sa, load):
    """pelt.c: ___update_load_sum(). Age a sum up to `now`; `load` is what was there in the meantime.

    Returns how many periods have ended, and what the elapsed time contributes to a sum of load 1.
    """
    delta = now - sa.last_update_time_ns
    if delta < 1024:
        if delta < 0:
            sa.last_update_time_ns = now
        return 0, 0
    delta >>= 10
    sa.last_update_time_ns += delta << 10
    contrib = delta
    delta += sa.period_contrib
    periods = delta >> 10
    if periods:
        delta &= 1023
        sa.load_sum = decay_load(sa.load_sum, periods)
        contrib = accumulate_pelt_segments(periods, 1024 - sa.period_contrib, delta) if load else 0
    sa.period_contrib = delta
    sa.load_sum += load * contrib
    return periods, contrib


@kjit
def update_load_avg_se(now, se, on_rq):
    """pelt.c: __update_load_avg_se(), __update_load_avg_blocked_se(). Age an entity's load."""
    periods, _ = update_load_sum(now, se, 1 if on_rq else 0)
    if periods:
        se.load_avg = scale_load_down(se.weight) * se.load_sum // get_pelt_divider(se)


@kjit
def update_rq_avg(rq, periods, contrib, divider, running, runnable):
    """pelt.c: ___update_load_sum(), the other two signals, per CPU: the time it is busy, and its runnable tasks."""
    if periods:
        rq.util_sum = decay_load(rq.util_sum, periods)
        rq.runnable_sum = decay_load(rq.runnable_sum, periods)
    rq.util_sum += running * contrib << 10
    rq.runnable_sum += runnable * contrib << 10
    if periods:
        rq.util_avg = rq.util_sum // divider
        rq.runnable_avg = rq.runnable_sum // divider


@kjit
def update_cfs_rq_load_avg(w, q):
    """fair.c: update_cfs_rq_load_avg(). Age the load of a queue to the CPU's clock; returns whether a period ended."""
    cfs = cfs_rq(w, q)
    rq = cpu_rq(w, cfs.cpu)
    load = scale_load_down(cfs.load_weight)
    periods, contrib = update_load_sum(cfs_rq_clock_pelt(w, q), cfs, load)
    if contrib + periods == 0:
        return False
    divider = get_pelt_divider(cfs)
    if cfs.se == NIL:
        busy = 1 if load else 0
        running = busy if cfs.curr != NIL else 0
        update_rq_avg(rq, periods, contrib, divider, running, busy * cfs.h_nr_runnable)
    if periods == 0:
        return False
    cfs.load_avg = cfs.load_sum // divider
    return True


@kjit
def enqueue_load_avg(cfs, se):
    """fair.c: enqueue_load_avg(). Add an entity's load to its queue's."""
    cfs.load_avg += se.load_avg
    cfs.load_sum += scale_load_down(se.weight) * se.load_sum


@kjit
def dequeue_load_avg(cfs, se):
    """fair.c: dequeue_load_avg(). Take an entity's load out of its queue's."""
    cfs.load_avg = max(cfs.load_avg - se.load_avg, 0)
    cfs.load_sum = max(cfs.load_sum - scale_load_down(se.weight) * se.load_sum, cfs.load_avg * PELT_MIN_DIVIDER)


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
    se.last_update_time_ns = cfs.last_update_time_ns
    se.period_contrib = cfs.period_contrib
    weight = scale_load_down(se.weight)
    load_sum = se.load_avg * get_pelt_divider(cfs)
    se.load_sum = load_sum // weight if weight < load_sum else 1
    enqueue_load_avg(cfs, se)
    cfs.prop_runnable_sum += se.load_sum


@kjit
def detach_entity_load_avg(cfs, se):
    """fair.c: detach_entity_load_avg(). An entity's load leaves a queue."""
    dequeue_load_avg(cfs, se)
    cfs.prop_runnable_sum -= se.load_sum


@kjit
def propagate_entity_load_avg(w, cfs, se):
    """fair.c: propagate_entity_load_avg(), update_tg_cfs_load(). Load that came to or left a group shows in its entity.

    Arrivals add up to at most "always there"; after a departure the rest is taken to be there equally much.
    """
    group = cfs_rq(w, se.my_q)
    runnable_sum = group.prop_runnable_sum
    group.prop_runnable_sum = 0
    cfs.prop_runnable_sum += runnable_sum
    divider, weight = get_pelt_divider(cfs), scale_load_down(se.weight)
    if runnable_sum > 0:
        runnable_sum = min(se.load_sum + runnable_sum, divider)
    else:
        group_weight = scale_load_down(group.load_weight)
        runnable_sum = min(se.load_sum, group.load_sum // group_weight if group_weight else 0)
    load_avg = weight * runnable_sum // divider
    if load_avg != se.load_avg:
        cfs.load_avg = max(cfs.load_avg + load_avg - se.load_avg, 0)
        cfs.load_sum += weight * (runnable_sum - se.load_sum)
        cfs.load_sum = max(cfs.load_sum, cfs.load_avg * PELT_MIN_DIVIDER)
        se.load_sum, se.load_avg = runnable_sum, load_avg


@kjit
def update_load_avg(w, q, se_id, flags):
    """fair.c: update_load_avg(). Bring the loads of an entity and its queue up to the CPU's clock."""
    if sched_tunables(w, 0).nr_cpus == 1:
        return
    cfs, se = cfs_rq(w, q), sched_entity(w, se_id)
    now = cfs_rq_clock_pelt(w, q)
    attached = se.last_update_time_ns != NIL
    if attached and now - se.last_update_time_ns >= 1024:
        update_load_avg_se(now, se, se.on_rq != 0)
    changed = now - cfs.last_update_time_ns >= 1024 and update_cfs_rq_load_avg(w, q)
    if se.my_q != NIL and cfs_rq(w, se.my_q).prop_runnable_sum:
        propagate_entity_load_avg(w, cfs, se)
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
def remove_entity_load_avg(w, p, now):
    """fair.c: remove_entity_load_avg(), migrate_se_pelt_lag(). A task that wakes elsewhere takes its load along.

    The old CPU's part of the group's load (``tg_load_avg_contrib``) is corrected when that CPU next looks at it.
    """
    se = sched_entity(w, p)
    if sched_tunables(w, 0).nr_cpus == 1 or se.last_update_time_ns == NIL:
        return
    cfs = cfs_rq(w, se.cfs_rq)
    update_load_avg_se(cfs.last_update_time_ns, se, False)
    cfs.load_avg = max(cfs.load_avg - se.load_avg, 0)
    load_sum = cfs.load_sum - se.load_avg * get_pelt_divider(cfs)
    cfs.load_sum = max(load_sum, cfs.load_avg * PELT_MIN_DIVIDER)
    cfs.prop_runnable_sum -= se.load_sum
    update_load_avg_se(pelt_clock(w, se.cfs_rq, now), se, False)


@kjit
def update_blocked_averages(w, cpu):
    """fair.c: sched_balance_update_blocked_averages(). Age a CPU's load, groups before their parents."""
    tun = sched_tunables(w, 0)
    for tg in range(tun.nr_groups, -1, -1):
        q = tg * tun.nr_cpus + cpu
        cfs = cfs_rq(w, q)
        if cfs.load_weight + cfs.load_sum + cfs.tg_load_avg_contrib == 0 and cfs.prop_runnable_sum == 0:
            continue
        if update_cfs_rq_load_avg(w, q):
            update_tg_load_avg(w, q)
        if cfs.se != NIL and (sched_entity(w, cfs.se).load_avg or cfs.prop_runnable_sum):
            update_load_avg(w, sched_entity(w, cfs.se).cfs_rq, cfs.se, UPDATE_TG)


@kjit
def ancestor_at_depth(w, se_id, depth):
    """The entity at `depth` on the way from the root to `se_id`."""
    while sched_entity(w, se_id).depth > depth:
        se_id = sched_entity(w, se_id).parent
    return se_id


@kjit
def task_h_load(w, p):
    """fair.c: task_h_load(), update_cfs_rq_h_load(). A task's part of the load of its CPU, through all group levels."""
    task = sched_entity(w, p)
    q = cfs_rq(w, task.cfs_rq).cpu
    load = cfs_rq(w, q).load_avg
    for depth in range(task.depth + 1):
        se = sched_entity(w, ancestor_at_depth(w, p, depth))
        load = load * se.load_avg // (cfs_rq(w, se.cfs_rq).load_avg + 1)
    return load
