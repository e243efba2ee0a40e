"""From a trace to a workload file and a table that says how good it is."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vcpu_env.fit.events import IDLE, SWITCH, Event, FitError, read_events
from vcpu_env.fit.goodness import Compared, compare, interrupts
from vcpu_env.fit.groups import Edge, Group, connect, make_groups
from vcpu_env.fit.simulate import WARMUP_NS, solo, watched
from vcpu_env.fit.threads import CALL_IPI, RESCHEDULE_IPI, SHOOTDOWN, Recording, record
from vcpu_env.fit.write import workload_text
from vcpu_env.machine import Machine
from vcpu_env.scenario import WorkloadFile
from vcpu_env.scenario.workload_file import parse_workload

MOST_VCPUS = 64
LONGEST_NS = 5_000_000_000
"""Simulated time at most."""


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
    return _fitted(name, recording, groups, edges, 0.0)


def _fitted(name: str, recording: Recording, groups: list[Group], edges: list[Edge], reschedules: float) -> Fitted:
    count, seconds = sum(group.count for group in groups), recording.window_ns / 1e9
    summary = f"fitted to {count} threads recorded for {seconds:.3g} s on {recording.cpus} CPUs"
    text = workload_text(summary, groups, edges, reschedules)
    return Fitted(name, text, parse_workload(text, name), recording, groups, edges)


@dataclass(frozen=True)
class Simulated:
    """A run of a fitted program: its threads, and interrupts per second of CPU time."""

    recording: Recording
    interrupts: dict[int, float]


def simulate(fitted: Fitted, seed: int = 0, duration_ns: int | None = None) -> Simulated:
    """Run a fitted program alone, with as many vCPUs as it was recorded on, as long as it was recorded."""
    vcpus = min(fitted.recording.cpus, MOST_VCPUS)
    machine = Machine(solo(fitted.name, fitted.workload, vcpus), "stock", seed)
    names = [group.name for group in fitted.groups for _ in range(group.count)]
    machine.run_until(WARMUP_NS)
    before = machine.counters()["vms"][0]
    duration_ns = duration_ns or min(fitted.recording.window_ns, LONGEST_NS)
    recording = record(watched(machine, names, duration_ns), lambda comm, tid: True)
    after = machine.counters()["vms"][0]
    seconds = max(1, after["run_ns"] - before["run_ns"]) / 1e9

    def rate(counter: str) -> float:
        return float(after[counter] - before[counter]) / seconds

    counters: dict[int, Any] = {RESCHEDULE_IPI: "ipi_reschedule", CALL_IPI: "ipi_call", SHOOTDOWN: "calls"}
    return Simulated(recording, {kind: rate(counter) for kind, counter in counters.items()})


def with_reschedules(fitted: Fitted, seed: int = 0) -> Fitted:
    """The program with as many RESCHEDULE IPIs that nobody waits for as its wake-ups leave out; as it is if none do."""
    if RESCHEDULE_IPI not in fitted.recording.counted:
        return fitted
    seconds = sum(thread.cpu_ns for thread in fitted.recording.threads.values()) / 1e9
    recorded = sum(t.counts[RESCHEDULE_IPI] for t in fitted.recording.threads.values()) / max(1e-9, seconds)
    missing = recorded - simulate(fitted, seed).interrupts[RESCHEDULE_IPI]
    if missing <= 0:
        return fitted
    return _fitted(fitted.name, fitted.recording, fitted.groups, fitted.edges, missing)


def goodness(fitted: Fitted, simulated: Simulated) -> list[Compared]:
    """The table: every group, then all threads together."""
    both = fitted.recording, simulated.recording
    rows, first = [], 1
    everybody: list[Any] = [[], []]
    for group in fitted.groups:
        ids = range(first, first + group.count)
        there = [thread for thread in simulated.recording.threads.values() if thread.tid in ids]
        first += group.count
        rows += compare(group.name, (group.threads, there), both)
        everybody[0] += group.threads
        everybody[1] += there
    rows += compare("all", (everybody[0], everybody[1]), both)
    return rows + interrupts(fitted.recording, simulated.interrupts)
