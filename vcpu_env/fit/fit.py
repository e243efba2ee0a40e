"""From a trace to a workload file."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from vcpu_env.fit.distributions import FEW
from vcpu_env.fit.events import IDLE, SWITCH, Event, FitError, read_events
from vcpu_env.fit.groups import Edge, Group, connect, make_groups
from vcpu_env.fit.threads import Recording, record
from vcpu_env.fit.write import duration, workload_text
from vcpu_env.scenario import WorkloadFile
from vcpu_env.scenario.program_text import MAX_NS
from vcpu_env.scenario.workload_file import parse_workload

MOST_UNWOKEN = 0.1
"""Share of sleeps that may end without a wake-up in the recording before somebody is told."""


@dataclass(frozen=True)
class Fitted:
    """A program fitted to a recording.

    Attributes:
        doubts: what in the recording makes the program doubtful, a line each.
    """

    name: str
    text: str
    workload: WorkloadFile
    recording: Recording
    groups: list[Group]
    edges: list[Edge]
    doubts: tuple[str, ...] = ()

    @property
    def queued(self) -> float:
        """The share of all sleeps that are modelled as waiting for another thread."""
        queued = sum(edge.forth + edge.back for edge in self.edges)
        return queued / max(1, queued + sum(len(group.sleeps_ns) for group in self.groups))


def busiest(events: list[Event], most: int = 8) -> list[str]:
    """Names of the tasks that switched most."""
    counts: dict[str, int] = {}
    for event in events:
        if event.kind == SWITCH and event.tid != IDLE:
            counts[event.comm] = counts.get(event.comm, 0) + 1
    return sorted(counts, key=lambda comm: -counts[comm])[:most]


def recording_of(events: list[Event], comms: Collection[str], tids: Collection[int]) -> Recording:
    """The threads of these names and ids.

    Raises:
        FitError: none are chosen, there are none, or too little of what they did was recorded.
    """
    allowed = ", ".join(busiest(events))
    if not comms and not tids:
        raise FitError(f"comm: missing (allowed: {allowed})")
    known = {event.comm for event in events} | {event.other_comm for event in events}
    ids = {event.tid for event in events} | {event.other for event in events}
    for comm in comms:
        if comm not in known:
            raise FitError(f"comm: value '{comm}' (allowed: {allowed})")
    for tid in tids:
        if tid not in ids or tid == IDLE:
            raise FitError(f"tid: value {tid} (allowed: ids of threads in the trace)")

    def ours(comm: str, tid: int) -> bool:
        return comm in comms or tid in tids

    arrivals = any(event.kind == SWITCH and ours(event.other_comm, event.other) for event in events)
    recording = record(events, ours, arrivals)
    threads = recording.threads.values()
    if not any(thread.actions for thread in threads):
        raise FitError("comm: its threads neither slept nor woke (allowed: threads that were recorded for longer)")
    if not any(action.cpu_ns is not None for thread in threads for action in thread.actions):
        if not arrivals:
            raise FitError(
                "comm: no switch to its threads was recorded, and no run from a wake-up to a sleep "
                "(allowed: perf record -a, or threads that were recorded for longer)"
            )
        raise FitError("comm: no run from one sleep to the next (allowed: threads that were recorded for longer)")
    return recording


def fit_trace(path: Path, comms: Collection[str], tids: Collection[int] = (), name: str = "fitted") -> Fitted:
    """Fit a program to the threads of these names and ids in a trace.

    Raises:
        FitError: the trace cannot be read or says too little about them.
    """
    events = read_events(path)
    try:
        return fit_recording(recording_of(events, comms, tids), name)
    except FitError as error:
        raise FitError(f"{path}: {error}") from None


def fit_recording(recording: Recording, name: str = "fitted") -> Fitted:
    """Fit a program to all threads of a recording.

    Raises:
        FitError: they went to sleep for good.
    """
    groups = make_groups(recording)
    if not groups:
        raise FitError("comm: its threads slept, and no end of a sleep was recorded (allowed: recordings of all CPUs)")
    edges = connect(groups)
    doubts = tuple(doubts_of(recording, groups))
    return fitted(name, recording, groups, edges, doubts)


def doubts_of(recording: Recording, groups: list[Group]) -> Iterator[str]:
    """What in a recording makes a program doubtful that was fitted to it."""
    if not recording.arrivals:
        yield "no switch to its threads was recorded (perf record without -a): waiting for a CPU counts as running"
    threads = recording.threads.values()
    if left := sorted({thread.comm for thread in threads if thread.endless}):
        yield f"left out, since no end of their sleep was recorded: {', '.join(left)}"
    sleeps = sum(block.slept_ns is not None for thread in threads for block in thread.blocks)
    unwoken = sum(thread.unwoken for thread in threads)
    if unwoken > MOST_UNWOKEN * sleeps:
        yield f"{unwoken} of {sleeps} sleeps end without a recorded wake-up: waiting for a CPU counts as sleeping"
    for group in groups:
        for what, samples in (("runs", group.steps_ns()), ("sleeps", group.sleeps_ns)):
            if samples and mean(samples) > MAX_NS:
                yield f"{what} of {group.name} last {duration(mean(samples))} in the mean, and are taken for 10s"
    few = [group for group in groups if group.blocks and len(group.steps_ns()) < FEW]
    if few:
        yield f"few samples: {', '.join(f'{group.name} ({len(group.steps_ns())} runs)' for group in few)}"


def fitted(
    name: str,
    recording: Recording,
    groups: list[Group],
    edges: list[Edge],
    doubts: tuple[str, ...],
    reschedules: float = 0.0,
) -> Fitted:
    """The program of groups and queues, with so many RESCHEDULE IPIs per second of CPU time beside its wake-ups."""
    count, seconds = sum(group.count for group in groups), recording.window_ns / 1e9
    summary = f"fitted to {count} threads recorded for {seconds:.3g} s on {recording.cpus} CPUs"
    text = workload_text(summary, groups, edges, reschedules)
    return Fitted(name, text, parse_workload(text, name), recording, groups, edges, doubts)
