"""What each thread of a recording did: CPU time from one action to the next, and how long it slept for whom.

The same code measures a recorded program and a simulated one, so that both are compared by one definition.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from vcpu_env.fit.events import CALL_IPI, IDLE, RESCHEDULE_IPI, SHOOTDOWN, SWITCH, WAKE, Event


@dataclass
class Action:
    """A thread wakes another, or sleeps.

    Attributes:
        cpu_ns: its time on a CPU since its last action.
        other: whom it wakes, or who wakes it; `IDLE`: an interrupt, or a thread that is none of ours.
        slept_ns: how long it sleeps; None: it wakes, or its sleep has no end in the recording.
    """

    cpu_ns: int
    blocks: bool
    other: int = IDLE
    slept_ns: int | None = None


@dataclass
class Thread:
    """One thread of a recording; the action that was under way when the recording began is not in it."""

    tid: int
    comm: str
    first_ns: int
    last_ns: int
    actions: list[Action] = field(default_factory=list)
    cpu_ns: int = 0
    preempted: int = 0
    counts: Counter[int] = field(default_factory=Counter)
    since_action_ns: int = 0
    on_since_ns: int | None = None
    blocked_since_ns: int | None = None
    begun: bool = False

    @property
    def runs_ns(self) -> list[int]:
        """CPU time from one sleep to the next."""
        runs, sum_ns = [], 0
        for action in self.actions:
            sum_ns += action.cpu_ns
            if action.blocks:
                runs.append(sum_ns)
                sum_ns = 0
        return runs

    @property
    def blocks(self) -> list[Action]:
        """Its sleeps."""
        return [action for action in self.actions if action.blocks]

    def account(self, now_ns: int) -> None:
        """Book the time on its CPU up to now."""
        if self.on_since_ns is not None:
            self.cpu_ns += now_ns - self.on_since_ns
            self.since_action_ns += now_ns - self.on_since_ns
            self.on_since_ns = now_ns

    def act(self, blocks: bool, other: int = IDLE) -> None:
        """Note an action, unless its begin lies before the recording."""
        if self.begun:
            self.actions.append(Action(self.since_action_ns, blocks, other))
        self.begun, self.since_action_ns = True, 0

    def wake(self, now_ns: int, waker: int) -> bool:
        """It is woken; whether it slept."""
        if self.blocked_since_ns is None:
            return False
        if self.actions and self.actions[-1].blocks:
            self.actions[-1].slept_ns = now_ns - self.blocked_since_ns
            self.actions[-1].other = waker
        self.blocked_since_ns = None
        return True


@dataclass(frozen=True)
class Recording:
    """The threads of a program.

    Attributes:
        cpus: on which they ran.
        counted: kinds of events beside switches and wake-ups that the recording has.
    """

    threads: dict[int, Thread]
    start_ns: int
    end_ns: int
    cpus: int
    counted: frozenset[int]

    @property
    def window_ns(self) -> int:
        """Time from the first of its switches to the last."""
        return self.end_ns - self.start_ns


def record(events: Iterable[Event], ours: Callable[[str, int], bool]) -> Recording:
    """What the threads did that `ours` (of name and id) chooses, from events in order of time."""
    threads: dict[int, Thread] = {}
    cpus, counted = set[int](), set[int]()
    times: list[int] = []

    def seen(tid: int, comm: str, now_ns: int) -> Thread | None:
        if tid == IDLE or (tid not in threads and not ours(comm, tid)):
            return None
        thread = threads.setdefault(tid, Thread(tid, comm, now_ns, now_ns))
        thread.comm = comm if ours(comm, tid) else thread.comm
        thread.last_ns = now_ns
        times[:] = [times[0] if times else now_ns, now_ns]
        return thread

    for event in events:
        if event.kind == SWITCH:
            if (previous := seen(event.tid, event.comm, event.time_ns)) is not None:
                leave(previous, event)
            if (following := seen(event.other, event.other_comm, event.time_ns)) is not None:
                following.wake(event.time_ns, IDLE)
                following.on_since_ns = event.time_ns
                cpus.add(event.cpu)
        elif event.kind == WAKE:
            sleeper, waker = threads.get(event.other), threads.get(event.tid)
            if sleeper is not None and sleeper.wake(event.time_ns, IDLE if waker is None else waker.tid):
                if waker is not None:
                    waker.account(event.time_ns)
                    waker.act(False, sleeper.tid)
        else:
            counted.add(event.kind)
            if event.tid in threads:
                threads[event.tid].counts[event.kind] += 1
    start_ns, end_ns = times or (0, 0)
    for thread in threads.values():
        thread.account(end_ns)
    return Recording(threads, start_ns, end_ns, len(cpus), frozenset(counted))


def leave(thread: Thread, event: Event) -> None:
    """A thread is switched out."""
    thread.account(event.time_ns)
    thread.on_since_ns = None
    if event.blocks:
        thread.act(True)
        thread.blocked_since_ns = event.time_ns
    else:
        thread.preempted += 1


KIND_NAMES = {RESCHEDULE_IPI: "RESCHEDULE IPIs", CALL_IPI: "CALL IPIs", SHOOTDOWN: "TLB shootdowns"}
