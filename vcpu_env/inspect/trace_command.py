"""What ``vcpu-env trace`` does: check what was asked, run, write a file whole or not at all."""

import os
import shlex
import sys
import webbrowser
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vcpu_env.base.trace_ring import GROUPS
from vcpu_env.inspect.request import MSEC, RunRequest, moment
from vcpu_env.precompile import ensure_compiled
from vcpu_env.scenario import Scenario
from vcpu_env.scenario.errors import InputError

if TYPE_CHECKING:
    from vcpu_env.inspect.recorder import Recording

FORMATS = {
    "html": ".html",
    "perfetto": ".pftrace",
    "jsonl": ".jsonl",
    "ftrace": ".ftrace",
    "trace-cmd": ".dat",
    "perf": ".data",
    "timehist": ".timehist",
    "latency": ".latency",
    "exits": ".exits",
}
"""Formats of a window, and the ends of file names that mean them."""
INSTANTS = {"schedstat": ".schedstat", "debug": ".debug", "kvm_stat": ".kvm_stat", "openmetrics": ".openmetrics"}
"""Formats of an instant, likewise."""
BINARY = ("perfetto", "trace-cmd", "perf")
LONGEST_PAGE_NS = 2_000 * MSEC
"""A page keeps times as 32-bit numbers."""


def window(request: RunRequest, from_ms: float | None, for_ms: float | None) -> tuple[int, int]:
    """Begin and end of a window, ns; by default 20 ms from the begin of the measured time.

    Raises:
        InputError: it is not within the run.
    """
    end_ns = request.end_ns
    from_ns = request.scenario.run.warmup_ns if from_ms is None else moment("--from", from_ms, end_ns)
    if from_ns == end_ns:
        raise InputError(f"--from: value {from_ns / MSEC:g} (allowed: ms before the run's end, {end_ns / MSEC:g})")
    longest_ns = end_ns - from_ns
    wanted_ns = min(20 * MSEC, longest_ns) if for_ms is None else moment("--for", for_ms, longest_ns)
    if wanted_ns == 0:
        raise InputError(f"--for: value {for_ms:g} (allowed: ms above 0)")
    return from_ns, from_ns + wanted_ns


def groups_of(names: Sequence[str], format_: str) -> int:
    """The bits of groups of records; none named: all.

    Raises:
        InputError: there is no such group, or the format needs all of them.
    """
    if names and format_ != "jsonl":
        raise InputError(f"--events: given with {format_} (allowed: with jsonl)")
    bits = 0
    for name in names or GROUPS:
        if name not in GROUPS:
            raise InputError(f"--events: value '{name}' (allowed: {', '.join(GROUPS)})")
        bits |= GROUPS[name]
    return bits


def format_of(name: str | None, out: Path | None, instant: bool) -> str:
    """The format that is asked for, or that the file's name means; of a window, or of an instant.

    Raises:
        InputError: there is no such format, or none is named.
    """
    formats = INSTANTS if instant else FORMATS
    allowed = f"{', '.join(formats)} {'with' if instant else 'without'} --at"
    if name is not None:
        if name not in formats:
            raise InputError(f"--format: value '{name}' (allowed: {allowed})")
        return name
    for known, end in formats.items():
        if out is not None and out.name.endswith(end):
            return known
    ends = ", ".join(f"*{end}" for end in formats.values())
    raise InputError(f"--format: missing (allowed: {allowed}; or a file -o {ends})")


def check_target(out: Path | None, name: str, force: bool) -> None:
    """Refuse a file that cannot be written, or is there already; and a terminal for what is not text.

    Raises:
        InputError: naming it.
    """
    if out is None:
        if name in BINARY and sys.stdout.isatty():
            raise InputError(f"-o: missing (allowed: a file, or a pipe, for {name}: it is not text)")
        return
    if out.is_dir() or not (out.parent.is_dir() and os.access(out.parent, os.W_OK)):
        raise InputError(f"-o: value '{out}' (allowed: a file in a directory to write to)")
    if out.exists() and not force:
        raise InputError(f"-o: '{out}' exists (allowed: a new file, or --force)")


