"""Arrows of a Perfetto trace: from what one vCPU or thread does to what another one does because of it."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import count

from vcpu_env.base.trace_ring import (
    GUEST_SEGMENT,
    GUEST_WAKING,
    IPI_SEND,
    IRQ_HANDLE,
    LOCK_RELEASE,
    LOCK_TAKE,
    LOCK_WAIT,
    SCHED_SWITCH,
    YIELD_TO,
)
from vcpu_env.inspect.perfetto_tracks import BEGIN, END, INSTANT, TrackWriter
from vcpu_env.inspect.recorder import Recording
from vcpu_env.inspect.records import VECTORS
from vcpu_env.inspect.rows import lock_row, task_row, thread_row


class Arrows:
    """Ends of arrows that are still open, by who they lead to."""

    def __init__(self) -> None:
        self._next = count(1)
        self._open: dict[tuple[str, int, int], list[int]] = defaultdict(list)

    def begin(self, kind: str, to: int, part: int = 0) -> list[int]:
        """A new arrow to somebody."""
        flow = next(self._next)
        self._open[kind, to, part].append(flow)
        return [flow]

    def end(self, kind: str, to: int, part: int = 0) -> list[int]:
        """All that lead there."""
        return self._open.pop((kind, to, part), [])


def flow_events(recording: Recording, writer: TrackWriter) -> Iterator[bytes]:
    """Both ends of every arrow, and the pieces of time in which a contended lock is held."""
    arrows, held, nr_vcpus = Arrows(), ContendedLocks(recording, writer), recording.nr_vcpus
    tasks, threads, locks = recording.tasks, recording.threads, recording.locks
    sent = Sent(recording, writer, arrows)
    for time_ns, kind, _, who, a, b, _, _ in recording.entries:
        if time_ns != sent.time_ns:
            yield from sent.written(time_ns)
        if kind == IPI_SEND:
            sent.add(who, a, b)
        elif kind == IRQ_HANDLE:
            if flows := arrows.end("ipi", who, a):
                yield writer.event(INSTANT, task_row(who), time_ns, f"handles {VECTORS[a]}", flows)
        elif kind == GUEST_WAKING:
            name = f"wakes {threads[who]}"
            yield writer.event(INSTANT, task_row(b), time_ns, name, arrows.begin("wake", who))
        elif kind == GUEST_SEGMENT:
            if b >= 0 and (flows := arrows.end("wake", b)):
                yield writer.event(INSTANT, thread_row(b), time_ns, "runs after wake-up", flows)
        elif kind == YIELD_TO:
            if b > 0:
                name = f"hint to {tasks[a].comm}"
                yield writer.event(INSTANT, task_row(who), time_ns, name, arrows.begin("yield", a))
        elif kind == SCHED_SWITCH:
            if 0 <= a < nr_vcpus and (flows := arrows.end("yield", a)):
                yield writer.event(INSTANT, task_row(a), time_ns, "runs after yield", flows)
        elif kind == LOCK_WAIT:
            yield from held.wait(time_ns, who, a, b)
        elif kind == LOCK_RELEASE:
            yield from held.release(time_ns, a)
            name = f"releases {locks[a]}"
            yield writer.event(INSTANT, thread_row(who), time_ns, name, arrows.begin("lock", a))
        elif kind == LOCK_TAKE:
            yield from held.take(time_ns, who, a)
            name = f"takes {locks[a]}"
            yield writer.event(INSTANT, thread_row(who), time_ns, name, arrows.end("lock", a), {"waited_ns": b})
    yield from sent.written(recording.to_ns)
    yield from held.finish()


class Sent:
    """The IPIs of one instant: a vCPU that sends to many at once, as in a TLB shootdown, has one mark for all of them.

    Perfetto stacks marks of one instant below each other.
    """

    def __init__(self, recording: Recording, writer: TrackWriter, arrows: Arrows):
        self._recording, self._writer, self._arrows = recording, writer, arrows
        self._sent: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self.time_ns = recording.from_ns

    def add(self, source: int, target: int, vector: int) -> None:
        """One more."""
        (flow,) = self._arrows.begin("ipi", target, vector)
        self._sent.setdefault((source, vector), []).append((target, flow))

    def written(self, time_ns: int) -> Iterator[bytes]:
        """The marks of the instant that is over; the next one is `time_ns`."""
        for (source, vector), targets in self._sent.items():
            one = self._recording.tasks[targets[0][0]].comm
            name = f"IPI {VECTORS[vector]} to {one if len(targets) == 1 else f'{len(targets)} vCPUs'}"
            flows = [flow for _, flow in targets]
            yield self._writer.event(INSTANT, task_row(source), self.time_ns, name, flows)
        self._sent.clear()
        self.time_ns = time_ns


class ContendedLocks:
    """For each lock the time in which somebody waits for it, by who holds it."""

    def __init__(self, recording: Recording, writer: TrackWriter):
        self._recording, self._writer = recording, writer
        self._waiting: dict[int, set[int]] = defaultdict(set)
        self._open: set[int] = set()

    def _begin(self, time_ns: int, lock: int, holder: int) -> Iterator[bytes]:
        self._open.add(lock)
        name = f"held by {self._recording.threads[holder]}"
        yield self._writer.event(BEGIN, lock_row(lock), time_ns, name)

    def wait(self, time_ns: int, t: int, lock: int, holder: int) -> Iterator[bytes]:
        """A thread begins to wait."""
        self._waiting[lock].add(t)
        if lock not in self._open and holder >= 0:
            yield from self._begin(time_ns, lock, holder)

    def release(self, time_ns: int, lock: int) -> Iterator[bytes]:
        """The holder lets go."""
        if lock in self._open:
            self._open.remove(lock)
            yield self._writer.event(END, lock_row(lock), time_ns)

    def take(self, time_ns: int, t: int, lock: int) -> Iterator[bytes]:
        """A waiter has it; others may wait on."""
        waiting = self._waiting[lock]
        waiting.discard(t)
        yield from self.release(time_ns, lock)
        if waiting:
            yield from self._begin(time_ns, lock, t)

    def finish(self) -> Iterator[bytes]:
        """What is still held when the recording ends."""
        for lock in sorted(self._open):
            yield self._writer.event(END, lock_row(lock), self._recording.to_ns)
