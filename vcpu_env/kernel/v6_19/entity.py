"""EEVDF on one queue: virtual time, lag, eligibility, and what running costs an entity.

The queue keeps sums over the *waiting* entities relative to ``zero_vruntime``; the running entity (``curr``) is not in
the tree and is added on the fly. V is the weighted average vruntime of all of them; an entity is eligible while it is
not ahead of V. ``vlag`` and ``vprot`` are one field, as in v6.19.0: an entity that is not running keeps its lag there,
a running one the vruntime up to which it is protected.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.bandwidth import account_cfs_rq_runtime
from vcpu_env.kernel.group import task_has_idle_policy
from vcpu_env.kernel.load_avg import reweight_load_avg
from vcpu_env.kernel.rbtree import rb_add, rb_erase, rb_next
from vcpu_env.kernel.resched import resched_curr, resched_curr_lazy
from vcpu_env.kernel.types import (
    ENQUEUE_INITIAL,
    LAG_CLAMP_6_19_0,
    REWEIGHT_FIXED,
    cfs_rq,
    cpu_rq,
    sched_entity,
    sched_features,
    sched_tunables,
)
from vcpu_env.kernel.v6_19.shares import calc_group_shares
from vcpu_env.kernel.weights import (
    INT64_MAX,
    calc_delta_fair,
    div_trunc,
    scale_load_down,
)


@kjit
def avg_vruntime(w, q):
    """fair.c: avg_vruntime(). V of a queue, rounded down so that V itself is always eligible."""
    cfs = cfs_rq(w, q)
    avg, load = cfs.avg_vruntime, cfs.avg_load
    if cfs.curr != NIL:
        curr = sched_entity(w, cfs.curr)
        if curr.on_rq:
            weight = scale_load_down(curr.weight)
            avg += (curr.vruntime - cfs.zero_vruntime) * weight
            load += weight
    if load == 0:
        return cfs.zero_vruntime
    return cfs.zero_vruntime + avg // load


@kjit
def vruntime_eligible(w, q, vruntime):
    """fair.c: vruntime_eligible(). Whether an entity at `vruntime` is not ahead of V: exact, nothing is divided."""
    cfs = cfs_rq(w, q)
    avg, load = cfs.avg_vruntime, cfs.avg_load
    if cfs.curr != NIL:
        curr = sched_entity(w, cfs.curr)
        if curr.on_rq:
            weight = scale_load_down(curr.weight)
            avg += (curr.vruntime - cfs.zero_vruntime) * weight
            load += weight
    return avg >= (vruntime - cfs.zero_vruntime) * load


@kjit
def entity_eligible(w, q, se_id):
    """fair.c: entity_eligible()."""
    return vruntime_eligible(w, q, sched_entity(w, se_id).vruntime)


@kjit
def entity_before(w, a, b):
    """fair.c: entity_before(). Earlier virtual deadline."""
    return sched_entity(w, a).deadline - sched_entity(w, b).deadline < 0


@kjit
def update_zero_vruntime(w, q):
    """fair.c: update_zero_vruntime(). Move the reference point to V; v6.19.0 does so only when the tree changes."""
    cfs = cfs_rq(w, q)
    vruntime = avg_vruntime(w, q)
    cfs.avg_vruntime -= cfs.avg_load * (vruntime - cfs.zero_vruntime)
    cfs.zero_vruntime = vruntime


@kjit
def __enqueue_entity(w, q, se_id):
    """fair.c: __enqueue_entity(). Put a waiting entity into the tree."""
    cfs, se = cfs_rq(w, q), sched_entity(w, se_id)
    weight = scale_load_down(se.weight)
    cfs.avg_vruntime += (se.vruntime - cfs.zero_vruntime) * weight
    cfs.avg_load += weight
    update_zero_vruntime(w, q)
    se.min_vruntime = se.vruntime
    se.min_slice_ns = se.slice_ns
    rb_add(w, q, se_id)


@kjit
def __dequeue_entity(w, q, se_id):
    """fair.c: __dequeue_entity(). Take an entity out of the tree."""
    cfs, se = cfs_rq(w, q), sched_entity(w, se_id)
    rb_erase(w, q, se_id)
    weight = scale_load_down(se.weight)
    cfs.avg_vruntime -= (se.vruntime - cfs.zero_vruntime) * weight
    cfs.avg_load -= weight
    update_zero_vruntime(w, q)


@kjit
def cfs_rq_min_slice(w, q):
    """fair.c: cfs_rq_min_slice(). Shortest slice queued, by the tree's (possibly stale) aggregate."""
    cfs = cfs_rq(w, q)
    min_slice = INT64_MAX
    if cfs.curr != NIL and sched_entity(w, cfs.curr).on_rq:
        min_slice = sched_entity(w, cfs.curr).slice_ns
    if cfs.rb_root != NIL:
        min_slice = min(min_slice, sched_entity(w, cfs.rb_root).min_slice_ns)
    return min_slice


