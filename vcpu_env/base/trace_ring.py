"""What a machine did, event by event: records in a part of the machine itself, off by default.

A record is eight integers: when, what, on which CPU, who, and four more whose meaning goes by the kind. `GROUPS` are
switched on one by one: `trace_ring.on` has the bit of each. What is not switched on costs one load and one branch where
it could happen, and these places are rare: a switch, a wake-up, an exit, an interrupt, a lock that is contended.

Records are written until the room is used up. From then on they are only counted, so that nobody takes a part for the
whole: `trace_ring.written` above `trace_ring.length` says how many there would have been.
"""

from vcpu_env.base.jit import entry_point
from vcpu_env.base.structs import Struct, StructArray

SCHED, KVM, YIELD, GUEST, IRQ, LOCK = 1, 2, 4, 8, 16, 32
GROUPS = {"sched": SCHED, "kvm": KVM, "yield": YIELD, "guest": GUEST, "irq": IRQ, "lock": LOCK}
ALL_GROUPS = SCHED | KVM | YIELD | GUEST | IRQ | LOCK

(
    SCHED_SWITCH, SCHED_WAKING, SCHED_TICK,
    CPU_MODE, KVM_EXIT, VM_LIFE,
    YIELD_SPIN, YIELD_SIBLINGS, YIELD_TARGET, YIELD_TO, YIELD_BOOST, YIELD_HINT, YIELD_NOBODY,
    GUEST_SEGMENT, GUEST_WAKING,
    IPI_SEND, IRQ_ACCEPT, IRQ_HANDLE,
    LOCK_WAIT, LOCK_TAKE, LOCK_RELEASE,
    NR_KINDS,
) = range(22)  # fmt: skip
"""Kinds of records; `vcpu_env.inspect.records` says what each one's numbers mean."""

trace_ring = Struct("trace_ring", [("on", "i8"), ("length", "i8"), ("written", "i8")], single=True)
trace_record = Struct(
    "trace_record",
    [(name, "i8") for name in ("time_ns", "kind", "cpu", "who", "a", "b", "c", "d")],
)


def trace_arrays(length: int = 0) -> list[StructArray]:
    """The switches, and room for so many records; without any the records are not there."""
    return [trace_ring.array(), *([trace_record.array(length)] if length else [])]


@entry_point
def record(w, time_ns, kind, cpu, who, a, b, c, d):
    """Write one record, or only count it if there is no room. Ask `trace_ring.on` first."""
    ring = trace_ring(w, 0)
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
