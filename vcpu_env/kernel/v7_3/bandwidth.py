"""CFS bandwidth control where it differs: a queue is throttled as soon as the account of its run time is empty."""

from vcpu_env.base.jit import NIL, entry_point, kjit
from vcpu_env.kernel.bandwidth import (
    SCHED_CFS_BANDWIDTH_SLICE_NS,
    assign_cfs_rq_runtime,
    cfs_rq_bandwidth,
    mark_throttled,
)
from vcpu_env.kernel.types import WORK_THROTTLE, cfs_rq, cpu_rq, sched_entity, task_struct


@kjit
def throttle_cfs_rq(w, q):
    """fair.c: throttle_cfs_rq(). Draw from the pool, or throttle the queue; what runs below it then has work to do.

    Returns whether it is throttled.
    """
    cfs = cfs_rq(w, q)
    runs = cfs.curr != NIL and sched_entity(w, cfs.curr).on_rq != 0
    if assign_cfs_rq_runtime(w, q, SCHED_CFS_BANDWIDTH_SLICE_NS if runs else 1):
        return False
    mark_throttled(w, q)
    donor = cpu_rq(w, cfs.cpu).curr
    if runs and donor != NIL:
        task_struct(w, donor).exit_work |= WORK_THROTTLE
    return True


@entry_point
def account_cfs_rq_runtime(w, q, delta_ns):
    """fair.c: __account_cfs_rq_runtime(), of a queue with a quota. Charge it; returns whether it is throttled."""
    queue = cfs_rq_bandwidth(w, q)
    queue.runtime_remaining_ns -= delta_ns
    if queue.runtime_remaining_ns > 0:
        return 0
    return 1 if queue.throttled or throttle_cfs_rq(w, q) else 0


@kjit
def check_enqueue_throttle(w, q):
    """fair.c: check_enqueue_throttle(), of a queue with a quota that is no longer empty. Throttle it if it is broke."""
    if cfs_rq(w, q).curr == NIL and not cfs_rq_bandwidth(w, q).throttled:
        account_cfs_rq_runtime(w, q, 0)