@kjit
def cfs_rq_max_slice(w, q):
    """fair.c: cfs_rq_max_slice(), v6.19.9. Longest slice queued."""
    cfs = cfs_rq(w, q)
    max_slice = 0
    if cfs.curr != NIL and sched_entity(w, cfs.curr).on_rq:
        max_slice = sched_entity(w, cfs.curr).slice_ns
    se_id = cfs.rb_leftmost
    while se_id != NIL:
        max_slice = max(max_slice, sched_entity(w, se_id).slice_ns)
        se_id = rb_next(w, se_id)
    return max_slice


@kjit
def clear_buddies(w, q, se_id):
    """fair.c: clear_buddies(). Forget the next buddy if it is `se_id`, on every level that names its branch."""
    while se_id != NIL and cfs_rq(w, q).next == se_id:
        cfs_rq(w, q).next = NIL
        se_id = sched_entity(w, se_id).parent
        if se_id != NIL:
            q = sched_entity(w, se_id).cfs_rq


@kjit
def update_deadline(w, se):
    """fair.c: update_deadline(). Once a request is served, issue the next one; returns whether it was."""
    if se.vruntime - se.deadline < 0:
        return False
    if se.custom_slice == 0:
        se.slice_ns = sched_tunables(w).base_slice_ns
    se.deadline = se.vruntime + calc_delta_fair(se.slice_ns, se)
    return True


@kjit
def update_curr(w, q):
    """fair.c: update_curr(). Charge the running entity of one queue for the time since it was last charged."""
    cfs = cfs_rq(w, q)
    if cfs.curr == NIL:
        return
    curr = sched_entity(w, cfs.curr)
    now = cpu_rq(w, cfs.cpu).clock_ns
    delta = now - curr.exec_start_ns
    if delta <= 0:
        return
    curr.exec_start_ns = now
    curr.sum_exec_runtime_ns += delta
    curr.vruntime += calc_delta_fair(delta, curr)
    resched = update_deadline(w, curr)
    if cfs.runtime_enabled and account_cfs_rq_runtime(w, q, delta):
        resched_curr(w, cfs.cpu)
    if cfs.nr_queued == 1:
        return
    if resched or curr.vlag - curr.vruntime <= 0:
        resched_curr_lazy(w, cfs.cpu)
        clear_buddies(w, q, cfs.curr)


@kjit
def update_entity_lag(w, q, se_id):
    """fair.c: update_entity_lag(). Note how far an entity is behind (+) or ahead of (-) V, within limits."""
    se, tun = sched_entity(w, se_id), sched_tunables(w)
    vlag = avg_vruntime(w, q) - se.vruntime
    if tun.lag_clamp == LAG_CLAMP_6_19_0:
        limit = calc_delta_fair(max(2 * se.slice_ns, tun.tick_ns), se)
    else:
        limit = calc_delta_fair(cfs_rq_max_slice(w, q) + tun.tick_ns, se)
    se.vlag = min(max(vlag, -limit), limit)


@kjit
def place_entity(w, q, se_id, flags):
    """fair.c: place_entity(). Give an entity that joins a queue its vruntime (V less its lag) and its deadline."""
    cfs, se, feat = cfs_rq(w, q), sched_entity(w, se_id), sched_features(w)
    vruntime = avg_vruntime(w, q)
    if se.custom_slice == 0:
        se.slice_ns = sched_tunables(w).base_slice_ns
    if feat.PLACE_LAG and cfs.nr_queued and se.vlag:
        # Joining moves V towards the entity, so the lag is blown up to come out right afterwards.
        load = cfs.avg_load
        if cfs.curr != NIL and sched_entity(w, cfs.curr).on_rq:
            load += scale_load_down(sched_entity(w, cfs.curr).weight)
        lag = se.vlag * (load + scale_load_down(se.weight))
        vruntime -= div_trunc(lag, max(load, 1))
    se.vruntime = vruntime
    if se.rel_deadline:
        se.deadline += vruntime
        se.rel_deadline = 0
        return
    vslice = calc_delta_fair(se.slice_ns, se)
    if feat.PLACE_DEADLINE_INITIAL and flags & ENQUEUE_INITIAL:
        vslice >>= 1
    se.deadline = vruntime + vslice


