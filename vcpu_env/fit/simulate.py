"""Runs a fitted program alone in one VM and tells its guest's switches and wake-ups as the events of a trace.

The machine is stopped after every event, and what has changed is what the guest's scheduler did.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from vcpu_env.base.timeline import NEVER
from vcpu_env.fit.events import CALL_IPI, IDLE, RESCHEDULE_IPI, SHOOTDOWN, SWITCH, WAKE, Event
from vcpu_env.fit.fit import Fitted
from vcpu_env.fit.fit import fitted as refitted
from vcpu_env.fit.threads import Recording, record
from vcpu_env.guest.types import BLOCKED
from vcpu_env.machine import Machine
from vcpu_env.scenario import Run, Scenario, WorkloadFile

WARMUP_NS = 100_000_000
MOST_VCPUS = 64
SHORTEST_NS, LONGEST_NS = 1_000_000_000, 5_000_000_000
"""Simulated time at least and at most."""


def solo(name: str, workload: WorkloadFile, vcpus: int) -> Scenario:
    """One VM with as many vCPUs as its host has CPUs."""
    vms = [{"name": "vm", "vcpus": vcpus, "workload": name}]
    return Scenario(name=name, host={"cpus": vcpus}, vms=vms, workloads={name: workload}, run=Run())


def watched(machine: Machine, names: list[str], duration_ns: int) -> Iterator[Event]:
    """The events of a guest for so long, after a warm-up. Thread *i* is called `names[i]`, its id is *i* + 1."""
    machine.run_until(WARMUP_NS)
    timeline = machine.world["event"]["when_ns"]
    threads, vcpus = machine.world["guest_thread"], machine.world["guest_vcpu"]
    running = vcpus["current"].tolist()
    blocked = (threads["state"] == BLOCKED).tolist()
    for cpu, t in enumerate(running):
        if t >= 0:
            yield Event(WARMUP_NS, cpu, SWITCH, IDLE, "", t + 1, names[t])
    while (now_ns := int(timeline.min())) <= WARMUP_NS + duration_ns and now_ns < NEVER:
        machine.run_until(now_ns)
        current, asleep = vcpus["current"].tolist(), (threads["state"] == BLOCKED).tolist()
        if asleep != blocked:
            for t, (was, now) in enumerate(zip(blocked, asleep, strict=True)):
                if was and not now:
                    yield Event(now_ns, 0, WAKE, IDLE, "", t + 1, names[t])
        if current != running:
            for cpu, (was, now) in enumerate(zip(running, current, strict=True)):
                if was != now:
                    previous = (was + 1, names[was]) if was >= 0 else (IDLE, "")
                    following = (now + 1, names[now]) if now >= 0 else (IDLE, "")
                    blocks = was >= 0 and asleep[was]
                    yield Event(now_ns, cpu, SWITCH, previous[0], previous[1], following[0], following[1], blocks)
        running, blocked = current, asleep


@dataclass(frozen=True)
class Simulated:
    """A run of a fitted program: its threads, and interrupts per second of CPU time."""

    recording: Recording
    interrupts: dict[int, float]


def simulate(fitted: Fitted, seed: int = 0, duration_ns: int | None = None) -> Simulated:
    """Run a fitted program alone, with as many vCPUs as it was recorded on, about as long as it was recorded."""
    vcpus = min(fitted.recording.cpus, MOST_VCPUS)
    machine = Machine(solo(fitted.name, fitted.workload, vcpus), "stock", seed)
    names = [group.name for group in fitted.groups for _ in range(group.count)]
    machine.run_until(WARMUP_NS)
    before = machine.counters()["vms"][0]
    duration_ns = duration_ns or min(max(fitted.recording.window_ns, SHORTEST_NS), LONGEST_NS)
    recording = record(watched(machine, names, duration_ns), lambda comm, tid: True)
    recording = replace(recording, start_ns=WARMUP_NS, end_ns=WARMUP_NS + duration_ns)
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
    return refitted(fitted.name, fitted.recording, fitted.groups, fitted.edges, fitted.doubts, missing)
