"""The scheduler's tracepoints: sched_switch, sched_waking and the tick, as records of `base.trace_ring`."""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.trace_ring import SCHED, SCHED_SWITCH, SCHED_TICK, SCHED_WAKING, record, traced
from vcpu_env.kernel.types import TASK_RUNNING, cpu_rq, task_struct

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
