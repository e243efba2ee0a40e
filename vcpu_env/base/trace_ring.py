"""What a machine did, event by event: records in a part of the machine itself, off by default.

A record is eight integers: when, what, on which CPU, who, and four more whose meaning goes by the kind. `GROUPS` are
switched on one by one, by a word of the world's header (`World.traced`). What is not switched on costs a look at that
word where it could happen: at a switch, a wake-up, an exit, an interrupt, a lock's release. The compiler is told that
nothing else looks at records (`UNSEEN`): what it has loaded of the machine before such a place is good behind it, too.

Records are written until the room is used up. From then on they are only counted, so that nobody takes a part for the
whole: `trace_ring.written` above `trace_ring.length` says how many there would have been.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from vcpu_env.base.header import TRACE_AT
from vcpu_env.base.jit import JIT, entry_point
from vcpu_env.base.structs import Struct, StructArray

SCHED, KVM, YIELD, GUEST, IRQ, LOCK = 1, 2, 4, 8, 16, 32
GROUPS = {"sched": SCHED, "kvm": KVM, "yield": YIELD, "guest": GUEST, "irq": IRQ, "lock": LOCK}
ALL_GROUPS = SCHED | KVM | YIELD | GUEST | IRQ | LOCK

(
    SCHED_SWITCH, SCHED_WAKING, SCHED_TICK, CFS_THROTTLE, TASK_THROTTLE,
    KVM_ENTRY, KVM_EXIT, HALT_POLL, VM_LIFE,
    YIELD_SPIN, YIELD_SIBLINGS, YIELD_TARGET, YIELD_TO, YIELD_BOOST, YIELD_HINT, YIELD_NOBODY,
    GUEST_SEGMENT, GUEST_WAKING,
    IPI_SEND, IRQ_ACCEPT, IRQ_HANDLE,
    LOCK_WAIT, LOCK_TAKE, LOCK_RELEASE,
    NR_KINDS,
) = range(25)  # fmt: skip
"""Kinds of records; `vcpu_env.inspect.records` says what each one's numbers mean."""

trace_ring = Struct("trace_ring", [("length", "i8"), ("written", "i8")], single=True)
trace_record = Struct(
    "trace_record",
    [(name, "i8") for name in ("time_ns", "kind", "cpu", "who", "a", "b", "c", "d")],
)


UNSEEN = "cold nounwind willreturn memory(read, inaccessiblemem: readwrite)"
"""What the compiler is told of `write`: it changes only what no other compiled function looks at."""


def trace_arrays(length: int = 0) -> list[StructArray]:
    """Room for so many records; nothing where there is none."""
    return [trace_ring.array(), trace_record.array(length)] if length else []


def python_traced(w, groups):
    """Uncompiled: whether records of some groups are written."""
    return bool(w.header[TRACE_AT] & groups)


@intrinsic
def compiled_traced(typingctx, w, groups):
    """The same, told to be unlikely: what records is moved out of the way."""

    def look(context, builder, signature, args):
        word = context.get_value_type(types.intp)
        header, bits = (
            context.cast(builder, a, kind, types.intp) for a, kind in zip(args, signature.args, strict=True)
        )
        at = builder.gep(builder.inttoptr(header, word.as_pointer()), [word(TRACE_AT)])
        on = builder.icmp_signed("!=", builder.and_(builder.load(at), bits), word(0))
        flag = ir.IntType(1)
        expect = builder.module.declare_intrinsic("llvm.expect", [flag], ir.FunctionType(flag, [flag, flag]))
        return builder.call(expect, [on, flag(0)])

    return types.boolean(types.int64, types.int64), look


traced = compiled_traced if JIT else python_traced
"""Whether records of some groups are written: traced(w, SCHED)."""


@entry_point
def write(w, time_ns, kind, cpu, who, a, b, c, d):
    """Write one record, or only count it if there is no room."""
    ring = trace_ring(w)
    if ring.written < ring.length:
        entry = trace_record(w, ring.written)
        entry.time_ns = time_ns
        entry.kind = kind
        entry.cpu = cpu
        entry.who = who
        entry.a = a
        entry.b = b
        entry.c = c
        entry.d = d
    ring.written += 1
    return 0


@intrinsic
def compiled_record(typingctx, w, time_ns, kind, cpu, who, a, b, c, d):
    """A call of `write`, of which the compiler knows that it changes nothing that the machine reads."""
    numbers = (w, time_ns, kind, cpu, who, a, b, c, d)

    def call(context, builder, signature, args):
        word = context.get_value_type(types.intp)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(word, [word] * len(args)), write.symbol
        )
        set.add(function.attributes, UNSEEN)
        words = [context.cast(builder, arg, kind, types.intp) for arg, kind in zip(args, signature.args, strict=True)]
        return builder.call(function, words)

    return types.int64(*numbers), call


record = compiled_record if JIT else write
"""Write one record, or only count it if there is no room: record(w, time_ns, kind, cpu, who, a, b, c, d). 0 is a number
that means nothing. Ask `traced` first.
"""
