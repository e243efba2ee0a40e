"""What trace-cmd and perf keep beside their events so that they can be read elsewhere: layouts, formats, names.

Both begin with the same bytes (trace-cmd.dat.v6(5); `perf.data`'s tracing data): how a page of the ring buffer and an
event's head are laid out, the file `format` of every tracepoint, and the names of the tasks. All little-endian.
"""

import struct
from collections.abc import Callable, Sequence
from functools import cache
from itertools import groupby

from vcpu_env.inspect.tracepoints import POINTS, Event, Point

MAGIC = b"\x17\x08\x44tracing"
LITTLE_ENDIAN, LONG_SIZE, PAGE_SIZE = 0, 8, 4096
PAGE_HEAD = 16
"""Bytes of a page before its events: time, and how many bytes of events follow."""
SIZES = {
    "char": 1, "int": 4, "unsigned int": 4, "pid_t": 4, "u32": 4, "long": 8, "unsigned long": 8, "u64": 8,
}  # fmt: skip
LETTERS = {"int": "i", "unsigned int": "I", "pid_t": "i", "u32": "I", "long": "q", "unsigned long": "Q", "u64": "Q"}
COMMON = (
    ("unsigned short", "common_type", 2, 0), ("unsigned char", "common_flags", 1, 0),
    ("unsigned char", "common_preempt_count", 1, 0), ("int", "common_pid", 4, 1),
)  # fmt: skip
COMMON_SIZE = 8
IRQS_OFF, HARDIRQ = 0x01, 0x08
"""Bits of an event's flags."""
PREEMPT_COUNT = 2


def field_line(kind: str, name: str, offset: int, size: int, signed: int) -> str:
    """A field in a file `format`."""
    return f"\tfield:{kind} {name};\toffset:{offset};\tsize:{size};\tsigned:{signed};\n"


HEADER_PAGE = (
    field_line("u64", "timestamp", 0, 8, 0)
    + field_line("local_t", "commit", 8, 8, 1)
    + field_line("int", "overwrite", 8, 1, 1)
    + field_line("char", "data", PAGE_HEAD, PAGE_SIZE - PAGE_HEAD, 0)
)
HEADER_EVENT = (
    "# compressed entry header\n\ttype_len    :    5 bits\n\ttime_delta  :   27 bits\n\tarray       :   32 bits\n\n"
    "\tpadding     : type == 29\n\ttime_extend : type == 30\n\ttime_stamp : type == 31\n\tdata max type_len  == 28\n"
)


def places(point: Point) -> list[tuple[str, str, int, int]]:
    """Of each field of a tracepoint its type, name, offset and size, aligned as a C compiler does it."""
    found, offset = [], COMMON_SIZE
    for kind, name in point.fields:
        size = SIZES[kind]
        offset = -(-offset // size) * size
        _, _, length = name.partition("[")
        whole = size * int(length[:-1]) if length else size
        found.append((kind, name, offset, whole))
        offset += whole
    return found


def format_file(point: Point) -> bytes:
    """The file `format` of a tracepoint."""
    lines, offset = [f"name: {point.name}\nID: {point.number}\nformat:\n"], 0
    for kind, name, size, signed in COMMON:
        lines.append(field_line(kind, name, offset, size, signed))
        offset += size
    lines.append("\n")
    for kind, name, at, size in places(point):
        lines.append(field_line(kind, name, at, size, int(kind in ("int", "pid_t", "long"))))
    return ("".join(lines) + f"\nprint fmt: {point.print_fmt}\n").encode()


@cache
def packer(point: Point) -> Callable[..., bytes]:
    """What makes the bytes of an event of its flags, the thread id of who did it, and its values."""
    layout, offset = "<HBBi", COMMON_SIZE
    for kind, _, at, size in places(point):
        layout += "x" * (at - offset) + (f"{size}s" if kind == "char" else LETTERS[kind])
        offset = at + size
    return struct.Struct(layout + "x" * (-offset % 4)).pack


def event_bytes(event: Event, pid: int) -> bytes:
    """An event as it lies in the ring buffer, a multiple of four bytes long."""
    flags = IRQS_OFF | HARDIRQ if event.interrupt else IRQS_OFF
    values = (value.encode()[:47] if isinstance(value, str) else value for value in event.values)
    return packer(event.point)(event.point.number, flags, PREEMPT_COUNT, pid, *values)


def sized(content: bytes) -> bytes:
    """Eight bytes of length, and the content."""
    return struct.pack("<Q", len(content)) + content


def metadata(version: str, names: Sequence[tuple[int, str]]) -> bytes:
    """Everything up to the names of the tasks, (thread id, name) each.

    Args:
        version: of the file: trace-cmd's is "6", perf's "0.6".
    """
    found = MAGIC + version.encode() + bytes([0, LITTLE_ENDIAN, LONG_SIZE]) + struct.pack("<I", PAGE_SIZE)
    found += b"header_page\0" + sized(HEADER_PAGE.encode()) + b"header_event\0" + sized(HEADER_EVENT.encode())
    systems = [(name, list(points)) for name, points in groupby(POINTS, key=lambda point: point.system)]
    found += struct.pack("<II", 0, len(systems))  # no formats of ftrace's own events
    for name, points in systems:
        found += name.encode() + b"\0" + struct.pack("<I", len(points))
        found += b"".join(sized(format_file(point)) for point in points)
    found += struct.pack("<II", 0, 0)  # neither symbols nor printk formats
    return found + sized("".join(f"{pid} {name}\n" for pid, name in names).encode())
