"""Where two runs part that differ in their policy only, and how they go on from there."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from vcpu_env.base.trace_ring import (
    SCHED,
    SCHED_SWITCH,
    YIELD,
    YIELD_BOOST,
    YIELD_NOBODY,
    YIELD_SPIN,
    YIELD_TO,
)
from vcpu_env.inspect.recorder import Recording, record_from_here
from vcpu_env.inspect.standing import decisions
from vcpu_env.machine import Machine

WINDOW_NS = 1_000_000
ROOM = 1 << 20
COMPARED = (SCHED_SWITCH, YIELD_TO, YIELD_BOOST, YIELD_NOBODY)
"""What is done, not what is seen: two filters may judge a sibling differently and still take the same one."""
AFTER_NS = (1_000_000, 10_000_000, 100_000_000)
"""When the runs are compared again, after they have parted; and at their end."""


@dataclass(frozen=True)
class Parting:
    """The first thing that two runs do differently.

    Attributes:
        number: the last decision before it, from 1 on; 0: there was none.
        at_decision: it is what that decision did, and not what came later.
        kinds: what each run does there; None: nothing more in the same millisecond.
    """

    time_ns: int
    number: int
    at_decision: bool
    spinner: int
    kinds: tuple[int | None, int | None]


def compared(recording: Recording) -> np.ndarray:
    """The records that are compared, without why a penalty was not charged, as rows of numbers with their places."""
    places = np.flatnonzero(np.isin(recording.records["kind"], COMPARED))
    rows = recording.records[places].copy()
    rows["c"][rows["kind"] == YIELD_BOOST] = 0
    return np.column_stack([places, rows.view(np.int64).reshape(len(rows), -1)])


def first_difference(a: np.ndarray, b: np.ndarray) -> int | None:
    """The first place at which two lists of records differ."""
    length = min(len(a), len(b))
    differs = np.flatnonzero((a[:length, 1:] != b[:length, 1:]).any(axis=1))
    if len(differs):
        return int(differs[0])
    return length if len(a) != len(b) else None


def part(one: Machine, other: Machine, end_ns: int) -> Parting | None:
    """Run two machines on until they do something different; None if they never do. They have the same present."""
    while one.now_ns < end_ns:
        until_ns, before = min(end_ns, one.now_ns + WINDOW_NS), decisions(one)
        recordings = [record_from_here(machine, until_ns, ROOM, SCHED | YIELD) for machine in (one, other)]
        tables = [compared(recording) for recording in recordings]
        place = first_difference(*tables)
        if place is not None:
            return parting(recordings, tables, place, before)
    return None


def parting(recordings: list[Recording], tables: list[np.ndarray], place: int, before: int) -> Parting:
    """Describe the difference at a place; `before` decisions had been taken when the recordings began."""
    which = min((i for i in (0, 1) if place < len(tables[i])), key=lambda i: tables[i][place, 1])
    records, at = recordings[which].records, int(tables[which][place, 0])
    spins = records[: at + 1]
    spins = spins[spins["kind"] == YIELD_SPIN]
    kinds = tuple(int(table[place, 2]) if place < len(table) else None for table in tables)
    here = records[at]
    last = spins[-1] if len(spins) else None
    at_decision = last is not None and last["time_ns"] == here["time_ns"] and last["cpu"] == here["cpu"]
    spinner = int(last["who"]) if last is not None else -1
    return Parting(int(here["time_ns"]), before + len(spins), bool(at_decision), spinner, (kinds[0], kinds[1]))


def development(one: Machine, other: Machine, parted_ns: int, end_ns: int) -> list[dict[str, Any]]:
    """What both runs have done since they parted, at some moments after it and at the end."""
    moments = [parted_ns + after for after in AFTER_NS if parted_ns + after < end_ns] + [end_ns]
    first, rows = [counts(machine) for machine in (one, other)], []
    for now_ns in moments:
        for machine in (one, other):
            machine.run_until(max(now_ns, machine.now_ns))
        now = [counts(machine) for machine in (one, other)]
        since = [
            {name: value - start[name] for name, value in late.items()} for start, late in zip(first, now, strict=True)
        ]
        rows.append({"after_ns": now_ns - parted_ns, "policies": since})
    return rows


def counts(machine: Machine) -> dict[str, float]:
    """What a run has done so far, over all VMs."""
    counted = machine.counters()
    vms = counted["vms"]
    return {
        "work": sum(vm["work_units"] for vm in vms),
        "spin_ns": sum(vm["spin_ns"] for vm in vms),
        "steal_ns": sum(vm["steal_ns"] for vm in vms),
        "decisions": counted["decisions"],
        "yields": counted["deboost"]["yields"],
        "hits": counted["kvm"]["ple_yield_useful"],
        "penalties": counted["deboost"]["applied"],
        "switches": counted["sched"]["nr_switches"],
    }
