"""A recording as perf would have recorded it (`perf.data`): for perf sched, perf script, perf kvm stat.

A file has a head, what was recorded (an attribute of each tracepoint), the records, and features of the machine.
"""

import struct
from collections.abc import Iterator

from vcpu_env.inspect.recorder import Recording
from vcpu_env.inspect.trace_metadata import event_bytes, metadata
from vcpu_env.inspect.tracepoints import POINTS, events

MAGIC = b"PERFILE2"
HEAD_SIZE, ATTR_SIZE = 104, 64
TYPE_TRACEPOINT = 2
SAMPLE_TID, SAMPLE_TIME, SAMPLE_CPU, SAMPLE_PERIOD, SAMPLE_RAW = 1 << 1, 1 << 2, 1 << 7, 1 << 8, 1 << 10
SAMPLE_IDENTIFIER = 1 << 16
SAMPLE_ID_ALL = 1 << 18
RECORD_COMM, RECORD_SAMPLE = 3, 9
TRACING_DATA, HOSTNAME, OSRELEASE, VERSION, ARCH, NRCPUS, CPUID = 1, 3, 4, 5, 6, 7, 9
"""Bits of the features."""
NAME_ALIGN = 64
TRACING_VERSION = "0.6"


def text(content: str) -> bytes:
    """A feature that is a text."""
    padded = content.encode() + b"\0"
    padded = padded.ljust(-(-len(padded) // NAME_ALIGN) * NAME_ALIGN, b"\0")
    return struct.pack("<I", len(padded)) + padded


def record(kind: int, content: bytes, misc: int = 0) -> bytes:
    """A record, a multiple of eight bytes long."""
    content += b"\0" * (-len(content) % 8)
    return struct.pack("<IHH", kind, misc, 8 + len(content)) + content


def attribute(number: int) -> bytes:
    """What was recorded of a tracepoint: each event, with its bytes."""
    what = SAMPLE_IDENTIFIER | SAMPLE_TID | SAMPLE_TIME | SAMPLE_CPU | SAMPLE_PERIOD | SAMPLE_RAW
    return struct.pack("<IIQQQQQIIQ", TYPE_TRACEPOINT, ATTR_SIZE, number, 1, what, 0, SAMPLE_ID_ALL, 0, 0, 0)


def records(recording: Recording) -> Iterator[bytes]:
    """The tasks' names, then every event."""
    ids = [(task.tgid, task.pid) for task in recording.tasks] + [(0, 0)]  # the idle task's place is NIL
    first = POINTS[0].number
    for task in recording.tasks:
        who = (task.tgid, task.pid)
        tail = struct.pack("<IIQIIQ", *who, recording.from_ns, 0, 0, first)
        yield record(RECORD_COMM, struct.pack("<II16s", *who, task.comm.encode()) + tail)
    for event in events(recording):
        pid, tid = ids[event.task]
        raw = event_bytes(event, tid)
        raw += b"\0" * (-(4 + len(raw)) % 8)
        head = struct.pack("<QIIQIIQI", event.point.number, pid, tid, event.time_ns, event.cpu, 0, 1, len(raw))
        yield record(RECORD_SAMPLE, head + raw)


def parts(recording: Recording) -> Iterator[bytes]:
    """The file, piece by piece."""
    names = [(0, "swapper"), *((task.pid, task.comm) for task in recording.tasks)]
    features = {
        TRACING_DATA: metadata(TRACING_VERSION, names),
        HOSTNAME: text(recording.plan.scenario.name),
        OSRELEASE: text(f"{recording.plan.scenario.host.kernel}.0"),
        VERSION: text(TRACING_VERSION),
        ARCH: text("x86_64"),
        NRCPUS: struct.pack("<II", recording.nr_cpus, recording.nr_cpus),
        CPUID: text("GenuineIntel,6,85,4"),
    }
    entry = ATTR_SIZE + 16
    attrs = HEAD_SIZE + 8 * len(POINTS)
    data = attrs + entry * len(POINTS)
    body = b"".join(records(recording))
    bits = sum(1 << bit for bit in features)
    head = MAGIC + struct.pack("<QQ", HEAD_SIZE, entry)
    head += struct.pack("<QQQQQQ", attrs, entry * len(POINTS), data, len(body), 0, 0)
    yield head + struct.pack("<4Q", bits, 0, 0, 0)
    yield b"".join(struct.pack("<Q", point.number) for point in POINTS)
    for i, point in enumerate(POINTS):
        yield attribute(point.number) + struct.pack("<QQ", HEAD_SIZE + 8 * i, 8)
    yield body
    at = data + len(body) + 16 * len(features)
    for content in features.values():
        yield struct.pack("<QQ", at, len(content))
        at += len(content)
    yield from features.values()
