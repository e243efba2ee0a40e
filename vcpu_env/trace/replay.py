"""Replay of recorded traces: a file's first line says what it is, and who plays it.

* ``{"scenario": {... "mode": ...}}``: KVM's directed yield (`replay_kvm`).
* ``{"scenario": {... "domains": ...}}``: the host scheduler on many CPUs (`replay_smp`).
* ``{"scenario": {... "cgroup_mode": ...}}``: the host scheduler of v7.3 (`replay_flat`).
* ``{"scenario": {...}}``: the host scheduler, with or without the series (`replay_sched`).
* ``{"header": {...}}``: calls of the many-CPU scheduler's functions (`replay_smp_functions`).
* ``{"fn": ...}``: a file of direct function calls; every output is recomputed.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numba.core.errors import NumbaError

from vcpu_env.base.errors import InputError
from vcpu_env.trace import replay_kvm, replay_sched, replay_smp
from vcpu_env.trace.flat_compare import compare_flat
from vcpu_env.trace.replay_flat import replay_flat
from vcpu_env.trace.replay_smp_functions import check_smp_functions


class TraceError(InputError):
    """A file that is not a trace of ours, or not a whole one."""


MALFORMED = (AttributeError, KeyError, OverflowError, TypeError, NumbaError)
"""What comes of a field that is missing or has another type than in any recorded trace."""


@contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """Whatever is wrong with the content of a file is said in one line that names the file."""
    try:
        yield
    except ValueError as error:
        raise TraceError(f"{path}: {error}") from None
    except MALFORMED as error:
        raise TraceError(
            f"{path}: a field is missing or of a wrong type ({error!r:.60}); allowed: whole traces"
        ) from None


@dataclass(frozen=True)
class Checked:
    """The outcome of comparing one file: how many records or calls, and the first mismatch of each field."""

    records: int
    mismatches: list[str]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a trace file, one a line, gzipped if its name ends in ``.gz``.

    Raises:
        TraceError: the file is missing, truncated, or not lines of JSON objects.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    lines = []
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError) as error:
                    reason = getattr(error, "msg", "too many brackets or digits")
                    message = f"{path}: line {number} is not JSON ({reason}); allowed: one object a line"
                    raise TraceError(message) from None
                if not isinstance(value, dict):
                    raise TraceError(f"{path}: line {number} is not a JSON object; allowed: one object a line")
                lines.append(value)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise TraceError(f"{path}: cannot be read ({error}); allowed: a trace, gzipped or plain") from None
    first = lines[0] if lines else {}
    if not (isinstance(first.get("scenario"), dict) or isinstance(first.get("header"), dict) or "fn" in first):
        raise TraceError(
            f"{path}: line 1 has no 'scenario', 'header' or 'fn'; allowed: a trace or a file of function calls"
        )
    return lines


def play(scenario: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Play a scenario; yields records of the recorded format."""
    if "cgroup_mode" in scenario:
        return replay_flat(scenario)
    player = replay_kvm.replay_kvm if "mode" in scenario else replay_sched.replay_sched
    return player(scenario)


def replayed_lines(path: Path) -> list[dict[str, Any]]:
    """What a replay of the file writes: the first line, then the records (function files: the outputs recomputed).

    Raises:
        TraceError: the file is not a trace, or its scenario is not valid.
    """
    lines = read_lines(path)
    if "scenario" not in lines[0]:
        raise TraceError(f"{path}: a file of function calls can only be checked; allowed without --check: traces")
    if "domains" in lines[0]["scenario"]:
        raise TraceError(f"{path}: a trace of many CPUs can only be checked; allowed without --check: other traces")
    with errors_of(path):
        return [lines[0], *play(lines[0]["scenario"])]


def check_file(path: Path) -> Checked:
    """Replay a file and compare with what it recorded.

    Raises:
        TraceError: the file is not a trace, or its scenario is not valid.
    """
    lines = read_lines(path)
    with errors_of(path):
        if "header" in lines[0]:
            return check_smp(lines)
        if "fn" in lines[0]:
            return check_functions(lines)
        scenario, recorded = lines[0]["scenario"], lines[1:]
        if "domains" in scenario:
            return Checked(len(recorded), [str(found) for found in replay_smp.compare_smp(scenario, recorded)])
        own = list(play(scenario))
        compare = replay_kvm.compare_kvm if "mode" in scenario else replay_sched.compare
        if "cgroup_mode" in scenario:
            compare = compare_flat
        return Checked(len(recorded), [str(mismatch) for mismatch in compare(recorded, own)])


def check_smp(lines: list[dict[str, Any]]) -> Checked:
    """Recompute every call of a file of calls of the many-CPU scheduler's functions."""
    first: dict[str, str] = {}
    for number, function, name, recorded, own in check_smp_functions(lines):
        what = f"{function}.{name}"
        first.setdefault(what, f"{what}: line {number}: recorded {recorded}, own {own}")
    return Checked(len(lines) - 1, list(first.values()))


def check_functions(lines: list[dict[str, Any]]) -> Checked:
    """Recompute every call of a function file."""
    first: dict[str, str] = {}
    for number, call in enumerate(lines, start=1):
        kvm = call.get("fn") in ("ple", "halt_poll", "halt_sequence")
        check = replay_kvm.check_function_line if kvm else replay_sched.check_function_line
        for name, values in check(call).items():
            first.setdefault(f"{call['fn']}.{name}", f"{call['fn']}.{name}: line {number}: {values}")
    return Checked(len(lines), list(first.values()))
