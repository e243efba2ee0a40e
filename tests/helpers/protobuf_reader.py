"""Reading the wire format of protocol buffers."""

from collections.abc import Iterator

Field = tuple[int, int | bytes]
"""(number, value): an integer, or bytes of a message, of text or of packed numbers."""


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(data: bytes) -> Iterator[Field]:
    """The fields of a message, in order."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = varint(data, at)
            yield tag >> 3, value
        else:
            length, at = (8, at) if kind == 1 else (4, at) if kind == 5 else varint(data, at)
            assert kind in (1, 2, 5) and at + length <= len(data)
            part = data[at : at + length]
            yield tag >> 3, part if kind == 2 else int.from_bytes(part, "little")
            at += length


def packed(data: bytes) -> list[int]:
    """Packed numbers, signed."""
    found, at = [], 0
    while at < len(data):
        value, at = varint(data, at)
        found.append(value - (1 << 64) if value >> 63 else value)
    return found
