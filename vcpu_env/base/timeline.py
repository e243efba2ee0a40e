"""The machine's future events, totally ordered by (time, slot).

Every source of events (a CPU's tick, a CPU's running segment, a vCPU's timer, ...) owns one slot and has at most one
event in it, so nothing is ever left behind to be skipped later. Slots are numbered by priority, then by owner: at equal
times the lower slot is first, which makes the order total without a sequence number. A winner tree over the slots gives
the next event at its root; moving or cancelling one costs one path to the root, usually less. A node keeps its
winner's time as well, so that a match reads the two children, which share a cache line, and nothing else: on hosts of
hundreds of CPUs the tree is larger than the first-level cache.
"""

import numpy as np

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.structs import Struct, StructArray

NEVER = 1 << 62
"""Time of an event that is not going to happen (ns)."""

MOST_EVENTS_AT_ONCE = 1_000_000
"""Events at one instant after which time is taken to stand still."""

EVENTS_BETWEEN_LOOKS = 1 << 16
"""Events after which it is looked at whether time goes on, and a signal has come: about a tenth of a second."""

MOST_STEPS_AT_ONCE = 10_000
"""Steps of programs within one event after which time is taken to stand still."""

event = Struct("event", [("when_ns", "i8")])
winner = Struct("winner", [("slot", "i8"), ("when_ns", "i8")])
machine_clock = Struct(
    "machine_clock",
    [
        ("now_ns", "i8"),
        ("leaves", "i8"),
        ("events", "i8"),
        ("check_events", "i8"),  # after so many events comes the next look
        ("checked_ns", "i8"),  # the time at the last look; NEVER: a program has been seen to take none
        ("checked_events", "i8"),  # the events at the first look at that time
        ("stalled_slot", "i8"),  # whose event it was when time was found to stand still
    ],
    single=True,
)


def timeline_arrays(nr_slots: int) -> list[StructArray]:
    """The struct arrays of a timeline with `nr_slots` slots."""
    leaves = 1 << max(1, (nr_slots - 1).bit_length())
    return [
        event.array(leaves),
        winner.array(2 * leaves),
        machine_clock.array(),
    ]


def init_timeline(world) -> None:
    """Make the timeline empty, at time 0."""
    leaves = len(world["event"])
    world["machine_clock"]["leaves"] = leaves
    world["machine_clock"]["check_events"] = EVENTS_BETWEEN_LOOKS
    world["machine_clock"]["stalled_slot"] = NIL
    world["event"]["when_ns"] = NEVER
    world["winner"]["when_ns"] = NEVER
    slots = world["winner"]["slot"]
    slots[leaves:] = np.arange(leaves)
    for node in range(leaves - 1, 0, -1):
        slots[node] = slots[2 * node]


@kjit
def set_event(w, slot, when_ns):
    """Let the event of `slot` happen at `when_ns`, instead of whenever it was to happen; `NEVER` cancels it."""
    event(w, slot).when_ns = when_ns
    node = slot + machine_clock(w).leaves
    winner(w, node).when_ns = when_ns
    node >>= 1
    while node >= 1:
        left, right, here = winner(w, 2 * node), winner(w, 2 * node + 1), winner(w, node)
        best, best_ns = left.slot, left.when_ns
        if right.when_ns < best_ns:
            best, best_ns = right.slot, right.when_ns
        if here.slot == best and here.when_ns == best_ns:
            return
        here.slot, here.when_ns = best, best_ns
        node >>= 1


@kjit
def next_slot(w):
    """The slot of the next event."""
    return winner(w, 1).slot


@kjit
def note_stall(w):
    """A program that is under way takes no time, however long it is followed: the machine is stopped at this event."""
    clock = machine_clock(w)
    clock.checked_ns = NEVER
    clock.check_events = 0


@kjit
def time_stands_still(w, slot):
    """Whether there have been too many events since the clock last moved; `slot` is the last one's."""
    clock = machine_clock(w)
    if clock.checked_ns != NEVER and clock.checked_ns != clock.now_ns:
        clock.checked_ns, clock.checked_events = clock.now_ns, clock.events
    elif clock.checked_ns == NEVER or clock.events - clock.checked_events >= MOST_EVENTS_AT_ONCE:
        clock.stalled_slot = slot
        return True
    clock.check_events = clock.events + EVENTS_BETWEEN_LOOKS
    return False
