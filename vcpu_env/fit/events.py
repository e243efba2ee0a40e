"""Scheduler events of a recorded trace, from text: ftrace's own, or that of perf script and trace-cmd report.

Needed are `sched_switch` and `sched_waking` (or `sched_wakeup`); used, if they are there, are the entries of
`reschedule`, `call_function` and `call_function_single` (irq_vectors) and `tlb_flush`. Other events are skipped.
"""

import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from vcpu_env.base.errors import InputError

SWITCH, WAKE, RESCHEDULE_IPI, CALL_IPI, SHOOTDOWN = range(5)

IDLE = 0
"""Thread id of the idle task; of events, also nobody."""


class FitError(InputError):
    """A trace from which no program can be made."""


class Event(NamedTuple):
    """One event.

    Attributes:
        tid: the thread on the CPU; of a wake-up who wakes, `IDLE` if an interrupt does.
        other: switch: the thread that runs next; wake-up: who is woken.
        blocks: switch: the thread sleeps or ends, it is not preempted.
        exits: switch: the thread ends.
    """

    time_ns: int
    cpu: int
    kind: int
    tid: int
    comm: str = ""
    other: int = IDLE
    other_comm: str = ""
    blocks: bool = False
    exits: bool = False


LINE = re.compile(
    r"\s*(?P<comm>\S.*?)(?:-|\s+)(?P<tid>\d+)(?:/(?P<thread>\d+))?\s+(?:\(\s*[\d-]+\)\s+)?"
    r"(?:\[(?P<cpu>\d+)\]\s+(?:(?P<flags>[\w.#]{4,8})\s+)?|(?P<latency_cpu>\d+)(?P<latency>[\w.#]{4,8})\s+)"
    r"(?P<time>\d+\.\d+):\s+(?:\(\+?[\d.]+\)\s+)?(?:\d+\s+)?(?:(?:\w+:)?(?P<event>\w+):)?\s*(?P<rest>.*)"
)
"""An event; trace-cmd's latency format joins CPU and flags. What has no name is of another tracer: a function."""
SKIPPED = re.compile(r"\s*(#.*|cpus=\d+|version = .*|CPU \d+ is empty|=> .*|[0-9a-f]{8,16} .*)?$", re.IGNORECASE)
"""Comments, empty lines, headers of trace-cmd report, and stack frames."""
LOST = re.compile(r"LOST \d+ EVENTS|EVENTS DROPPED\]|PERF_RECORD_LOST")

SWITCHES = (
    re.compile(
        r"prev_comm=(?P<comm>.*) prev_pid=(?P<tid>\d+) prev_prio=\d+ prev_state=(?P<state>\S+)(?: ==>)? "
        r"next_comm=(?P<next_comm>.*) next_pid=(?P<next>\d+) next_prio=\d+"
    ),
    re.compile(r"(?P<comm>.*):(?P<tid>\d+) \[\d+\] (?P<state>\S+) ==> (?P<next_comm>.*):(?P<next>\d+) \[\d+\]"),
)
WAKES = (
    re.compile(r"comm=(?P<comm>.*) pid=(?P<tid>\d+) prio=\d+ "),
    re.compile(r"(?P<comm>.*):(?P<tid>\d+) \[\d+\]"),
)
IPIS = {
    "reschedule_entry": RESCHEDULE_IPI,
    "call_function_entry": CALL_IPI,
    "call_function_single_entry": CALL_IPI,
}
WAKE_EVENTS = ("sched_waking", "sched_wakeup", "sched_wakeup_new")
REMOTE_SEND_IPI = re.compile(r"reason:.*(\(4\)|remote ipi send)", re.IGNORECASE)
"""`tlb_flush` of who sends (TLB_REMOTE_SEND_IPI); those of who receives or only switches do not count."""
EXIT_STATES = 0xB0
"""EXIT_DEAD, EXIT_ZOMBIE and TASK_DEAD, where a state is a number (trace-cmd report -R)."""


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a trace, gzipped if its name ends in ``.gz``."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            yield from file
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise FitError(f"{path}: cannot be read ({reason})") from None
    except UnicodeDecodeError:
        raise FitError(f"{path}: not text (allowed: ftrace text, or the output of perf sched script)") from None


