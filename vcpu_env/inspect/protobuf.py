"""As much of the wire format of protocol buffers as writing a trace takes: numbers, bytes, messages."""

from functools import cache

VARINT, FIXED64, LENGTH = 0, 1, 2
SMALL = [bytes((number,)) for number in range(0x80)]


def varint(number: int) -> bytes:
    """A number of up to 64 bits, seven bits a byte; a negative one as its two's complement."""
    if 0 <= number < 0x80:
        return SMALL[number]
    number &= (1 << 64) - 1
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


@cache
def tag(field: int, kind: int) -> bytes:
    """What comes before a field's value."""
    return varint(field << 3 | kind)


def number(field: int, value: int) -> bytes:
    """A field of an integer type."""
    return tag(field, VARINT) + varint(value)


def fixed64(field: int, value: int) -> bytes:
    """A field of type fixed64."""
    return tag(field, FIXED64) + value.to_bytes(8, "little")


def message(field: int, content: bytes) -> bytes:
    """A field that is a message, or bytes."""
    return tag(field, LENGTH) + varint(len(content)) + content


def text(field: int, content: str) -> bytes:
    """A field of type string."""
    return message(field, content.encode())
