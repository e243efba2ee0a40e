"""HRTICK: a timer that ends a slice when it is over, not at the next tick after that.

``rq.hrtick_expires_ns`` is when it goes off (NIL: it does not), ``rq.hrtick_timer`` its slot on the timeline.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.timeline import NEVER, set_event
from vcpu_env.kernel.resched import resched_curr
from vcpu_env.kernel.rt_types import rt_task
from vcpu_env.kernel.types import cfs_rq, cpu_rq, sched_entity, sched_features

LEAST_DELAY_NS = 10_000
REARM_SLACK_NS = 5_000
"""A timer that is off by no more than this is left alone."""


@kjit
def set_hrtick(w, cpu, expires_ns):
    """Let the timer of a CPU go off then; NIL: not at all."""
    rq = cpu_rq(w, cpu)
    rq.hrtick_expires_ns = expires_ns
    if rq.hrtick_timer != NIL:
        set_event(w, rq.hrtick_timer, NEVER if expires_ns == NIL else expires_ns)


@kjit
def hrtick_start_fair(w, cpu, p):
    """fair.c: hrtick_start_fair(), core.c: hrtick_start(). The running task's request is over after so much time."""
    if not sched_features(w).HRTICK or cfs_rq(w, cpu).h_nr_queued <= 1:
        return
    rq, se = cpu_rq(w, cpu), sched_entity(w, p)
    left = se.deadline - se.vruntime
    if left < 0:
        if rq.curr == p:
            resched_curr(w, cpu)
        return
    expires_ns = rq.clock_ns + max(se.h_load * left >> 20, LEAST_DELAY_NS)
    if rq.hrtick_expires_ns == NIL or abs(expires_ns - rq.hrtick_expires_ns) > REARM_SLACK_NS:
        set_hrtick(w, cpu, expires_ns)


@kjit
def hrtick_update(w, cpu):
    """fair.c: hrtick_update(). A task has joined: from the second one on the running task's slice is timed."""
    rq = cpu_rq(w, cpu)
    if rq.curr != NIL and rq.hrtick_expires_ns == NIL and not rt_task(w, rq.curr):
        hrtick_start_fair(w, cpu, rq.curr)


@kjit
def hrtick_cancel(w, cpu):
    """core.c: hrtick_schedule_exit(), of a CPU that goes idle."""
    if cpu_rq(w, cpu).hrtick_expires_ns != NIL:
        set_hrtick(w, cpu, NIL)
