"""What a real host has counted, as series: ``virsh domstats``, the log of ``kvm_stat``, a guest's ``/proc/stat``.

Each is what an operator can write down without any tool of his own, some times in a row:

* ``while sleep 10; do date +%s; virsh domstats --vcpu; done``: counters of vCPUs, with a time before each snapshot;
* ``kvm_stat -l`` (or ``-l -c``): what KVM's counters grew by, a line a second or as long as ``-s`` says;
* in a guest, ``while sleep 10; do cat /proc/stat; done``: steal time as the guest is told it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from vcpu_env.libvirt.tree import LibvirtError, read_text
from vcpu_env.scenario.errors import nearest, shown

DOMSTATS = "repeated output of virsh domstats --vcpu"
KVM_STAT = "the output of kvm_stat -l, with or without -c"
PROC_STAT = "repeated output of cat /proc/stat in a guest"
NS = 1_000_000_000
GRAIN_NS = 20_000_000
"""`vcpu.N.time` is counted in ticks of 10 ms, at both ends of an interval."""
NAME = r"[A-Za-z0-9_.:@+ -]{1,256}"
CPU_FIELDS, STEAL = 8, 7
"""Fields of the line `cpu` of /proc/stat that add up to all time (guest time is part of user), and steal among them."""


@dataclass(frozen=True)
class Interval:
    """What was counted between two snapshots.

    Attributes:
        seconds: between them.
        counts: how much each counter grew.
    """

    seconds: float
    counts: Mapping[str, int]


@dataclass(frozen=True)
class DomainSeries:
    """A domain over time: the sums of its vCPUs' counters.

    Attributes:
        vcpus: how many are on.
        intervals: `time` and `delay` in ns, KVM's counters under their names.
    """

    vcpus: int
    intervals: Sequence[Interval]


Snapshot = dict[str, dict[str, int]]


def lines_of(path: Path, what: str) -> list[str]:
    """The lines of a file.

    Raises:
        LibvirtError: it cannot be read, or is too large.
    """
    return read_text(path, what).decode("utf-8", "replace").splitlines()


def read_domstats(path: Path, interval_s: float | None) -> dict[str, DomainSeries]:
    """The series of every domain.

    Args:
        interval_s: time between snapshots, where the file does not say it.

    Raises:
        LibvirtError: it holds no series, or one that cannot be.
    """
    times, snapshots = _snapshots(path)
    if len(snapshots) < 2:
        raise LibvirtError(f"{path}: {len(snapshots)} snapshots (allowed: at least 2, {DOMSTATS})")
    if interval_s is None and None in times:
        raise LibvirtError(f"{path}: no time before a snapshot (allowed: one as of date +%s, or --interval SECONDS)")
    known = [time for time in times if time is not None]
    spans = [late - early for early, late in pairwise(known)] if interval_s is None else None
    seconds = spans if spans is not None else [float(interval_s or 0.0)] * (len(snapshots) - 1)
    if min(seconds) <= 0:
        raise LibvirtError(f"{path}: a time that is not later than the one before (allowed: times that rise)")
    return {name: _series(path, name, snapshots, seconds) for name in snapshots[0]}


def _snapshots(path: Path) -> tuple[list[float | None], list[Snapshot]]:
    """The snapshots of a file, and the time before each, where there is one."""
    times: list[float | None] = []
    snapshots: list[Snapshot] = []
    time: float | None = None
    domain: dict[str, int] | None = None
    for number, raw in enumerate(lines_of(path, DOMSTATS), 1):
        line = raw.strip()
        header = re.fullmatch(rf"Domain: '({NAME})'", line)
        entry = re.fullmatch(r"([a-z0-9_.-]+)=(.*)", line)
        if header:
            if not snapshots or header[1] in snapshots[-1] or time is not None:
                snapshots.append({})
                times.append(time)
                time = None
            domain = snapshots[-1].setdefault(header[1], {})
        elif entry and domain is not None:
            if re.fullmatch(r"\d{1,19}", entry[2], re.ASCII):
                domain[entry[1]] = int(entry[2])
        elif line:
            time, domain = _time(path, number, line), None
    return times, snapshots


def _time(path: Path, number: int, line: str) -> float:
    """The time that a line says, in seconds."""
    if re.fullmatch(r"\d{9,11}([.,]\d{1,9})?", line, re.ASCII):
        return float(line.replace(",", "."))
    try:
        return datetime.fromisoformat(line.replace(",", ".")).timestamp()
    except (ValueError, OverflowError, OSError):
        allowed = "Domain: 'NAME', KEY=VALUE, or a time as of date +%s or date -Is"
        raise LibvirtError(f"{path}:{number}: line {shown(line)} (allowed: {allowed})") from None


def _series(path: Path, name: str, snapshots: Sequence[Snapshot], seconds: Sequence[float]) -> DomainSeries:
    """One domain in all snapshots."""
    if any(name not in snapshot for snapshot in snapshots):
        raise LibvirtError(f"{path}: domain '{name}' is not in every snapshot (allowed: domains that run all the time)")
    own = [snapshot[name] for snapshot in snapshots]
    vcpus = sorted(int(match[1]) for key in own[0] if (match := re.fullmatch(r"vcpu\.(\d{1,4})\.time", key)))
    if not vcpus or f"vcpu.{vcpus[0]}.delay" not in own[0]:
        raise LibvirtError(f"{path}: domain '{name}': vcpu.N.time or vcpu.N.delay missing (allowed: {DOMSTATS})")
    intervals = []
    for before, after, span in zip(own[:-1], own[1:], seconds, strict=True):
        counts: dict[str, int] = {}
        for key, value in after.items():
            match = re.fullmatch(r"vcpu\.(\d{1,4})\.(\w+)(?:\.sum)?", key)
            if match is None or int(match[1]) not in vcpus or key not in before or match[2] == "state":
                continue
            if value < before[key]:
                allowed = "counters of one life of the domain"
                raise LibvirtError(
                    f"{path}: domain '{name}': {key} falls from {before[key]} to {value} (allowed: {allowed})"
                )
            counts[match[2]] = counts.get(match[2], 0) + value - before[key]
        used = counts.get("time", 0) + counts.get("delay", 0)
        if used > len(vcpus) * (1.02 * span * NS + GRAIN_NS):
            allowed = f"{len(vcpus)} vCPUs for {span:g} s; another --interval?"
            raise LibvirtError(f"{path}: domain '{name}': {used / NS:.3g} s of time and delay (allowed: {allowed})")
        intervals.append(Interval(span, counts))
    return DomainSeries(len(vcpus), intervals)


def read_kvm_stat(path: Path, names: Sequence[str]) -> list[Interval]:
    """What KVM's counters grew by, line by line; the first line says only when counting began.

    Args:
        names: the counters that are wanted; others are passed over.

    Raises:
        LibvirtError: it is no such log, or none of these counters are in it.
    """
    header: list[str] = []
    found: list[tuple[float, dict[str, int]]] = []
    for number, line in enumerate(lines_of(path, KVM_STAT), 1):
        fields = line.replace(",", " ").split()
        if not fields:
            continue
        if not re.match(r"\d{4}-\d\d-\d\d$", fields[0], re.ASCII):
            header = fields[1:] if fields[0] == "timestamp" else fields
            continue
        values = fields[2:]
        if len(values) != len(header) or not all(re.fullmatch(r"-?\d{1,19}", value, re.ASCII) for value in values):
            raise LibvirtError(f"{path}:{number}: {len(values)} values of {len(header)} (allowed: {KVM_STAT})")
        pairs = zip(header, values, strict=True)
        found.append((_time(path, number, " ".join(fields[:2])), {k: int(v) for k, v in pairs if k in names}))
    if len(found) < 2:
        raise LibvirtError(f"{path}: {len(found)} lines of counters (allowed: at least 2, {KVM_STAT})")
    if not found[0][1]:
        first = header[0] if header else ""
        raise LibvirtError(f"{path}: none of KVM's counters that are simulated ({nearest(first, list(names))})")
    intervals = []
    for (early, _), (late, counts) in pairwise(found):
        if late < early:
            raise LibvirtError(f"{path}: a time before the one of the line above (allowed: times that rise)")
        intervals.append(Interval(late - early, counts))
    if sum(one.seconds for one in intervals) <= 0:
        raise LibvirtError(f"{path}: all lines in one second (allowed: at least a second)")
    return intervals


def read_steal(path: Path) -> list[float]:
    """The share of a guest's time that was stolen, snapshot by snapshot.

    Raises:
        LibvirtError: it holds no series.
    """
    found: list[list[int]] = []
    for number, line in enumerate(lines_of(path, PROC_STAT), 1):
        if not re.match(r"cpu\s", line):
            continue
        fields = line.split()[1:]
        if len(fields) < CPU_FIELDS or not all(re.fullmatch(r"\d{1,19}", field, re.ASCII) for field in fields):
            raise LibvirtError(f"{path}:{number}: line {shown(line)} (allowed: cpu and at least {CPU_FIELDS} numbers)")
        found.append([int(field) for field in fields[:CPU_FIELDS]])
    if len(found) < 2:
        raise LibvirtError(f"{path}: {len(found)} lines 'cpu' (allowed: at least 2, {PROC_STAT})")
    shares = []
    for before, after in pairwise(found):
        grown = [late - early for early, late in zip(before, after, strict=True)]
        if min(grown[STEAL], sum(grown)) < 0 or sum(grown) == 0:
            raise LibvirtError(f"{path}: a line 'cpu' that does not rise (allowed: snapshots of one life of the guest)")
        shares.append(grown[STEAL] / sum(grown))
    return shares
