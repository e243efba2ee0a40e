"""What the numbers of a machine's records mean: a name for each kind, each field and each value that stands for a word.

The names are what `vcpu-env trace --format jsonl` writes; docs/trace.md describes them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from vcpu_env.base import trace_ring as kinds
from vcpu_env.engine.yield_trace import CODE_BITS, CODES_A_WORD, FOUND_NONE, RULED_NOBODY, RULED_PLAIN
from vcpu_env.guest.types import (
    COMPUTE,
    LOCK_FUTEX,
    LOCK_MUTEX,
    LOCK_RWSEM,
    OVERHEAD,
    SEG_COMPUTE,
    SEG_IRQ,
    SEG_SPIN,
    SPIN_CALL,
    SPIN_LOCK,
    SPIN_LOCK_KINDS,
    SPIN_OWNER,
    SPIN_STEAL,
)
from vcpu_env.kernel.yield_types import SKIP_NAMES
from vcpu_env.kvm.lapic import VECTOR_CALL, VECTOR_IO, VECTOR_RESCHEDULE, VECTOR_TIMER
from vcpu_env.kvm.pcpu import GUEST, HOST, IDLE, POLL, TASK

MODES = {IDLE: "idle", HOST: "host", POLL: "poll", GUEST: "guest", TASK: "task"}
EXITS = {0: "EXTERNAL_INTERRUPT", 1: "HLT", 2: "PAUSE_INSTRUCTION", 3: "VMCALL"}
"""Exit reasons by the names that KVM has for those of VMX; 0: the host interrupted the guest."""
VECTORS = {
    0: None, VECTOR_TIMER: "timer", VECTOR_CALL: "call", VECTOR_RESCHEDULE: "reschedule", VECTOR_IO: "io",
    OVERHEAD: "kernel",
}  # fmt: skip
"""`kernel` is no interrupt: work that the guest kernel does before anything else, such as a switch of threads."""
SEGMENTS = {SEG_IRQ: "irq", SEG_COMPUTE: "compute", SEG_SPIN: "spin"}
SPINS = {
    COMPUTE: None, SPIN_LOCK: "lock", SPIN_OWNER: "owner", SPIN_CALL: "call", SPIN_STEAL: "steal",
}  # fmt: skip
LOCK_KINDS = {number: name for name, number in SPIN_LOCK_KINDS.items()} | {
    LOCK_MUTEX: "mutex", LOCK_FUTEX: "futex", LOCK_RWSEM: "rwsem",
}  # fmt: skip
BOOSTS = (
    "rule", "hint", "penalty", "credit", "transfer", "plain", "stay", "stay_credit", "minimal", "force", "borrow",
)  # fmt: skip
SIBLINGS = ("self", "not_ready", "halted", "refused", "relaxed", "spinning", "good")
WHY_NOBODY = {FOUND_NONE: "all_refused", RULED_NOBODY: "rule", RULED_PLAIN: "plain_yield"}


MASK, SHIFTS = (1 << CODE_BITS) - 1, range(0, CODE_BITS * CODES_A_WORD, CODE_BITS)


class Kind(NamedTuple):
    """One kind of record.

    Attributes:
        event: its name.
        fields: names of `who`, `a`, `b`, `c`, `d`; None: that number means nothing.
        words: of some fields the word for each value.
    """

    event: str
    fields: tuple[str | None, ...]
    words: dict[str, Any] = {}


KINDS: dict[int, Kind] = {
    kinds.SCHED_SWITCH: Kind("sched_switch", ("prev", "next", "prev_sleeps")),
    kinds.SCHED_WAKING: Kind("sched_waking", ("task", "waker_cpu", "waker", "new")),
    kinds.SCHED_TICK: Kind("sched_tick", ("task", "nr_running")),
    kinds.CFS_THROTTLE: Kind("cfs_throttle", ("group", "throttled")),
    kinds.TASK_THROTTLE: Kind("task_throttle", ("task", "throttled")),
    kinds.KVM_ENTRY: Kind("kvm_entry", ("vcpu",)),
    kinds.HALT_POLL: Kind("halt_poll", ("vcpu", "limit_ns")),
    kinds.KVM_EXIT: Kind("kvm_exit", ("vcpu", "reason", "ple_window_ns", "thread"), {"reason": EXITS}),
    kinds.VM_LIFE: Kind("vm", ("vm", "begins")),
    kinds.YIELD_SPIN: Kind("yield_spin", ("vcpu", "awaited", "lock", "since_ns", "scan_start")),
    kinds.YIELD_SIBLINGS: Kind("yield_siblings", ("vcpu",)),
    kinds.YIELD_TARGET: Kind("yield_target", ("target", "lag_ns", "chain_lag_ns", "waited_ns", "nr_running")),
    kinds.YIELD_TO: Kind("yield_to", ("vcpu", "target", "ret", "target_cpu", "hypercall")),
    kinds.YIELD_BOOST: Kind(
        "yield_boost",
        ("vcpu", "boost", "penalty_ns", "skip", "credit_ns"),
        {"boost": dict(enumerate(BOOSTS)), "skip": dict(enumerate(SKIP_NAMES))},
    ),
    kinds.YIELD_HINT: Kind("yield_hint", ("target", "next", "ran", "awaited")),
    kinds.YIELD_NOBODY: Kind("yield_nobody", ("vcpu", "why"), {"why": WHY_NOBODY}),
    kinds.GUEST_SEGMENT: Kind("guest_segment", ("vcpu", "segment", "thread", "on", "how"), {"segment": SEGMENTS}),
    kinds.GUEST_WAKING: Kind("guest_waking", ("thread", "vcpu", "waker_vcpu", "waker", "ipi")),
    kinds.IPI_SEND: Kind("ipi_send", ("vcpu", "target", "vector"), {"vector": VECTORS}),
    kinds.IRQ_ACCEPT: Kind("irq_accept", ("vcpu", "vector", "merged", "blocked"), {"vector": VECTORS}),
    kinds.IRQ_HANDLE: Kind("irq_handle", ("vcpu", "vector", "work_ns"), {"vector": VECTORS}),
    kinds.LOCK_WAIT: Kind("lock_wait", ("thread", "lock", "holder", "kind", "vcpu"), {"kind": LOCK_KINDS}),
    kinds.LOCK_TAKE: Kind("lock_take", ("thread", "lock", "waited_ns", None, "vcpu")),
    kinds.LOCK_RELEASE: Kind("lock_release", ("thread", "lock", None, None, "vcpu")),
}
"""Every kind of record."""

KIND, WHO = 1, 3
"""Places in a record, as in `recorder.Recording.entries`; the numbers `a` .. `d` follow `who`."""

LAYOUT = {
    number: (
        kind.event,
        [(name, WHO + i, kind.words.get(name)) for i, name in enumerate(kind.fields) if name is not None],
    )
    for number, kind in KINDS.items()
}
"""Of each kind its name, and of each field the name, the place, and its words."""


def described(entry: Sequence[int]) -> dict[str, Any]:
    """A record as JSON can say it: ``t`` in ns, ``cpu``, ``event``, and the fields of its kind by name."""
    kind = entry[KIND]
    event, fields = LAYOUT[kind]
    line: dict[str, Any] = {"t": entry[0], "cpu": entry[2], "event": event}
    for name, place, words in fields:
        line[name] = entry[place] if words is None else words[entry[place]]
    if kind == kinds.GUEST_SEGMENT:
        line |= of_segment(*entry[WHO + 1 :])
    return line


def of_segment(segment: int, thread: int, on: int, how: int) -> dict[str, Any]:
    """What a segment's `on` and `how` mean: a vector, a lock and the kind of spinning, or kernel mode."""
    if segment == SEG_IRQ:
        return {"on": VECTORS[on], "how": None}
    if segment == SEG_SPIN:
        return {"on": on, "how": SPINS[how]}
    return {"on": None, "how": "kernel" if how else "user"}


def sibling_codes(entry: Sequence[int]) -> list[int]:
    """The codes of a `YIELD_SIBLINGS` record, in scan order; those beyond the VM's last vCPU read as the spinner."""
    return [word >> shift & MASK for word in entry[WHO + 1 :] for shift in SHIFTS]
