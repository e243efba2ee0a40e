"""Other boosts than the series' penalty: virtual time given to the target of a yield, or moved to it from the yielder.

A hint alone is often lost: the scheduler picks the hinted entity only where it is eligible. v2 makes the yielder pay so
that the average moves past the target; here the target itself is moved:

* credit: every level of the target's chain that is not eligible is placed a margin behind the average. Nobody is
  charged, so all others on those queues pay a little. The idea is v3's; its margin was not published, the one here is
  a stand-in, and v3 acts on the yielder's own run queue only.
* transfer: the same, and the yielder's chain is charged with the service that the target was credited with, as far as
  its lag may fall. On one queue the average stays where it is.

Two more need no arithmetic: a plain yield has no target, and "stay" hints (or credits) the target while the spinner
keeps its own CPU.
"""

from vcpu_env._jit import NIL, kjit
from vcpu_env.kernel.entity import (
    __dequeue_entity,
    __enqueue_entity,
    avg_vruntime,
    entity_eligible,
    place_entity,
    update_curr,
)
from vcpu_env.kernel.types import cfs_rq, cpu_rq, sched_entity, sched_tunables, task_struct
from vcpu_env.kernel.weights import calc_delta_fair, scale_load_down
from vcpu_env.policy.types import yield_decision

MARGIN_FULL_DEPTH = 8
"""Queue length at which the margin of a credit reaches one base slice."""


@kjit
def lag_limit(w, se):
    """The largest lag that the scheduler lets an entity keep."""
    tun = sched_tunables(w, 0)
    return calc_delta_fair(max(2 * se.slice_ns, tun.tick_ns), se)


@kjit
def credit_margin(w, q, se):
    """Lag that a credited entity is given: an eighth of its base slice for each entity queued, at most all of it."""
    depth = min(cfs_rq(w, q).nr_queued, MARGIN_FULL_DEPTH)
    margin = calc_delta_fair(sched_tunables(w, 0).base_slice_ns, se) * depth // MARGIN_FULL_DEPTH
    return min(margin, lag_limit(w, se))


@kjit
def shift_running(w, q, se_id, vlag):
    """Move the running entity of a queue, with its protection and deadline, to the given lag."""
    cfs, se = cfs_rq(w, q), sched_entity(w, se_id)
    if cfs.avg_load == 0:
        return
    weight = scale_load_down(se.weight)
    rest = cfs.zero_vruntime + cfs.avg_vruntime // cfs.avg_load
    shift = rest - vlag * (cfs.avg_load + weight) // cfs.avg_load - se.vruntime
    se.vruntime += shift
    se.deadline += shift
    se.vlag += shift


@kjit
def place_waiting(w, q, se_id, vlag):
    """Take a waiting entity out of its queue and place it with the given lag, as requeue_delayed_entity() does."""
    cfs, se = cfs_rq(w, q), sched_entity(w, se_id)
    cfs.nr_queued -= 1
    __dequeue_entity(w, q, se_id)
    se.vlag = vlag
    place_entity(w, q, se_id, 0)
    __enqueue_entity(w, q, se_id)
    cfs.nr_queued += 1


@kjit
def credit_target(w, p):
    """Make every level of a waiting task's chain eligible. Returns the service credited (ns), the most of any level.

    The clock of the task's CPU must be current.
    """
    service = 0
    se_id = p
    while se_id != NIL:
        se = sched_entity(w, se_id)
        q = se.cfs_rq
        update_curr(w, q)
        if not entity_eligible(w, q, se_id):
            before = se.vruntime
            if cfs_rq(w, q).curr == se_id:
                shift_running(w, q, se_id, credit_margin(w, q, se))
            else:
                place_waiting(w, q, se_id, credit_margin(w, q, se))
            service = max(service, (before - se.vruntime) * scale_load_down(se.weight) // 1024)
        se_id = se.parent
    return service


@kjit
def charge_yielder(w, cpu, p, service_ns):
    """Charge the running task of `cpu` with service that went to `p`, on every level below a queue that both share."""
    se_id = cpu_rq(w, cpu).curr
    here = task_struct(w, p).cpu == cpu
    while se_id != NIL:
        se = sched_entity(w, se_id)
        q = se.cfs_rq
        update_curr(w, q)
        room = lag_limit(w, se) + avg_vruntime(w, q) - se.vruntime
        delta = min(service_ns * 1024 // max(scale_load_down(se.weight), 1), room)
        if delta > 0:
            se.vruntime += delta
            se.deadline += delta
        if here and shares_queue(w, q, p):
            return
        se_id = se.parent


@kjit
def shares_queue(w, q, p):
    """Whether a task, or a group that it is in, waits on queue `q`."""
    while p != NIL:
        if sched_entity(w, p).cfs_rq == q:
            return True
        p = sched_entity(w, p).parent
    return False


@kjit
def boost_credit(w, cpu, p):
    """Lag credit for the target of the current yield."""
    yield_decision(w, 0).credit_ns = credit_target(w, p)


@kjit
def boost_transfer(w, cpu, p):
    """Lag moved from the yielder to the target of the current yield."""
    service_ns = credit_target(w, p)
    yield_decision(w, 0).credit_ns = service_ns
    if service_ns > 0:
        charge_yielder(w, cpu, p, service_ns)
