"""Reads ftrace's binary ring buffer (tracefs ``per_cpu/cpuN/trace_pipe_raw``): nanoseconds, where its text has only us.

Layout: Documentation/trace/ring-buffer-map.rst and include/linux/ring_buffer.h. A page is a header (time stamp,
committed length with flags) and events: a 32-bit word of type_len (5 bits) and time_delta (27 bits), then data.
"""

import re
import struct
from dataclasses import dataclass

import numpy as np

from vcpu_env.realism.events import EVENTS, SWITCH, WAKEUP

PADDING, TIME_EXTEND, TIME_STAMP = 29, 30, 31
DATA_TYPES = 28
LENGTH_MASK = 0xFFFFF
MISSED_EVENTS = 1 << 31
DELTA_BITS = 27
STATE_BITS = 0xFF
"""States of a task that sleeps; the bit above them says that a runnable one was preempted."""


class TraceFormatError(ValueError):
    """Trace data that is not what its description says."""


@dataclass(frozen=True)
class Fields:
    """Offsets and sizes of one event's fields."""

    id: int
    fields: dict[str, tuple[int, int]]

    def value(self, record: bytes, name: str) -> int:
        """A field of one record."""
        offset, size = self.fields[name]
        if offset + size > len(record):
            raise TraceFormatError(f"event {self.id}: {len(record)} bytes, field '{name}' ends at {offset + size}")
        return int.from_bytes(record[offset : offset + size], "little", signed=True)


def parse_format(text: str, needed: list[str]) -> Fields:
    """An event's ``format`` file.

    Raises:
        TraceFormatError: no id, or a needed field is not there.
    """
    number = re.search(r"^ID: (\d+)$", text, re.MULTILINE)
    pattern = r"field:[^;]*?\b(\w+)(?:\[\d*\])?;\s*offset:(\d+);\s*size:(\d+);"
    fields = {name: (int(offset), int(size)) for name, offset, size in re.findall(pattern, text)}
    missing = [name for name in needed if name not in fields]
    if number is None or missing:
        raise TraceFormatError(f"format of a trace event: {'no ID' if number is None else f'no field {missing[0]}'}")
    return Fields(int(number[1]), {name: fields[name] for name in needed})


@dataclass(frozen=True)
class Formats:
    """The events that are read, and where a page's data begins."""

    switch: Fields
    wakes: tuple[Fields, ...]
    data_offset: int = 16


def parse_page(page: bytes, cpu: int, formats: Formats) -> list[tuple[int, ...]]:
    """Events of one page, as rows of `EVENTS`.

    Raises:
        TraceFormatError: the page is cut off, malformed, or says that events were lost before it.
    """
    if len(page) < formats.data_offset:
        raise TraceFormatError(f"page of cpu {cpu}: {len(page)} bytes (a header has {formats.data_offset})")
    time_ns, commit = struct.unpack_from("<QQ", page)
    if commit & MISSED_EVENTS:
        raise TraceFormatError(f"page of cpu {cpu}: events were lost before it")
    at, end = formats.data_offset, formats.data_offset + (commit & LENGTH_MASK)
    if end > len(page):
        raise TraceFormatError(f"page of cpu {cpu}: {len(page)} bytes, {end} committed")
    rows = []
    while at < end:
        try:
            word, extra = struct.unpack_from("<I", page, at)[0], 0
            kind, delta = word & 31, word >> 5
            if kind == 0 or kind > DATA_TYPES:
                extra = struct.unpack_from("<I", page, at + 4)[0] if kind != PADDING or delta else 0
        except struct.error:
            raise TraceFormatError(f"page of cpu {cpu}: cut off within an event") from None
        if kind == PADDING:
            if delta == 0:
                break
            time_ns, at = time_ns + delta, at + 4 + extra
        elif kind == TIME_EXTEND:
            time_ns, at = time_ns + delta + (extra << DELTA_BITS), at + 8
        elif kind == TIME_STAMP:
            top = time_ns >> (DELTA_BITS + 32) << (DELTA_BITS + 32)
            time_ns, at = top | (extra << DELTA_BITS) | delta, at + 8
        else:
            begin, length = (at + 4, 4 * kind) if kind else (at + 8, extra - 4)
            if length < 2 or begin + length > end:
                raise TraceFormatError(f"page of cpu {cpu}: an event of {length} bytes ends outside the page")
            time_ns, at = time_ns + delta, begin + length
            row = parse_event(page[begin:at], time_ns, cpu, formats)
            if row is not None:
                rows.append(row)
    return rows


def parse_event(record: bytes, time_ns: int, cpu: int, formats: Formats) -> tuple[int, ...] | None:
    """One record as a row of `EVENTS`; None if it is of another kind."""
    number = int.from_bytes(record[:2], "little")
    switch = formats.switch
    if number == switch.id:
        state = switch.value(record, "prev_state") & STATE_BITS
        prev, next_ = switch.value(record, "prev_pid"), switch.value(record, "next_pid")
        return time_ns, cpu, SWITCH, prev, state, next_
    for wake in formats.wakes:
        if number == wake.id:
            return time_ns, cpu, WAKEUP, 0, 0, wake.value(record, "pid")
    return None


def parse_pages(data: dict[int, bytes], page_size: int, formats: Formats) -> np.ndarray:
    """Events of all CPUs in time order from their raw pages."""
    rows = []
    for cpu, pages in data.items():
        for at in range(0, len(pages), page_size):
            rows += parse_page(pages[at : at + page_size], cpu, formats)
    events = np.array(rows, EVENTS)
    return events[np.argsort(events["time_ns"], kind="stable")]
