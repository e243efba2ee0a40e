"""What a yielder gives up besides any penalty: v6.19's forfeit or a part of it, or what a reviewer proposed instead.

These two walk up from the yielder's own entity, so that its groups yield too; both from the discussion of v1 and v2
(K Prateek Nayak), as alternatives to the debooster.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.types import cfs_rq, cpu_rq, sched_entity
from vcpu_env.kernel.v6_19.entity import clear_buddies, entity_eligible, update_curr, update_deadline
from vcpu_env.kernel.v6_19.fair import yield_task_fair
from vcpu_env.kernel.weights import calc_delta_fair, scale_load_down
from vcpu_env.kernel.yield_types import FORFEIT_ALL, FORFEIT_HIERARCHICAL, FORFEIT_LEAF, deboost_params


@kjit
def hierarchical_forfeit(w, cpu):
    """Every level up to the first with somebody else on it forfeits its request, as long as it is eligible."""
    rq = cpu_rq(w, cpu)
    if rq.nr_running == 1:
        return False
    forfeited = False
    se_id = rq.curr
    while se_id != NIL:
        se = sched_entity(w, se_id)
        q = se.cfs_rq
        update_curr(w, q)
        if not entity_eligible(w, q, se_id):
            break
        se.vruntime = se.deadline
        se.deadline += calc_delta_fair(se.slice_ns, se)
        forfeited = True
        if cfs_rq(w, q).h_nr_runnable > 1:
            break
        se_id = se.parent
    return forfeited


@kjit
def proportional_yield(w, cpu):
    """The leaf forfeits; each group above it is charged with the share of a slice that the yielder has in it."""
    rq = cpu_rq(w, cpu)
    if rq.nr_running == 1:
        return False
    forfeited = yield_task_fair(w, cpu)
    se_id = rq.curr
    weight = scale_load_down(sched_entity(w, se_id).weight)
    se_id = sched_entity(w, se_id).parent
    while se_id != NIL and weight > 0:
        se = sched_entity(w, se_id)
        q = se.cfs_rq
        update_curr(w, q)
        if not entity_eligible(w, q, se_id):
            break
        total = max(scale_load_down(cfs_rq(w, se.my_q).load_weight), 1)
        se.vruntime += calc_delta_fair(se.slice_ns, se) * weight // total
        update_deadline(w, se)
        weight = scale_load_down(se.weight) * weight // total
        se_id = se.parent
    return forfeited


@kjit
def partial_forfeit(w, cpu):
    """The yielder gives up a part of what is left of its request, as long as it is eligible."""
    rq = cpu_rq(w, cpu)
    if rq.nr_running == 1:
        return False
    se_id = rq.curr
    se = sched_entity(w, se_id)
    clear_buddies(w, se.cfs_rq, se_id)
    update_curr(w, se.cfs_rq)
    if not entity_eligible(w, se.cfs_rq, se_id):
        return False
    se.vruntime += (se.deadline - se.vruntime) * deboost_params(w).forfeit_1024 >> 10
    return True


@kjit
def forfeit(w, cpu):
    """The yielder's forfeit. Returns whether it gave up anything."""
    params = deboost_params(w)
    kind = params.forfeit
    if kind == FORFEIT_LEAF:
        return yield_task_fair(w, cpu) if params.forfeit_1024 == FORFEIT_ALL else partial_forfeit(w, cpu)
    if kind == FORFEIT_HIERARCHICAL:
        return hierarchical_forfeit(w, cpu)
    return proportional_yield(w, cpu)
