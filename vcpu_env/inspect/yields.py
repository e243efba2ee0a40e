"""The directed yields of a recording, each put together from its records."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vcpu_env.base.jit import NIL
from vcpu_env.base.trace_ring import (
    YIELD_BOOST,
    YIELD_HINT,
    YIELD_NOBODY,
    YIELD_SIBLINGS,
    YIELD_SPIN,
    YIELD_TARGET,
    YIELD_TO,
)
from vcpu_env.inspect.recorder import Recording
from vcpu_env.inspect.records import BOOSTS, SIBLINGS, WHY_NOBODY, sibling_codes
from vcpu_env.kernel.yield_types import SKIP_NAMES


@dataclass
class Yield:
    """One kvm_vcpu_on_spin(), or one yield hypercall, and what came of it.

    Attributes:
        awaited: the vCPU that the spinner really waits for, NIL if none.
        siblings: (vCPU, what the scan makes of it) in scan order; empty of a hypercall.
        attempts: (target, what yield_to() returned), in order.
        target: the vCPU that was hinted, NIL if none.
        why_nobody: why there is none.
        lag_ns, chain_lag_ns: of the target, and the smallest on the levels of its chain; below 0: not eligible.
        ran: the target was the first to get its CPU after the hint; None: that was not recorded.
    """

    time_ns: int
    cpu: int
    vcpu: int
    awaited: int = NIL
    lock: int = NIL
    since_ns: int = NIL
    hypercall: bool = False
    siblings: list[tuple[int, str]] = field(default_factory=list)
    attempts: list[tuple[int, int]] = field(default_factory=list)
    target: int = NIL
    target_cpu: int = NIL
    why_nobody: str | None = None
    lag_ns: int = 0
    chain_lag_ns: int = 0
    waited_ns: int = 0
    boost: str | None = None
    penalty_ns: int = 0
    credit_ns: int = 0
    skip: str | None = None
    ran: bool | None = None

    @property
    def hit(self) -> bool:
        """Whether it went to the vCPU that the spinner waits for."""
        return self.target != NIL and self.target == self.awaited


def siblings_of(recording: Recording, entry: np.void, start: int, begin: int) -> list[tuple[int, str]]:
    """Siblings `begin` .. of a scan that starts at index `start`, from one record."""
    vm = recording.tasks[int(entry["who"])].vm
    assert vm is not None
    first, count = (int(recording.start["kvm"][name][vm]) for name in ("first_vcpu", "nr_vcpus"))
    codes = sibling_codes(entry)[: max(0, count - begin)]
    return [(first + (start + begin + i) % count, SIBLINGS[code]) for i, code in enumerate(codes)]


def yields(recording: Recording) -> list[Yield]:
    """All scans and yield hypercalls of a recording, in order of time."""
    return list(_yields(recording))


def _yields(recording: Recording) -> Iterator[Yield]:
    records = recording.records
    records = records[(records["kind"] >= YIELD_SPIN) & (records["kind"] <= YIELD_NOBODY)]
    open_: dict[int, Yield] = {}  # by spinner
    hinted: dict[int, list[Yield]] = {}  # by the CPU of the target
    scan_start, target = 0, records[:0]
    for entry in records:
        kind, who = int(entry["kind"]), int(entry["who"])
        if kind == YIELD_SPIN:
            where = int(entry["time_ns"]), int(entry["cpu"]), who
            open_[who] = Yield(*where, int(entry["a"]), int(entry["b"]), int(entry["c"]))
            scan_start = int(entry["d"])
            yield open_[who]
        elif kind == YIELD_SIBLINGS:
            found = open_[who]
            found.siblings += siblings_of(recording, entry, scan_start, len(found.siblings))
        elif kind == YIELD_TARGET:
            target = entry
        elif kind == YIELD_TO:
            if entry["d"] or who not in open_:
                open_[who] = Yield(int(entry["time_ns"]), int(entry["cpu"]), who, hypercall=bool(entry["d"]))
                yield open_[who]
            found = open_[who]
            found.attempts.append((int(entry["a"]), int(entry["b"])))
            if entry["b"] > 0:
                found.target, found.target_cpu = int(entry["a"]), int(entry["c"])
                found.lag_ns, found.chain_lag_ns, found.waited_ns = (int(target[name]) for name in "abc")
                hinted[found.target_cpu] = [found]
        elif kind == YIELD_BOOST:
            found = open_.pop(who)
            boost, found.penalty_ns, skip, found.credit_ns = (int(entry[name]) for name in "abcd")
            found.boost, found.skip = BOOSTS[boost], SKIP_NAMES[skip]
        elif kind == YIELD_NOBODY:
            if found_ := open_.pop(who, None):
                found_.why_nobody = WHY_NOBODY[int(entry["a"])]
        elif kind == YIELD_HINT:
            for found in hinted.pop(int(entry["cpu"]), ()):
                found.ran = bool(entry["b"])


def arguments(recording: Recording, found: Yield) -> dict[str, Any]:
    """A yield as names and values, for a viewer."""
    names = recording.tasks

    def name(v: int) -> str | None:
        return names[v].comm if v != NIL else None

    told: dict[str, Any] = {
        "spinner": name(found.vcpu),
        "awaited": name(found.awaited),
        "lock": None if found.lock == NIL else recording.locks[found.lock],
        "target": name(found.target),
        "target_cpu": None if found.target == NIL else found.target_cpu,
        "hit": found.hit,
        "ran_next": found.ran,
        "why_nobody": found.why_nobody,
        "lag_ns": found.lag_ns,
        "chain_lag_ns": found.chain_lag_ns,
        "eligible": found.chain_lag_ns >= 0,
        "waited_ns": found.waited_ns,
        "boost": found.boost,
        "penalty_ns": found.penalty_ns,
        "credit_ns": found.credit_ns,
        "no_penalty_because": found.skip,
    }
    if found.target == NIL:
        told = {key: value for key, value in told.items() if not key.endswith("_ns") and key != "eligible"}
    told = {key: value for key, value in told.items() if value is not None}
    told["siblings"] = ", ".join(f"{names[v].vcpu}: {what}" for v, what in found.siblings if what != "self")
    return told
