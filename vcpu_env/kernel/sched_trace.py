"""The scheduler's tracepoints as records of `base.trace_ring`: switches, wake-ups, ticks, quotas that are used up."""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.trace_ring import (
    CFS_THROTTLE,
    SCHED,
    SCHED_SWITCH,
    SCHED_TICK,
    SCHED_WAKING,
    TASK_THROTTLE,
    record,
    traced,
)
from vcpu_env.kernel.types import TASK_RUNNING, cfs_rq, cpu_rq, task_struct

SLEEPING = 1
"""State of a task that gives its CPU away because it sleeps or ends; 0: it stays runnable."""


@kjit
def trace_sched_switch(w, cpu, prev, following):
    """trace_sched_switch(). `following` takes the CPU from `prev`; NIL is the idle task (or the stopper)."""
    if traced(w, SCHED):
        sleeps = prev != NIL and task_struct(w, prev).state != TASK_RUNNING
        state = SLEEPING if sleeps else 0
        record(w, cpu_rq(w, cpu).clock_ns, SCHED_SWITCH, cpu, prev, following, state, 0, 0)


@kjit
def trace_sched_waking(w, cpu, p, waker_cpu, forked):
    """trace_sched_waking(), trace_sched_wakeup_new(). A task becomes runnable on `cpu`, by what `waker_cpu` does."""
    if traced(w, SCHED):
        now_ns = max(cpu_rq(w, cpu).clock_ns, cpu_rq(w, waker_cpu).clock_ns)
        record(w, now_ns, SCHED_WAKING, cpu, p, waker_cpu, cpu_rq(w, waker_cpu).curr, forked, 0)


@kjit
def trace_sched_tick(w, cpu):
    """The tick of a CPU that has a task."""
    if traced(w, SCHED):
        rq = cpu_rq(w, cpu)
        record(w, rq.clock_ns, SCHED_TICK, cpu, rq.curr, rq.nr_running, 0, 0, 0)


@kjit
def trace_cfs_throttle(w, q, throttled):
    """A group's queue on a CPU has no run time left (1), or has some again (0). Linux has no tracepoint for it."""
    if traced(w, SCHED):
        cfs = cfs_rq(w, q)
        record(w, cpu_rq(w, cfs.cpu).clock_ns, CFS_THROTTLE, cfs.cpu, cfs.tg, throttled, 0, 0, 0)


@kjit
def trace_task_throttle(w, p, throttled):
    """A runnable task leaves its queue, because a group that it is in may not run (1), or is back on it (0)."""
    if traced(w, SCHED):
        cpu = task_struct(w, p).cpu
        record(w, cpu_rq(w, cpu).clock_ns, TASK_THROTTLE, cpu, p, throttled, 0, 0, 0)
