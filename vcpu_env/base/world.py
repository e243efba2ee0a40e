"""The state of a machine as one value: a single int64 array that holds every struct array.

The first `HEADER_WORDS` words are a header: word *s* is the byte offset of the struct array of slot *s*. All references
between structs are ids (indices), never addresses, so a copy of the array is a complete, independent machine:
snapshot, restore and fork are copies, and a batch of N machines is an array with a leading axis.
"""

from dataclasses import dataclass

import numpy as np

from vcpu_env.base.jit import JIT, PyWorld

HEADER_WORDS = 96
ALIGN_BYTES = 64


def aligned_words(count: int) -> np.ndarray:
    """Zeros that begin at a cache line."""
    room = np.zeros(count + ALIGN_BYTES // 8, np.int64)
    start = -room.ctypes.data % ALIGN_BYTES // 8
    return room[start : start + count]


@dataclass(frozen=True)
class StructArray:
    """One struct array of a layout: its header slot, name, dtype and length."""

    slot: int
    name: str
    dtype: np.dtype
    count: int


class World:
    """The struct arrays of one machine.

    Args:
        arrays: the struct arrays, each with a slot of its own.

    Attributes:
        words: the state, shape (n,), int64.
        handle: what functions of the machine take as ``w``: the address of `words`, valid as long as the
            world is; uncompiled, a stand-in with views.
    """

    def __init__(self, arrays: list[StructArray], words: np.ndarray | None = None):
        self.arrays = {array.name: array for array in arrays}
        if len({array.slot for array in arrays}) < len(arrays):
            raise ValueError("arrays: two have the same slot (allowed: a slot of its own for each)")
        offsets, end = {}, HEADER_WORDS * 8
        for array in arrays:
            offsets[array.name] = end
            end += -(-array.count * array.dtype.itemsize // ALIGN_BYTES) * ALIGN_BYTES
        if words is None:
            words = aligned_words(end // 8)
            for array in arrays:
                words[array.slot] = offsets[array.name]
        self.words = words
        self._offsets = offsets
        self.handle = words.ctypes.data if JIT else PyWorld({a.slot: self[a.name] for a in arrays})

    def __getitem__(self, name: str) -> np.ndarray:
        """The structured view of one struct array; writing to it changes the machine."""
        array, start = self.arrays[name], self._offsets[name]
        return self.words.view(np.uint8)[start : start + array.count * array.dtype.itemsize].view(array.dtype)

    def extended(self, extra: list[StructArray]) -> "World":
        """A copy with more struct arrays, all zero."""
        other = World([*self.arrays.values(), *extra])
        other.words[HEADER_WORDS : len(self.words)] = self.words[HEADER_WORDS:]
        return other

    def copy(self) -> "World":
        """An independent copy (a fork)."""
        words = aligned_words(len(self.words))
        words[:] = self.words
        return World(list(self.arrays.values()), words)
