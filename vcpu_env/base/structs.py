"""C-like structs, declared once: name, fields, and how functions of the machine reach them.

    sched_entity = Struct("sched_entity", [("vruntime", "i8"), ("deadline", "i8")])

    sched_entity.array(12)       # twelve of them, for the layout of a world
    se = sched_entity(w, i)      # in a function of the machine: a reference, as ``struct sched_entity *se``
    se.vruntime += delta

A struct that a world has one of takes no index: ``sched_tunables(w).base_slice_ns``. Compiled, an access is one load
and one address computation, and an index must be a valid id. With `VCPU_ENV_DEBUG=1` each is checked, as it always is
uncompiled.
"""

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numba
import numpy as np
from numba import types
from numba.extending import lower_builtin, type_callable

from vcpu_env.base.header import COUNTS_AT, FAULT_AT, STRUCTS, outside
from vcpu_env.base.jit import DEBUG, JIT

WORD_BYTES, LINE_BYTES = 8, 64


class StructView:
    """Uncompiled mode: a reference to one struct, also one within a struct, with attribute access."""

    __slots__ = ("_array", "_index")

    def __init__(self, array, index):
        object.__setattr__(self, "_array", array)
        object.__setattr__(self, "_index", index)

    def __getattr__(self, field):
        column = self._array[field]
        return StructView(column, self._index) if column.dtype.names else column[self._index]

    def __setattr__(self, field, value):
        self._array[field][self._index] = value


class PyWorld:
    """Uncompiled mode: stands for the state array ``w``; holds its header, and one structured view per struct."""

    def __init__(self, views, header):
        self.views = views
        self.header = header


