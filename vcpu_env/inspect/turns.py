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
        off_ns: from its leaving a CPU before to this turn, whatever it did; 0 for the first one. Every CPU has an idle
            task of its own.
        delay_ns: the part of it in which it was runnable; None: the turn was under way when the recording began.
        woken: it was woken up for this turn; else it had been preempted.
        run_ns: the turn.
    """

    task: int
    cpu: int
    end_ns: int
    off_ns: int
    delay_ns: int | None
    woken: bool
    run_ns: int


def turns(recording: Recording, under_way: bool = False) -> Iterator[Turn]:
    """All turns that end in a recording, in order of their ends; those under way at its begin count from there.

    `under_way`: behind them those that have begun only, as if they ended at once.
    """
    begun = {cpu: recording.from_ns for cpu in range(recording.nr_cpus)}
    left: dict[tuple[int, int], int] = {}  # by task, and of idle tasks by CPU
    ready: dict[int, tuple[int, bool]] = {}
    waits: dict[int, tuple[int, int | None, bool]] = {}  # by CPU: of the turn under way
    for time_ns, kind, cpu, who, a, b, _, _ in recording.entries:
        if kind == SCHED_WAKING:
            ready.setdefault(who, (time_ns, True))
        elif kind == SCHED_SWITCH:
            yield Turn(who, cpu, time_ns, *waits.get(cpu, (0, None, False)), time_ns - begun[cpu])
            begun[cpu] = left[who, cpu if who == NIL else NIL] = time_ns
            if who != NIL and not b:
                ready[who] = time_ns, False
            since = left.get((a, cpu if a == NIL else NIL), time_ns)
            runnable, woken = ready.pop(a, (time_ns, False))
            waits[cpu] = time_ns - since, time_ns - runnable, woken
    if under_way:
        tasks = recording.end["rq"]["curr"].tolist()
        yield from (Turn(tasks[cpu], cpu, begun[cpu], *waited, 0) for cpu, waited in waits.items())
