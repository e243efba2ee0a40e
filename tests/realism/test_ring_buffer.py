"""The reader of ftrace's ring buffer: a recorded page, made-up ones, and broken ones."""

import itertools
import struct
from pathlib import Path

import numpy as np
import pytest

from vcpu_env.realism.events import SWITCH, WAKEUP
from vcpu_env.realism.ring_buffer import Formats, TraceFormatError, parse_format, parse_page, parse_pages

SAMPLES = Path(__file__).parent / "samples"
SWITCH_TEXT = (SAMPLES / "sched_switch.format").read_text()
WAKE_TEXTS = [(SAMPLES / f"{event}.format").read_text() for event in ("sched_waking", "sched_wakeup")]
FORMATS = Formats(
    parse_format(SWITCH_TEXT, ["prev_pid", "prev_state", "next_pid"]),
    tuple(parse_format(text, ["pid"]) for text in WAKE_TEXTS),
)
PAGE = (SAMPLES / "page.bin").read_bytes()


def page(time_ns: int, *events: bytes, flags: int = 0) -> bytes:
    data = b"".join(events)
    return struct.pack("<QQ", time_ns, len(data) | flags) + data


def switch(delta: int, prev: int, state: int, next_: int) -> bytes:
    record = bytearray(64)
    struct.pack_into("<H", record, 0, FORMATS.switch.id)
    struct.pack_into("<i", record, 24, prev)
    struct.pack_into("<q", record, 32, state)
    struct.pack_into("<i", record, 56, next_)
    return struct.pack("<I", delta << 5 | len(record) // 4) + bytes(record)


def test_format():
    assert FORMATS.switch.fields == {"prev_pid": (24, 4), "prev_state": (32, 8), "next_pid": (56, 4)}
    assert len({FORMATS.switch.id, *(wake.id for wake in FORMATS.wakes)}) == 3


@pytest.mark.parametrize("text", ["", "ID: 12\n", SWITCH_TEXT.replace("prev_state", "state"), SWITCH_TEXT[9:]])
def test_format_that_is_none(text):
    with pytest.raises(TraceFormatError, match="format of a trace event"):
        parse_format(text.replace("ID: 372", "number"), ["prev_state"])


def test_recorded_page():
    rows = parse_page(PAGE, 1, FORMATS)
    assert len(rows) == 74
    times = [row[0] for row in rows]
    assert times == sorted(times) and times[-1] - times[0] == 4_671_372
    assert {row[1] for row in rows} == {1} and {row[2] for row in rows} == {SWITCH, WAKEUP}
    switches = [row for row in rows if row[2] == SWITCH]
    assert all(before[5] == after[3] for before, after in itertools.pairwise(switches))


def test_times_and_kinds():
    extend = struct.pack("<II", 5 << 5 | 30, 2)  # 5 + 2 * 2^27
    stamp = struct.pack("<II", 7 << 5 | 31, 3)  # absolute: 7 + 3 * 2^27
    padding = struct.pack("<II", 11 << 5 | 29, 8) + bytes(4)  # 11 ns, 8 more bytes
    unknown = struct.pack("<IHH", 1 << 5 | 1, 999, 0)
    end = struct.pack("<I", 29)
    rows = parse_page(
        page(1000, switch(10, 4, 0, 5), extend, switch(0, 5, 1, 0), stamp, padding, unknown, switch(1, 0, 0, 4), end),
        3,
        FORMATS,
    )
    base = 1 << 27
    assert [row[0] for row in rows] == [1010, 1015 + 2 * base, 3 * base + 7 + 11 + 1 + 1]
    assert [row[3:] for row in rows] == [(4, 0, 5), (5, 1, 0), (0, 0, 4)]


def test_long_event():
    body = switch(0, 4, 256, 5)[4:]  # 256: preempted while runnable
    rows = parse_page(page(0, struct.pack("<II", 9 << 5, len(body) + 4) + body), 0, FORMATS)
    assert rows == [(9, 0, SWITCH, 4, 0, 5)]


@pytest.mark.parametrize(
    "broken, what",
    [
        (PAGE[:10], "10 bytes"),
        (PAGE[:-8], "committed"),
        (page(0, struct.pack("<I", 4)), "outside the page"),
        (page(0, struct.pack("<I", 30)), "cut off"),
        (page(0, struct.pack("<I", 0)), "cut off"),
        (page(0, struct.pack("<II", 0, 2)), "outside the page"),
        (page(0, b"\1\2"), "cut off"),
        (page(0, switch(0, 1, 0, 2)[:44].replace(b"\x10", b"\x0a", 1)), "field 'next_pid'"),
        (page(0, switch(0, 1, 0, 2), flags=1 << 31), "lost"),
    ],
)
def test_broken_page(broken, what):
    with pytest.raises(TraceFormatError, match=what):
        parse_page(broken, 0, FORMATS)


def test_pages_of_all_cpus_in_time_order():
    first, second = page(100, switch(0, 1, 0, 2)), page(50, switch(0, 3, 0, 4), switch(100, 4, 0, 3))
    size = max(len(first), len(second))
    events = parse_pages({0: first.ljust(size, b"\0") + second.ljust(size, b"\0"), 1: first}, size, FORMATS)
    assert events["time_ns"].tolist() == [50, 100, 100, 150]
    assert np.flatnonzero(events["cpu"]).tolist() == [2]