def viewer_of(name: str, out: Path | None) -> Callable[[Path], None]:
    """What shows a file of a format in the browser.

    Raises:
        InputError: nothing does; or there is no file; or Perfetto's user interface is not installed.
    """
    if name not in ("html", "perfetto"):
        raise InputError(f"--open: given with {name} (allowed: with html, perfetto)")
    if out is None:
        raise InputError("--open: given without -o (allowed: with a file)")
    if name == "html":
        return lambda page: print(f"{page}: opened" if webbrowser.open(page.resolve().as_uri()) else page)
    from vcpu_env.inspect import perfetto_ui

    perfetto_ui.interface()
    return perfetto_ui.show


def write_parts(out: Path | None, parts: Iterable[str | bytes]) -> int:
    """Write text or bytes to a file, or to the standard output; returns how many bytes.

    Raises:
        InputError: the file cannot be written; nothing is left of it.
    """
    if out is None:
        size = 0
        for part in parts:
            data = part.encode() if isinstance(part, str) else part
            size += sys.stdout.buffer.write(data)
        return size
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            for part in parts:
                file.write(part.encode() if isinstance(part, str) else part)
            size = file.tell()
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"-o: value '{out}' (allowed: a file to write to; {error.strerror})") from None
    return size


def trace(
    request: RunRequest,
    policies: dict[str, Callable[[Scenario, int], Any]],
    times_ns: tuple[int, int],
    out: Path | None,
    name: str,
    groups: int,
    limit: int,
) -> None:
    """Record a window and write it.

    Args:
        policies: what makes a machine of a scenario and a seed, by the policy's name or file; two for a page.

    Raises:
        ValueError: it cannot be recorded, or the file not be written.
    """
    ensure_compiled()
    from vcpu_env.inspect.recorder import record

    recordings = [record(make(request.scenario, request.seed), *times_ns, limit, groups) for make in policies.values()]
    again = [shlex.join(["vcpu-env", "explain", *request.asked, "--policy", policy]) for policy in policies]
    size = write_parts(out, parts_of(recordings, name, again))
    if out is not None:
        count = sum(len(recording.records) for recording in recordings)
        print(f"{out}: {count:,} records, {size / 1e6:,.1f} MB", file=sys.stderr)


def show(
    request: RunRequest, machine_of: Callable[[Scenario, int], Any], at_ns: int, out: Path | None, name: str
) -> None:
    """Write how a machine stands at an instant.

    Raises:
        ValueError: it cannot be run so far, or the file not be written.
    """
    ensure_compiled()
    from vcpu_env.inspect import instant, openmetrics, sched_debug

    machine = machine_of(request.scenario, request.seed)
    machine.run_until(at_ns)
    writers = {"schedstat": instant.schedstat, "kvm_stat": instant.kvm_stat, "debug": sched_debug.sched_debug}
    write_parts(out, (writers | {"openmetrics": openmetrics.openmetrics})[name](machine))


def check_page(name: str, times_ns: tuple[int, int], policy: str, beside: str | None) -> None:
    """Refuse what only a page can show, and a window that it cannot.

    Raises:
        InputError: naming the field.
    """
    if beside is not None and name != "html":
        raise InputError(f"--beside: given with {name} (allowed: with html)")
    if beside == policy:
        raise InputError(f"--beside: value '{beside}' is shown anyway (allowed: another policy)")
    length_ns = times_ns[1] - times_ns[0]
    if name == "html" and length_ns > LONGEST_PAGE_NS:
        longest = f"{LONGEST_PAGE_NS / MSEC:g}"
        raise InputError(f"--for: value {length_ns / MSEC:g} (allowed: up to {longest} ms for html)")


def parts_of(recordings: "Sequence[Recording]", name: str, again: Sequence[str]) -> Iterable[str | bytes]:
    """A recording in one of the `FORMATS`, piece by piece; a page may show several.

    `again`: of each the command that explains one of its yields.
    """
    from vcpu_env.inspect import ftrace, jsonl, kvm_exits, perf_data, perfetto, timehist, timeline, trace_dat

    if name == "html":
        return timeline.page(recordings, again)
    writers: dict[str, Callable[[Recording], Iterable[str | bytes]]] = {
        "perfetto": perfetto.packets,
        "jsonl": jsonl.lines,
        "ftrace": ftrace.lines,
        "trace-cmd": trace_dat.parts,
        "perf": perf_data.parts,
        "timehist": timehist.timehist,
        "latency": timehist.latency,
        "exits": kvm_exits.exits,
    }
    return writers[name](recordings[0])