def read_events(path: Path) -> list[Event]:
    """The events of a trace, in order of time.

    Raises:
        FitError: it cannot be read, has a line that is no event, has lost events, or lacks what is needed.
    """
    try:
        events = parse_events(read_lines(path))
    except FitError as error:
        raise FitError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from None
    return events


def parse_events(lines: Iterable[str]) -> list[Event]:
    """The events in lines of text, in order of time. Wake-ups are those of `sched_waking`, if it was recorded."""
    found: list[tuple[str, Event]] = []
    for number, line in enumerate(lines, 1):
        if LOST.search(line):
            raise FitError(f"line {number}: events were lost (allowed: complete recordings; make the buffer larger)")
        match = LINE.match(line)
        if match is None:
            if SKIPPED.match(line):
                continue
            raise FitError(f"line {number}: '{line.strip():.40}' (allowed: lines of ftrace, perf script or trace-cmd)")
        try:
            event = _event(match)
        except ValueError:  # a number that is none
            event = None
        if event is None:
            raise FitError(f"line {number}: {match['event']} cannot be read: '{match['rest']:.60}'")
        if event.kind >= 0:
            found.append((match["event"], event))
    return _complete(found)


def _complete(found: list[tuple[str, Event]]) -> list[Event]:
    names = {name for name, _ in found}
    wakes = next((name for name in WAKE_EVENTS if name in names), None)
    missing = ["sched:sched_switch"] * ("sched_switch" not in names) + ["sched:sched_waking"] * (wakes is None)
    if missing:
        raise FitError(f"no events {' and '.join(missing)} (allowed: recordings with both)")
    events = [event for name, event in found if event.kind != WAKE or name == wakes]
    return sorted(events, key=lambda event: event.time_ns)


OTHER = Event(0, 0, -1, IDLE)
"""An event that is skipped."""


def _leaves(state: str) -> tuple[bool, bool]:
    """Whether a thread that is switched out in this state sleeps or ends, and whether it ends."""
    if state[0].isdigit():
        number = int(state, 16 if state.startswith("0x") else 10) & 0xFF
        return number != 0, number & EXIT_STATES != 0
    return state[0] != "R", state[0] in "XxZz"


def _event(match: re.Match[str]) -> Event | None:
    """The event of a line; None if its fields cannot be read."""
    name, rest, flags = match["event"], match["rest"], match["flags"] or match["latency"] or ""
    seconds, _, fraction = match["time"].partition(".")
    time_ns = int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9])
    cpu = int(match["cpu"] or match["latency_cpu"])
    tid = int(match["thread"] or match["tid"])
    if name == "sched_switch":
        found = next((m for pattern in SWITCHES if (m := pattern.match(rest))), None)
        if found is None:
            return None
        names = found["comm"], int(found["next"]), found["next_comm"]
        return Event(time_ns, cpu, SWITCH, int(found["tid"]), *names, *_leaves(found["state"]))
    if name in WAKE_EVENTS:
        found = next((m for pattern in WAKES if (m := pattern.match(rest))), None)
        if found is None:
            return None
        interrupt = flags[2:3] in ("h", "H", "s", "z", "Z")
        return Event(time_ns, cpu, WAKE, IDLE if interrupt else tid, "", int(found["tid"]), found["comm"])
    if name in IPIS:
        return Event(time_ns, cpu, IPIS[name], tid)
    if name == "tlb_flush":
        return Event(time_ns, cpu, SHOOTDOWN, tid) if REMOTE_SEND_IPI.search(rest) else OTHER
    return OTHER
