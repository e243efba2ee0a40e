"""The directed yields of a recording, each put together from its records."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

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
from vcpu_env.inspect.records import BOOSTS, SIBLINGS, WHO, WHY_NOBODY, sibling_codes
from vcpu_env.kernel.yield_types import SKIP_NAMES


@dataclass
class Yield:
    """One kvm_vcpu_on_spin(), or one yield hypercall, and what came of it.

    Attributes:
        number: which kvm_vcpu_on_spin() of the run, from 1 on; 0 of a hypercall.
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
    number: int = 0
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


def siblings_of(recording: Recording, entry: tuple[int, ...], start: int, begin: int) -> list[tuple[int, str]]:
    """Siblings `begin` .. of a scan that starts at index `start`, from one record."""
    first, count = vm_span(recording, entry[WHO])
    codes = sibling_codes(entry)[: max(0, count - begin)]
    return [(first + (start + begin + i) % count, SIBLINGS[code]) for i, code in enumerate(codes)]


def vm_span(recording: Recording, v: int) -> tuple[int, int]:
    """The first vCPU of a vCPU's VM, and how many it has."""
    vm = recording.tasks[v].vm
    assert vm is not None
    return recording.vm_spans[vm]


def yields(recording: Recording) -> list[Yield]:
    """All scans and yield hypercalls of a recording, in order of time."""
    return list(_yields(recording))


def _yields(recording: Recording) -> Iterator[Yield]:
    open_: dict[int, Yield] = {}  # by spinner
    hinted: dict[int, Yield] = {}  # by the CPU of the target
    scan_start, target = 0, (0, 0, 0, 0)
    number = int(recording.start["engine"]["decisions"][0])
    for entry in recording.entries:
        time_ns, kind, cpu, who, a, b, c, d = entry
        if not YIELD_SPIN <= kind <= YIELD_NOBODY:
            continue
        if kind == YIELD_SPIN:
            number += 1
            open_[who] = Yield(time_ns, cpu, who, number, a, b, c)
            scan_start = d
            yield open_[who]
        elif kind == YIELD_SIBLINGS:
            found = open_[who]
            found.siblings += siblings_of(recording, entry, scan_start, len(found.siblings))
        elif kind == YIELD_TARGET:
            target = a, b, c, d
        elif kind == YIELD_TO:
            if d or who not in open_:
                open_[who] = Yield(time_ns, cpu, who, hypercall=bool(d))
                yield open_[who]
            found = open_[who]
            found.attempts.append((a, b))
            if b > 0:
                found.target, found.target_cpu = a, c
                found.lag_ns, found.chain_lag_ns, found.waited_ns, _ = target
                hinted[c] = found
        elif kind == YIELD_BOOST:
            found = open_.pop(who)
            found.boost, found.penalty_ns, found.skip, found.credit_ns = BOOSTS[a], b, SKIP_NAMES[c], d
        elif kind == YIELD_NOBODY:
            if passed := open_.pop(who, None):
                passed.why_nobody = WHY_NOBODY[a]
        elif kind == YIELD_HINT:
            if hint := hinted.pop(cpu, None):
                hint.ran = bool(b)


def arguments(recording: Recording, found: Yield) -> dict[str, Any]:
    """A yield as names and values, for a viewer."""
    names = recording.tasks

    def name(v: int) -> str | None:
        return names[v].comm if v != NIL else None

    told: dict[str, Any] = {
        "yield": found.number or None,
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
