"""The view of a decision as a user's rule gets it: its fields, its lists up to the last candidate, nothing to write to.

A reference to the struct in the machine's state, and how many steps the rule has taken. Lists are read-only arrays of
as many entries as there are candidates. Only the outputs can be set, which `policy.sealed` sees to.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    infer_getattr,
    intrinsic,
    lower_getattr_generic,
    lower_setattr_generic,
    models,
    overload,
    register_model,
)
from numba.np.arrayobj import populate_array

LENGTH = "nr_candidates"
"""The field that says how long the lists are."""

WORD = ir.IntType(64)
LIST = types.Array(types.int64, 1, "C", readonly=True)


class Decision:
    """Uncompiled: a rule's view of a decision."""

    __slots__ = ("record", "steps")

    def __init__(self, record: np.void):
        object.__setattr__(self, "record", record)
        object.__setattr__(self, "steps", 0)

    def __getattr__(self, name: str) -> Any:
        value = self.record[name]
        if np.ndim(value) == 0:
            return int(value)
        entries = value[: self.record[LENGTH]]
        entries.flags.writeable = False
        return entries

    def __setattr__(self, name: str, value: int) -> None:
        self.record[name] = value


class DecisionType(types.Type):
    """Compiled: a rule's view of a decision, a struct of this layout."""

    def __init__(self, layout: np.dtype):
        self.layout = layout
        super().__init__(name="view")

    def kind(self, name: str) -> types.Type | None:
        """The type of a field; None: there is none."""
        if name not in (self.layout.names or ()):
            return None
        return LIST if self.layout[name].shape else types.int64

    def offset(self, name: str) -> int:
        """Where a field lies in the struct."""
        fields: Any = self.layout.fields
        return int(fields[name][1])


@register_model(DecisionType)
class DecisionModel(models.StructModel):
    """In registers: where the struct is, and where the count of steps."""

    def __init__(self, manager, view):
        super().__init__(manager, view, [("record", types.voidptr), ("steps", types.CPointer(types.int64))])


@infer_getattr
class DecisionAttributes(AttributeTemplate):
    """The types of a view's fields."""

    key = DecisionType

    def generic_resolve(self, view, name):
        return view.kind(name)


def field_address(context, builder, view, value, name):
    """Where a field of a view lies."""
    record = cgutils.create_struct_proxy(view)(context, builder, value).record
    return builder.bitcast(cgutils.pointer_add(builder, record, view.offset(name)), WORD.as_pointer())


@lower_getattr_generic(DecisionType)
def read_field(context, builder, view, value, name):
    """A field: a number, or a list as long as there are candidates."""
    address = field_address(context, builder, view, value, name)
    if view.kind(name) is not LIST:
        return builder.load(address)
    entries = context.make_array(LIST)(context, builder)
    length = builder.load(field_address(context, builder, view, value, LENGTH))
    populate_array(entries, data=address, shape=[length], strides=[WORD(8)], itemsize=WORD(8), meminfo=None)
    return entries._getvalue()


@lower_setattr_generic(DecisionType)
def write_field(context, builder, signature, args, name):
    """Set an output."""
    builder.store(args[1], field_address(context, builder, signature.args[0], args[0], name))


def decision_at(view: DecisionType) -> Any:
    """The compiled function that makes the view of the struct at a pointer, no step taken."""

    @intrinsic
    def make(typingctx, pointer):
        signature = view(types.voidptr)

        def codegen(context, builder, signature, args):
            made = cgutils.create_struct_proxy(view)(context, builder)
            made.record = args[0]
            made.steps = cgutils.alloca_once_value(builder, WORD(0))
            return made._getvalue()

        return signature, codegen

    return make


def count_step(view):
    """Count a step; returns how many there have been."""
    object.__setattr__(view, "steps", view.steps + 1)
    return view.steps


@intrinsic
def add_step(typingctx, view):
    """Count a step; returns how many there have been."""
    signature = types.int64(view)

    def codegen(context, builder, signature, args):
        steps = cgutils.create_struct_proxy(view)(context, builder, args[0]).steps
        count = builder.add(builder.load(steps), WORD(1))
        builder.store(count, steps)
        return count

    return signature, codegen


@overload(count_step)
def compiled_count_step(view):
    """`count_step`, compiled."""
    return lambda view: add_step(view)
