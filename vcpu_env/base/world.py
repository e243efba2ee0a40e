"""The state of a machine as one value: a single int64 array that holds every struct array.

It begins with a header (`base.header`) of where the struct arrays lie. All references between structs are ids
(indices), never addresses, so a copy of the array is a complete, independent machine: snapshot, restore and fork are
copies, and a batch is N such arrays.
"""

import hashlib
from typing import Any, NoReturn

import numpy as np

from vcpu_env.base.header import COUNTS_AT, FAULT_AT, HEADER_WORDS, STRUCTS, TRACE_AT
from vcpu_env.base.jit import JIT
from vcpu_env.base.structs import LINE_BYTES, PyWorld, StructArray


def aligned_words(count: int) -> np.ndarray:
    """Zeros that begin at a cache line."""
    room = np.zeros(count + LINE_BYTES // 8, np.int64)
    start = -room.ctypes.data % LINE_BYTES // 8
    return room[start : start + count]


def check_layout(header: np.ndarray, size: int, words: np.ndarray) -> None:
    """Refuse a state of another layout than that with this header and so many words."""
    if len(words) >= FAULT_AT and not np.array_equal(words[:FAULT_AT], header):
        counts_first = np.roll(words[:FAULT_AT] != header, COUNTS_AT)  # a wrong count moves all that follow
        number = int(np.flatnonzero(counts_first)[0]) % COUNTS_AT
        found, declared = (f"{h[COUNTS_AT + number]} at byte {h[number]}" for h in (words, header))
        raise ValueError(f"struct {STRUCTS[number]}: the world has {found} (allowed: the layout's {declared})")
    if len(words) != size:
        raise ValueError(f"world: {len(words)} words (allowed: the layout's {size})")


class World:
    """The struct arrays of one machine.

    Args:
        arrays: the layout, with each struct once.
        words: a state of that layout; None: zeros.

    Attributes:
        arrays: the layout by name.
        words: the state, shape (n,), int64.
        handle: what functions of the machine take as ``w``: the address of `words`, valid as long as the
            world is; uncompiled, a stand-in with views.

    Raises:
        ValueError: a struct comes twice, or `words` are of another layout; names the struct.
    """

    def __init__(self, arrays: list[StructArray], words: np.ndarray | None = None):
        self.arrays = {array.name: array for array in arrays}
        self._offsets: dict[str, int] = {}
        header, end = np.zeros(FAULT_AT, np.int64), HEADER_WORDS * 8
        for array in arrays:
            if array.name in self._offsets:
                raise ValueError(f"struct {array.name}: twice in a layout (allowed: once)")
            self._offsets[array.name] = header[array.number] = end
            header[COUNTS_AT + array.number] = array.count
            end += -(-array.count * array.dtype.itemsize // LINE_BYTES) * LINE_BYTES
        if words is None:
            words = aligned_words(end // 8)
            words[:FAULT_AT] = header
        check_layout(header, end // 8, words)
        self.words = words
        self.handle = words.ctypes.data if JIT else PyWorld({a.number: self[a.name] for a in arrays}, words)

    def __getitem__(self, name: str) -> np.ndarray:
        """The structured view of one struct array; writing to it changes the machine."""
        array, start = self.arrays[name], self._offsets[name]
        return self.words.view(np.uint8)[start : start + array.count * array.dtype.itemsize].view(array.dtype)

    @property
    def traced(self) -> int:
        """The groups of records that are written, bits of `base.trace_ring.GROUPS`; only where there is room."""
        return int(self.words[TRACE_AT])

    @traced.setter
    def traced(self, groups: int) -> None:
        self.words[TRACE_AT] = groups

    def extended(self, extra: list[StructArray]) -> "World":
        """A copy with more struct arrays, all zero."""
        other = World([*self.arrays.values(), *extra])
        other.words[HEADER_WORDS : len(self.words)] = self.words[HEADER_WORDS:]
        return other

    def narrowed(self, arrays: list[StructArray]) -> "World":
        """A copy with the first of its struct arrays only: what `extended` has added is left out."""
        other = World(arrays)
        other.words[HEADER_WORDS:] = self.words[HEADER_WORDS : len(other.words)]
        return other

    def copy(self) -> "World":
        """An independent copy (a fork)."""
        words = aligned_words(len(self.words))
        words[:] = self.words
        return World(list(self.arrays.values()), words)

    def __deepcopy__(self, memo: dict[int, Any]) -> "World":
        return self.copy()

    def __reduce__(self) -> NoReturn:
        raise TypeError("World: it holds addresses of this process (allowed: to pickle its Machine)")

    @property
    def layout(self) -> str:
        """A fingerprint of where everything lies."""
        parts = [(array.number, name, array.dtype.descr, array.count) for name, array in self.arrays.items()]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
