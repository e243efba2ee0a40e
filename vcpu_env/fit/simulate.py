"""Runs a fitted program alone in one VM and tells its guest's switches and wake-ups as the events of a trace.

The machine is stopped after every event, and what has changed is what the guest's scheduler did.
"""

from collections.abc import Iterator

from vcpu_env.fit.events import IDLE, SWITCH, WAKE, Event
from vcpu_env.guest.types import BLOCKED
from vcpu_env.kernel.timeline import NEVER
from vcpu_env.machine import Machine
from vcpu_env.scenario import Run, Scenario, WorkloadFile

WARMUP_NS = 100_000_000


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
            for t, (was, now) in enumerate(zip(blocked, asleep)):
                if was and not now:
                    yield Event(now_ns, 0, WAKE, IDLE, "", t + 1, names[t])
        if current != running:
            for cpu, (was, now) in enumerate(zip(running, current)):
                if was != now:
                    previous = (was + 1, names[was]) if was >= 0 else (IDLE, "")
                    following = (now + 1, names[now]) if now >= 0 else (IDLE, "")
                    blocks = was >= 0 and asleep[was]
                    yield Event(now_ns, cpu, SWITCH, previous[0], previous[1], following[0], following[1], blocks)
        running, blocked = current, asleep
