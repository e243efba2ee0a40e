"""Every turn that a task had on a CPU: when, how long, and how long it had waited and slept before."""

from collections.abc import Iterator
from typing import NamedTuple

from vcpu_env.base.jit import NIL
from vcpu_env.base.trace_ring import SCHED_SWITCH, SCHED_WAKING
from vcpu_env.inspect.recorder import Recording


class Turn(NamedTuple):
    """One turn.

    Attributes:
        task: NIL for the idle task.
        end_ns: when it left the CPU.
        off_ns: from its leaving a CPU before to this turn, whatever it did; 0 for the first one.
        delay_ns: the part of it in which it was runnable.
        run_ns: the turn.
    """

    task: int
    cpu: int
    end_ns: int
    off_ns: int
    delay_ns: int
    run_ns: int


def turns(recording: Recording) -> Iterator[Turn]:
    """All turns that end in a recording, in order of their ends; those under way at its begin count from there."""
    begun = {cpu: recording.from_ns for cpu in range(recording.nr_cpus)}
    left: dict[int, int] = {}
    ready: dict[int, int] = {}
    delays: dict[int, tuple[int, int]] = {}  # by CPU: of the turn under way
    for time_ns, kind, cpu, who, a, b, _, _ in recording.entries:
        if kind == SCHED_WAKING:
            ready.setdefault(who, time_ns)
        elif kind == SCHED_SWITCH:
            off_ns, delay_ns = delays.get(cpu, (0, 0))
            yield Turn(who, cpu, time_ns, off_ns, delay_ns, time_ns - begun[cpu])
            begun[cpu] = time_ns
            if who != NIL:
                left[who] = time_ns
                if not b:
                    ready[who] = time_ns
            since, runnable = (left.get(a), ready.pop(a, None)) if a != NIL else (None, None)
            delays[cpu] = (
                time_ns - since if since is not None else 0,
                time_ns - runnable if runnable is not None else 0,
            )