def in_whole_lines(fields: list[tuple]) -> np.dtype:
    """The dtype of these fields, padded to whole cache lines if it is larger than half of one.

    So the first fields of every struct of an array begin a line, and those of two structs share none.
    """
    dtype = np.dtype(fields, align=True)
    if 2 * dtype.itemsize <= LINE_BYTES:
        return dtype
    names: Any = dtype.names
    layout: Any = dtype.fields
    return np.dtype(
        {
            "names": names,
            "formats": [layout[name][0] for name in names],
            "offsets": [layout[name][1] for name in names],
            "itemsize": -(-dtype.itemsize // LINE_BYTES) * LINE_BYTES,
        },
        align=True,
    )


class Struct:
    """A struct of the machine, and the accessor ``struct(w, index)`` of its array in a world.

    A copy or a pickle of it is a reference to it.

    Args:
        name: one of `header.STRUCTS`, which gives its number.
        fields: as of a dtype: (name, type) or (name, type, shape), in order, aligned as in C. What is used together
            belongs into one cache line.
        single: a world has one of it; its accessor takes no index: ``engine(w)``.

    Raises:
        ValueError: the name is not in `header.STRUCTS`, or is declared twice.
        IndexError: from the accessor, uncompiled or with `VCPU_ENV_DEBUG=1`: there is no such struct.
    """

    declared: ClassVar[dict[str, "Struct"]] = {}
    """All structs of the modules imported so far, by name."""

    def __init__(self, name: str, fields: Sequence[tuple], single: bool = False):
        if name not in STRUCTS:
            raise ValueError(f"struct {name}: unknown (allowed: names in header.STRUCTS)")
        if name in self.declared:
            raise ValueError(f"struct {name}: declared twice (allowed: once)")
        self.declared[name] = self
        self.name, self.number, self.single = name, STRUCTS.index(name), single
        self.module: str = sys._getframe(1).f_globals["__name__"]
        self.dtype = np.dtype(list(fields), align=True) if single else in_whole_lines(list(fields))
        self.fields: tuple[str, ...] = self.dtype.names or ()
        if JIT:
            compile_accessor(self)

    def __call__(self, w, *indices):
        array = w.views.get(self.number, ())
        (index,) = indices or (0,) * self.single
        if not 0 <= index < len(array):
            raise IndexError(outside(self.name, index, len(array)))
        return StructView(array, index)

    def __reduce__(self):
        return declared_struct, (self.module, self.name)

    def place(self, field: str) -> int:
        """Which word of it a field is, for `write_word`.

        Raises:
            ValueError: the field is not one word.
        """
        fields: Any = self.dtype.fields
        kind, offset = fields[field][:2]
        if kind != np.int64:
            raise ValueError(f"struct {self.name}: field {field} is {kind} (allowed: int64)")
        return int(offset) // WORD_BYTES

    def array(self, count: int = 1) -> "StructArray":
        """So many of it, for the layout of a world."""
        if self.single and count != 1:
            raise ValueError(f"struct {self.name}: {count} of it (allowed: 1)")
        return StructArray(self, count)


def declared_struct(module: str, name: str) -> Struct:
    """The struct of this name, whose module may not have been imported yet.

    Raises:
        ValueError: there is none.
    """
    importlib.import_module(module)
    if name not in Struct.declared:
        raise ValueError(f"struct {name}: unknown (allowed: those of this version)")
    return Struct.declared[name]


@dataclass(frozen=True)
class StructArray:
    """One struct array of a layout: what of, and how many."""

    struct: Struct
    count: int

    @property
    def number(self) -> int:
        """Where the header of a world has its offset."""
        return self.struct.number

    @property
    def name(self) -> str:
        """The struct's."""
        return self.struct.name

    @property
    def dtype(self) -> np.dtype:
        """The struct's."""
        return self.struct.dtype


def write_word(w, number, place, value):
    """Write to a field that is known when the machine runs only: a word of the single struct of a number."""
    w.views[number].view(np.int64).reshape(-1)[place] = value


def compile_write_word() -> None:
    """Teach the compiler what ``write_word(w, number, place, value)`` means."""

    @type_callable(write_word)
    def type_write(context):
        return lambda w, number, place, value: types.void

    @lower_builtin(write_word, types.Any, types.Any, types.Any, types.Any)
    def write(context, builder, signature, args):
        word = context.get_value_type(types.intp)
        w, number, place, value = (
            context.cast(builder, a, kind, types.intp) for a, kind in zip(args, signature.args, strict=True)
        )
        header = builder.inttoptr(w, word.as_pointer())
        struct = builder.inttoptr(builder.add(w, builder.load(builder.gep(header, [number]))), word.as_pointer())
        builder.store(value, builder.gep(struct, [place]))
        return context.get_dummy_value()


if JIT:
    compile_write_word()


def compile_accessor(struct: Struct) -> None:
    """Teach the compiler what ``struct(w, index)`` means, or ``struct(w)`` of a single one."""
    record = numba.from_dtype(struct.dtype)

    def of_single(w):
        return record

    def of_array(w, index):
        return record if isinstance(index, types.Integer | types.Boolean) else None

    @type_callable(struct)
    def type_accessor(context):
        return of_single if struct.single else of_array

    @lower_builtin(struct, *[types.Any] * (1 if struct.single else 2))
    def reference(context, builder, signature, args):
        word = context.get_value_type(types.intp)
        w, *indices = (context.cast(builder, a, kind, types.intp) for a, kind in zip(args, signature.args, strict=True))
        (index,) = indices or (word(0),)
        header = builder.inttoptr(w, word.as_pointer())
        if DEBUG:
            check_index(context, builder, header, struct, index)
        address = builder.add(w, builder.load(builder.gep(header, [word(struct.number)])))
        address = builder.add(address, builder.mul(index, word(struct.dtype.itemsize)))
        return builder.inttoptr(address, context.get_value_type(record))


def check_index(context, builder, header, struct: Struct, index) -> None:
    """Emit code that leaves the function with an exception if the world has no such struct.

    An exception says only what is known now, and one that leaves an entry point is printed and then lost; therefore
    the first wrong index is also noted in the header, where `jit.call` looks.
    """
    word = context.get_value_type(types.intp)

    def at(place):
        return builder.gep(header, [word(place)])

    count = builder.load(at(COUNTS_AT + struct.number))
    with builder.if_then(builder.icmp_unsigned(">=", index, count), likely=False):
        fault = at(FAULT_AT)
        with builder.if_then(builder.icmp_signed("==", builder.load(fault), word(0))):
            builder.store(word(struct.number + 1), fault)
            builder.store(index, at(FAULT_AT + 1))
        context.call_conv.return_user_exc(builder, IndexError, (f"struct {struct.name}: index that it does not have",))
