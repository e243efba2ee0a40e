"""The rows of a Perfetto trace and what is written on them: slices, instants, counters, arrows between them.

Field numbers are those of Perfetto's TracePacket, TrackDescriptor, TrackEvent, InternedData and DebugAnnotation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from vcpu_env.inspect.protobuf import fixed64, message, number, text, varint

SEQUENCE = 1
BEGIN, END, INSTANT, COUNTER = 1, 2, 3, 4
STATE_CLEARED, NEEDS_STATE = 1, 2
TIME_TAG = 8 << 3
"""TracePacket.timestamp, a varint."""
BY_RANK = 3
"""TrackDescriptor.ChildTracksOrdering: EXPLICIT."""


def packet(content: bytes) -> bytes:
    """A TracePacket of the trace."""
    return message(1, content)


class TrackWriter:
    """Track events of one sequence; a name is written once and referred to by number."""

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._keys: dict[str, int] = {}
        self._plain: dict[tuple[int, int, int], bytes] = {}  # events without arrows and arguments
        self._values: dict[tuple[int, Any], bytes] = {}
        self._times: dict[int, bytes] = {}
        self._tail = number(10, SEQUENCE) + number(13, NEEDS_STATE)

    def _stamp(self, time_ns: int) -> bytes:
        """The field of a packet's time, whose upper digits are mostly those of the packet before."""
        upper = self._times.get(time_ns >> 14)
        if upper is None:
            if time_ns < 1 << 14:
                return number(8, time_ns)
            self._times.clear()
            upper = self._times[time_ns >> 14] = varint(time_ns >> 14)
        return bytes((TIME_TAG, time_ns & 0x7F | 0x80, time_ns >> 7 & 0x7F | 0x80)) + upper

    @staticmethod
    def clear() -> bytes:
        """The first packet of the sequence."""
        return packet(number(10, SEQUENCE) + number(13, STATE_CLEARED))

    @staticmethod
    def process(uuid: int, pid: int, name: str) -> bytes:
        """A group of rows: a process."""
        return packet(message(60, number(1, uuid) + message(3, number(1, pid) + text(6, name))) + number(10, SEQUENCE))

    @staticmethod
    def thread(uuid: int, pid: int, tid: int, name: str) -> bytes:
        """The row of a thread."""
        about = number(1, pid) + number(2, tid) + text(5, name)
        return packet(message(60, number(1, uuid) + message(4, about)) + number(10, SEQUENCE))

    @staticmethod
    def row(uuid: int, parent: int, name: str, rank: int = 0, counter: str | None = None) -> bytes:
        """A row below another one; a counter has a unit."""
        about = number(1, uuid) + text(2, name) + number(5, parent) + number(11, BY_RANK) + number(12, rank)
        if counter is not None:
            about += message(8, text(6, counter))
        return packet(message(60, about) + number(10, SEQUENCE))

    def slice(self, uuid: int, begin_ns: int, end_ns: int, name: str) -> bytes:
        """A piece of time on a row."""
        return self.event(BEGIN, uuid, begin_ns, name) + self.event(END, uuid, end_ns)

    def event(
        self,
        kind: int,
        uuid: int,
        time_ns: int,
        name: str = "",
        flows: Sequence[int] = (),
        arguments: Mapping[str, Any] | None = None,
    ) -> bytes:
        """One begin, end or instant; events with a flow in common are joined by an arrow."""
        iid = self._names.get(name, 0) if name else 0
        if not (flows or arguments) and (plain := self._plain.get((kind, uuid, iid))) is not None and (iid or not name):
            return packet(self._stamp(time_ns) + plain)
        new = b""
        if name and not iid:
            iid = self._names[name] = len(self._names) + 1
            new = message(2, number(1, iid) + text(2, name))
        event = number(9, kind) + number(11, uuid) + (number(10, iid) if iid else b"")
        if not (flows or arguments):
            self._plain[kind, uuid, iid] = message(11, event) + self._tail
        for flow in flows:
            event += fixed64(47, flow)
        for key, value in (arguments or {}).items():
            key_iid = self._keys.get(key, 0)
            if not key_iid:
                key_iid = self._keys[key] = len(self._keys) + 1
                new += message(3, number(1, key_iid) + text(2, key))
            event += self._argument(key_iid, value)
        content = self._stamp(time_ns) + message(11, event) + self._tail
        return packet(content + message(12, new) if new else content)

    def _argument(self, key_iid: int, value: Any) -> bytes:
        """An annotation; words come again, times do not."""
        if isinstance(value, int) and not isinstance(value, bool):
            return message(4, number(1, key_iid) + number(4, value))
        known = self._values.get((key_iid, value))
        if known is None:
            inside = number(2, int(value)) if isinstance(value, bool) else text(6, str(value))
            known = self._values[key_iid, value] = message(4, number(1, key_iid) + inside)
        return known

    def count(self, uuid: int, time_ns: int, value: int) -> bytes:
        """A value of a counter from now on."""
        return packet(
            self._stamp(time_ns) + message(11, number(9, COUNTER) + number(11, uuid) + number(30, value)) + self._tail
        )