@kjit
def protect_slice(se):
    """fair.c: protect_slice(). Whether a running entity has not yet reached the end of its protection."""
    return se.vlag - se.vruntime > 0


@kjit
def set_protect_slice(w, q, se):
    """fair.c: set_protect_slice(). Protect an entity that starts to run for its slice, or the shortest one waiting."""
    slice_ns = sched_tunables(w).normalized_base_slice_ns
    if sched_features(w).RUN_TO_PARITY:
        slice_ns = cfs_rq_min_slice(w, q)
    vprot = se.deadline
    if slice_ns < se.slice_ns:
        limit = se.vruntime + calc_delta_fair(slice_ns, se)
        if limit - vprot < 0:
            vprot = limit
    se.vlag = vprot


@kjit
def update_protect_slice(w, q, se):
    """fair.c: update_protect_slice(). Shorten the protection after somebody with a shorter slice has joined."""
    limit = se.vruntime + calc_delta_fair(cfs_rq_min_slice(w, q), se)
    if limit - se.vlag < 0:
        se.vlag = limit


@kjit
def reweight_entity(w, q, se_id, weight, inv_weight):
    """fair.c: reweight_entity(). Change an entity's weight.

    v6.19.0 re-places a *running* entity against an average that already contains it, which blows up its lag, and leaves
    the lag where its protection was. ``reweight = REWEIGHT_FIXED`` is the later kernel's rule: V stays, lag and
    deadline scale.
    """
    cfs, se = cfs_rq(w, q), sched_entity(w, se_id)
    old = se.weight
    running = cfs.curr == se_id
    if se.on_rq == 0:
        se.vlag = div_trunc(se.vlag * old, weight)
        if se.rel_deadline:
            se.deadline = div_trunc(se.deadline * old, weight)
        reweight_load_avg(cfs, se, weight, inv_weight)
        return
    update_curr(w, q)
    if sched_tunables(w).reweight == REWEIGHT_FIXED:
        reweight_in_place(w, q, se_id, weight, inv_weight)
        return
    update_entity_lag(w, q, se_id)
    cfs.nr_queued -= 1
    if not running:
        __dequeue_entity(w, q, se_id)
    cfs.load_weight -= old
    se.vlag = div_trunc(se.vlag * old, weight)
    se.deadline = div_trunc((se.deadline - se.vruntime) * old, weight)
    se.rel_deadline = 1
    reweight_load_avg(cfs, se, weight, inv_weight)
    place_entity(w, q, se_id, 0)
    cfs.load_weight += weight
    if not running:
        __enqueue_entity(w, q, se_id)
    cfs.nr_queued += 1


@kjit
def reweight_in_place(w, q, se_id, weight, inv_weight):
    """fair.c of 7.0: rescale_entity(). Scale lag, deadline and protection about V; V and all others stay."""
    cfs, se = cfs_rq(w, q), sched_entity(w, se_id)
    old, running = se.weight, cfs.curr == se_id
    vruntime = avg_vruntime(w, q)
    if not running:
        __dequeue_entity(w, q, se_id)
    protected = running and protect_slice(se)
    se.vruntime = vruntime - div_trunc((vruntime - se.vruntime) * old, weight)
    se.deadline = vruntime + div_trunc((se.deadline - vruntime) * old, weight)
    if protected:
        se.vlag = vruntime + div_trunc((se.vlag - vruntime) * old, weight)
    reweight_load_avg(cfs, se, weight, inv_weight)
    cfs.load_weight += weight - old
    if not running:
        __enqueue_entity(w, q, se_id)


@kjit
def se_is_idle(w, se_id):
    """fair.c: se_is_idle(). Whether an entity is a SCHED_IDLE task or the entity of an idle group."""
    se = sched_entity(w, se_id)
    if se.my_q == NIL:
        return task_has_idle_policy(w, se_id)
    return cfs_rq(w, se.my_q).idle != 0


@kjit
def update_cfs_group(w, se_id):
    """fair.c: update_cfs_group(). Let the weight of a group entity follow the group's shares; not while it is empty."""
    se = sched_entity(w, se_id)
    if se.my_q == NIL or cfs_rq(w, se.my_q).load_weight == 0:
        return
    shares = calc_group_shares(w, se.my_q)
    if se.weight != shares:
        reweight_entity(w, se.cfs_rq, se_id, shares, 0)
