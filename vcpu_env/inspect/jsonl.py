"""A recording as JSON lines, for programs: one line about the run, then one line a record (docs/trace.md)."""

import json
from collections.abc import Iterator
from typing import Any

from vcpu_env.base.jit import NIL
from vcpu_env.guest.types import SEG_NONE
from vcpu_env.inspect.recorder import Recording
from vcpu_env.inspect.records import MODES, SEGMENTS, described
from vcpu_env.inspect.yields import siblings_of

VERSION = 1


def header(recording: Recording) -> dict[str, Any]:
    """The first line: what was run, names of all ids, and how everything stood when the window began."""
    scenario = recording.plan.scenario
    return {
        "format": "vcpu_env trace",
        "version": VERSION,
        "scenario": scenario.name,
        "policy": recording.policy,
        "seed": recording.plan.seed,
        "from_ns": recording.from_ns,
        "to_ns": recording.to_ns,
        "records": len(recording.records),
        "vms": [vm.name for vm in scenario.expanded_vms],
        "tasks": [task._asdict() for task in recording.tasks],
        "groups": recording.groups,
        "threads": recording.threads,
        "locks": recording.locks,
        "cpus": cpus_at_start(recording),
        "vcpus": vcpus_at_start(recording),
    }


def cpus_at_start(recording: Recording) -> list[dict[str, Any]]:
    """What each CPU does when the window begins."""
    rq, pcpu = recording.start["rq"], recording.start["pcpu"]
    return [{"task": int(rq["curr"][i]), "mode": MODES[int(pcpu["mode"][i])]} for i in range(recording.nr_cpus)]


def vcpus_at_start(recording: Recording) -> list[dict[str, Any]]:
    """What each vCPU does when the window begins; without a segment it is not in the guest."""
    guests, tasks = recording.start["guest_vcpu"], recording.start["task_struct"]
    rows = []
    for v in range(recording.nr_vcpus):
        g = guests[v]
        inside = g["cpu"] != NIL and g["segment"] != SEG_NONE
        rows.append(
            {
                "cpu": int(g["cpu"]),
                "thread": int(g["current"]),
                "segment": SEGMENTS[int(g["segment"])] if inside else None,
                "runnable": bool(tasks["state"][v] == 0),
            }
        )
    return rows


def lines(recording: Recording) -> Iterator[str]:
    """The text, line by line."""
    encode = json.JSONEncoder(separators=(",", ":")).encode
    yield encode(header(recording)) + "\n"
    begin, seen = 0, 0
    for entry in recording.entries:
        line = described(entry)
        if line["event"] == "yield_spin":
            begin, seen = line["scan_start"], 0
        elif line["event"] == "yield_siblings":
            line["siblings"] = siblings_of(recording, entry, begin, seen)
            seen += len(line["siblings"])
        yield encode(line) + "\n"
