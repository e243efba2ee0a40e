"""What the tracepoints sched_switch and sched_wakeup would show: a ring of the latest events, off by default.

`sched_tunables.trace_events` is the ring's length, 0 for none; `rq_totals.nr_trace_events` counts all events so far, so
event *i* lies in entry *i* modulo the length.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.structs import Struct, StructArray
from vcpu_env.kernel.types import TASK_RUNNING, cpu_rq, rq_totals, sched_tunables, task_struct

SWITCH, WAKEUP = range(2)
SLEEPING = 1
"""`prev_state` of a task that gives its CPU away because it sleeps or ends; 0: it stays runnable."""

sched_event = Struct(
    "sched_event",
    [
        ("time_ns", "i8"),
        ("cpu", "i8"),
        ("event", "i8"),
        ("prev_pid", "i8"),  # NIL: idle; of a wake-up always NIL
        ("prev_state", "i8"),
        ("next_pid", "i8"),  # NIL: idle; of a wake-up the task that wakes
    ],
)


def sched_trace_arrays(trace_events: int) -> list[StructArray]:
    """The ring; without entries it is not there."""
    return [sched_event.array(trace_events)] if trace_events else []


@kjit
def record_sched_event(w, cpu, event, prev, prev_state, following):
    """Write the next entry."""
    totals = rq_totals(w, 0)
    entry = sched_event(w, totals.nr_trace_events % sched_tunables(w, 0).trace_events)
    totals.nr_trace_events += 1
    entry.time_ns = cpu_rq(w, cpu).clock_ns
    entry.cpu = cpu
    entry.event = event
    entry.prev_pid = prev
    entry.prev_state = prev_state
    entry.next_pid = following


@kjit
def trace_sched_switch(w, cpu, prev, following):
    """trace_sched_switch(). `following` takes the CPU from `prev`; NIL is the idle task (or the stopper)."""
    if sched_tunables(w, 0).trace_events:
        sleeps = prev != NIL and task_struct(w, prev).state != TASK_RUNNING
        record_sched_event(w, cpu, SWITCH, prev, SLEEPING if sleeps else 0, following)


@kjit
def trace_sched_wakeup(w, cpu, p):
    """trace_sched_wakeup(), trace_sched_wakeup_new(). A task becomes runnable on `cpu`, whose clock is current."""
    if sched_tunables(w, 0).trace_events:
        record_sched_event(w, cpu, WAKEUP, NIL, 0, p)
