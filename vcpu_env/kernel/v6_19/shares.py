"""Group shares: how a group's weight is divided among its entities on the CPUs.

A CPU's entity gets the part of ``tg.shares`` that the CPU's load is of the group's load on all CPUs. That total,
``tg.load_avg``, is a sum of contributions, each refreshed by its own CPU only, at most once a millisecond and only if
it is off by more than 1/64; so a group's weights on different CPUs follow its load, and each other, with some delay.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.clock import sched_clock
from vcpu_env.kernel.types import cfs_rq, sched_tunables, task_group
from vcpu_env.kernel.weights import MIN_SHARES, scale_load_down

UPDATE_TG_INTERVAL_NS = 1_000_000


@kjit
def update_tg_load_avg(w, q):
    """fair.c: update_tg_load_avg(). Refresh a queue's contribution to its group's load if it is off enough."""
    cfs = cfs_rq(w, q)
    if cfs.se == NIL:
        return
    now = sched_clock(w)
    if now - cfs.last_update_tg_load_avg_ns < UPDATE_TG_INTERVAL_NS:
        return
    delta = cfs.load_avg - cfs.tg_load_avg_contrib
    if abs(delta) > cfs.tg_load_avg_contrib // 64:
        task_group(w, cfs.tg).load_avg += delta
        cfs.tg_load_avg_contrib = cfs.load_avg
        cfs.last_update_tg_load_avg_ns = now


@kjit
def calc_group_shares(w, q):
    """fair.c: calc_group_shares(). The part of a group's shares that its entity on this queue's CPU gets.

    A queue counts at least for what is queued on it now, so that a group is worth something on a new CPU at once.
    """
    cfs = cfs_rq(w, q)
    group = task_group(w, cfs.tg)
    if sched_tunables(w).track_load == 0:
        return group.shares
    load = max(scale_load_down(cfs.load_weight), cfs.load_avg)
    tg_weight = group.load_avg - cfs.tg_load_avg_contrib + load
    shares = group.shares * load
    if tg_weight:
        shares //= tg_weight
    return min(max(shares, MIN_SHARES), group.shares)
