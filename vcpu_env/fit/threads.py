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
        cpu_ns: its time on a CPU since its last action; None: that was before the recording.
        other: whom it wakes, or who wakes it; `IDLE`: an interrupt, or a thread that is none of ours.
        slept_ns: how long it sleeps; None: it wakes another, it ends, or its sleep has no end in the recording.
        exits: it ends.
    """

    cpu_ns: int | None
    blocks: bool
    other: int = IDLE
    slept_ns: int | None = None
    exits: bool = False


@dataclass
class Thread:
    """One thread of a recording.

    Attributes:
        unwoken: how many of its sleeps end because it runs again, without a wake-up in the recording.
    """

    tid: int
    comm: str
    first_ns: int
    last_ns: int
    actions: list[Action] = field(default_factory=list)
    cpu_ns: int = 0
    preempted: int = 0
    unwoken: int = 0
    counts: Counter[int] = field(default_factory=Counter)
    since_action_ns: int = 0
    on_since_ns: int | None = None
    blocked_since_ns: int | None = None
    begun: bool = False

    @property
    def runs_ns(self) -> list[int]:
        """CPU time from one sleep to the next, as far as it was recorded."""
        runs, parts = [], list[int | None]()
        for action in self.actions:
            parts.append(action.cpu_ns)
            if action.blocks:
                whole = [part for part in parts if part is not None]
                if len(whole) == len(parts):
                    runs.append(sum(whole))
                parts = []
        return runs

    @property
    def blocks(self) -> list[Action]:
        """Its sleeps, and its end."""
        return [action for action in self.actions if action.blocks]

    @property
    def endless(self) -> bool:
        """Whether it slept, and never woke."""
        sleeps = [block for block in self.blocks if not block.exits]
        return bool(sleeps) and all(sleep.slept_ns is None for sleep in sleeps)

    def account(self, now_ns: int) -> None:
        """Book the time on its CPU up to now."""
        if self.on_since_ns is not None:
            self.cpu_ns += now_ns - self.on_since_ns
            self.since_action_ns += now_ns - self.on_since_ns
            self.on_since_ns = now_ns

    def act(self, blocks: bool, other: int = IDLE, exits: bool = False) -> None:
        """Note an action."""
        self.actions.append(Action(self.since_action_ns if self.begun else None, blocks, other, exits=exits))
        self.begun, self.since_action_ns = True, 0

    def wake(self, now_ns: int, waker: int) -> bool:
        """It is woken; whether it slept."""
        if self.blocked_since_ns is None:
            return False
        if self.actions[-1].blocks:
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
        arrivals: it has switches to the threads, not only from them.
    """

    threads: dict[int, Thread]
    start_ns: int
    end_ns: int
    cpus: int
    counted: frozenset[int]
    arrivals: bool = True

    @property
    def window_ns(self) -> int:
        """Time from the first of its switches or wake-ups to the last."""
        return self.end_ns - self.start_ns


def record(events: Iterable[Event], ours: Callable[[str, int], bool], arrivals: bool = True) -> Recording:
    """What the threads did that `ours` (of name and id) chooses, from events in order of time.

    Without `arrivals` no switches to them were recorded: they run from a wake-up on, until they sleep.
    """
    threads: dict[int, Thread] = {}
    cpus, counted = set[int](), set[int]()
    times: list[int] = []

    def seen(tid: int, comm: str, now_ns: int) -> Thread | None:
        if tid == IDLE or (tid not in threads and not ours(comm, tid)):
            return None
        thread = threads.setdefault(tid, Thread(tid, comm, now_ns, now_ns))
        thread.comm = comm if ours(comm, tid) else thread.comm
        note(thread, now_ns)
        return thread

    def note(thread: Thread, now_ns: int) -> None:
        thread.last_ns = now_ns
        times[:] = [times[0] if times else now_ns, now_ns]

    for event in events:
        if event.kind == SWITCH:
            if (previous := seen(event.tid, event.comm, event.time_ns)) is not None:
                leave(previous, event, arrivals)
                cpus.add(event.cpu)
            if (following := seen(event.other, event.other_comm, event.time_ns)) is not None:
                following.unwoken += following.wake(event.time_ns, IDLE)
                following.on_since_ns = event.time_ns
                cpus.add(event.cpu)
        elif event.kind == WAKE:
            sleeper, waker = threads.get(event.other), threads.get(event.tid)
            if sleeper is not None and sleeper.wake(event.time_ns, IDLE if waker is None else waker.tid):
                note(sleeper, event.time_ns)
                if not arrivals:
                    sleeper.on_since_ns = event.time_ns
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
    return Recording(threads, start_ns, end_ns, len(cpus), frozenset(counted), arrivals)


def leave(thread: Thread, event: Event, arrivals: bool) -> None:
    """A thread is switched out; without `arrivals` nobody tells when one that was preempted runs again."""
    thread.account(event.time_ns)
    if event.blocks or arrivals:
        thread.on_since_ns = None
    if event.blocks:
        thread.act(True, exits=event.exits)
        thread.blocked_since_ns = None if event.exits else event.time_ns
    else:
        thread.preempted += 1


KIND_NAMES = {RESCHEDULE_IPI: "RESCHEDULE IPIs", CALL_IPI: "CALL IPIs", SHOOTDOWN: "TLB shootdowns"}
