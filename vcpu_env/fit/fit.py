"""From a trace to a workload file."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from vcpu_env.fit.events import IDLE, SWITCH, Event, FitError, read_events
from vcpu_env.fit.groups import Edge, Group, connect, make_groups
from vcpu_env.fit.threads import Recording, record
from vcpu_env.fit.write import workload_text
from vcpu_env.scenario import WorkloadFile
from vcpu_env.scenario.workload_file import parse_workload


@dataclass(frozen=True)
class Fitted:
    """A program fitted to a recording."""

    name: str
    text: str
    workload: WorkloadFile
    recording: Recording
    groups: list[Group]
    edges: list[Edge]

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
        FitError: none are chosen, there are none, or they did too little.
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
    recording = record(events, lambda comm, tid: comm in comms or tid in tids)
    if not any(thread.actions for thread in recording.threads.values()):
        raise FitError("comm: its threads neither slept nor woke (allowed: threads that were recorded for longer)")
    return recording


def fit_trace(path: Path, comms: Collection[str], tids: Collection[int] = (), name: str = "fitted") -> Fitted:
    """Fit a program to the threads of these names and ids in a trace.

    Raises:
        FitError: the trace cannot be read or says too little about them.
    """
    events = read_events(path)
    try:
        recording = recording_of(events, comms, tids)
    except FitError as error:
        raise FitError(f"{path}: {error}") from None
    return fit_recording(recording, name)


def fit_recording(recording: Recording, name: str = "fitted") -> Fitted:
    """Fit a program to all threads of a recording."""
    groups = make_groups(recording)
    edges = connect(groups)
    return fitted(name, recording, groups, edges)


def fitted(name: str, recording: Recording, groups: list[Group], edges: list[Edge], reschedules: float = 0.0) -> Fitted:
    """The program of groups and queues, with so many RESCHEDULE IPIs per second of CPU time beside its wake-ups."""
    count, seconds = sum(group.count for group in groups), recording.window_ns / 1e9
    summary = f"fitted to {count} threads recorded for {seconds:.3g} s on {recording.cpus} CPUs"
    text = workload_text(summary, groups, edges, reschedules)
    return Fitted(name, text, parse_workload(text, name), recording, groups, edges)
