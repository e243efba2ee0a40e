"""A recording as a file of trace-cmd (``trace.dat``, version 6), which trace-cmd and KernelShark open."""

import struct
from collections.abc import Iterator

from vcpu_env.base.jit import NIL
from vcpu_env.inspect.recorder import Recording
from vcpu_env.inspect.trace_metadata import PAGE_HEAD, PAGE_SIZE, event_bytes, metadata
from vcpu_env.inspect.tracepoints import IDLE_COMM, events

VERSION = "6"
DELTA_BITS, TYPE_BITS = 27, 5
TIME_EXTEND = 30
"""The type of an entry that only says how much time has passed; up to 28, it is the length in words of what follows."""


def entry(delta_ns: int, data: bytes) -> bytes:
    """An event as it lies on a page, so long after the one before it."""
    longer, delta_ns = divmod(delta_ns, 1 << DELTA_BITS)
    if longer:
        return struct.pack("<II", TIME_EXTEND | delta_ns << TYPE_BITS, longer) + entry(0, data)
    return struct.pack("<I", len(data) // 4 | delta_ns << TYPE_BITS) + data


class Pages:
    """The ring buffer of a CPU: pages with a time, each full of events."""

    def __init__(self) -> None:
        self.full: list[bytes] = []
        self._entries, self._begin_ns, self._last_ns = b"", 0, 0

    def add(self, time_ns: int, data: bytes) -> None:
        """An event; times ascend."""
        new = entry(time_ns - self._last_ns, data)
        if not self._entries or PAGE_HEAD + len(self._entries) + len(new) > PAGE_SIZE:
            self.close()
            self._begin_ns, new = time_ns, entry(0, data)
        self._entries += new
        self._last_ns = time_ns

    def close(self) -> None:
        """End the page."""
        if self._entries:
            head = struct.pack("<QQ", self._begin_ns, len(self._entries))
            self.full.append((head + self._entries).ljust(PAGE_SIZE, b"\0"))
            self._entries = b""


def parts(recording: Recording) -> Iterator[bytes]:
    """The file, piece by piece."""
    tasks = recording.tasks
    pids = [task.pid for task in tasks] + [0]  # the idle task's place is NIL
    buffers = [Pages() for _ in range(recording.nr_cpus)]
    for event in events(recording):
        buffers[event.cpu].add(event.time_ns, event_bytes(event, pids[event.task]))
    head = metadata(VERSION, [(pids[NIL], IDLE_COMM), *((task.pid, task.comm) for task in tasks)])
    head += struct.pack("<I", len(buffers)) + b"flyrecord\0"
    begin = len(head) + 16 * len(buffers)
    at = first = -(-begin // PAGE_SIZE) * PAGE_SIZE
    for buffer in buffers:
        buffer.close()
        size = PAGE_SIZE * len(buffer.full)
        head += struct.pack("<QQ", at, size)
        at += size
    yield head.ljust(first, b"\0")
    for buffer in buffers:
        yield from buffer.full
