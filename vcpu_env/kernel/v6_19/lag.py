"""Where a task stands against its competitors, of v6.19: on its own queue, and on those of its groups."""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.types import cfs_rq, sched_entity
from vcpu_env.kernel.v6_19.entity import avg_vruntime
from vcpu_env.kernel.v6_19.fair import matching_ancestor

NO_LAG = 1 << 62


@kjit
def entity_lag(w, se_id):
    """The lag of an entity on its queue, ns of virtual time; `NO_LAG` on an empty one."""
    se = sched_entity(w, se_id)
    if cfs_rq(w, se.cfs_rq).nr_queued == 0:
        return NO_LAG
    return avg_vruntime(w, se.cfs_rq) - se.vruntime


@kjit
def lags(w, p):
    """The lag of a task on its own queue, and the smallest on the levels of its chain; each 0 if queues are empty.

    In a cgroup for each VM a vCPU is often alone in its group, with a lag of 0; what it owes shows at its VM's entity.
    """
    own = entity_lag(w, p)
    least, se_id = own, sched_entity(w, p).parent
    while se_id != NIL:
        least = min(least, entity_lag(w, se_id))
        se_id = sched_entity(w, se_id).parent
    return 0 if own == NO_LAG else own, 0 if least == NO_LAG else least


@kjit
def lead_over(w, p, other):
    """How far a task, or a group that it is in, is ahead of another of the CPU, where they compete."""
    its, mine = matching_ancestor(w, p, other), matching_ancestor(w, other, p)
    return sched_entity(w, its).vruntime - sched_entity(w, mine).vruntime


@kjit
def nr_competitors(w, p):
    """Tasks on the queue of a task, and below it, itself included."""
    return cfs_rq(w, sched_entity(w, p).cfs_rq).h_nr_queued
