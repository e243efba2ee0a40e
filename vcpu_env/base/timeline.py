"""The machine's future events, totally ordered by (time, slot).

Every source of events (a CPU's tick, a CPU's running segment, a vCPU's timer, ...) owns one slot and has at most one
event in it, so nothing is ever left behind to be skipped later. Slots are numbered by priority, then by owner: at equal
times the lower slot is first, which makes the order total without a sequence number.

Eight slots that follow each other are a block, a cache line. Above them is a tree of nodes, eight to a block as well:
node n keeps the first event of its block, block n + 1 of the nodes or, behind the last of these, of the slots. An event
that is moved changes its block's node only where it is, or was, the block's first, and so on upwards; the next event is
the first of block 0. On hosts of hundreds of CPUs that is five steps where a tree of pairs would be fifteen.
"""

import numpy as np

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.structs import Struct, StructArray

NEVER = 1 << 62
"""Time of an event that is not going to happen (ns)."""

BLOCK = 8
"""Slots, or nodes of the tree above them, in a cache line."""

MOST_EVENTS_AT_ONCE = 1_000_000
"""Events at one instant after which time is taken to stand still."""

EVENTS_BETWEEN_LOOKS = 1 << 16
"""Events after which it is looked at whether time goes on, and a signal has come: about a tenth of a second."""

MOST_STEPS_AT_ONCE = 10_000
"""Steps of programs within one event after which time is taken to stand still."""

event = Struct("event", [("when_ns", "i8")])
earliest = Struct("earliest", [("when_ns", "i8"), ("slot", "i8")])
machine_clock = Struct(
    "machine_clock",
    [
        ("now_ns", "i8"),
        ("nr_nodes", "i8"),  # of the tree: block 0 and all others that are not of slots
        ("events", "i8"),
        ("check_events", "i8"),  # after so many events comes the next look
        ("checked_ns", "i8"),  # the time at the last look; NEVER: a program has been seen to take none
        ("checked_events", "i8"),  # the events at the first look at that time
        ("stalled_slot", "i8"),  # whose event it was when time was found to stand still
    ],
    single=True,
)


def nr_nodes(nr_slots: int) -> int:
    """How many nodes the tree over so many slots has: whole levels of 8, 64, ..."""
    nodes, level = BLOCK, BLOCK
    while level * BLOCK < nr_slots:
        level *= BLOCK
        nodes += level
    return nodes


def timeline_arrays(nr_slots: int) -> list[StructArray]:
    """The struct arrays of a timeline with `nr_slots` slots."""
    return [
        event.array(-(-nr_slots // BLOCK) * BLOCK),
        earliest.array(nr_nodes(nr_slots)),
        machine_clock.array(),
    ]


def init_timeline(world) -> None:
    """Make the timeline empty, at time 0."""
    world["machine_clock"]["nr_nodes"] = len(world["earliest"])
    world["machine_clock"]["check_events"] = EVENTS_BETWEEN_LOOKS
    world["machine_clock"]["stalled_slot"] = NIL
    world["event"]["when_ns"] = NEVER
    nodes = world["earliest"]
    nodes["when_ns"] = NEVER
    below = len(nodes) // BLOCK - 1  # nodes from here on have blocks of slots
    nodes["slot"][below:] = np.arange(len(nodes) - below) * BLOCK
    for node in range(below - 1, -1, -1):
        nodes["slot"][node] = nodes["slot"][(node + 1) * BLOCK]


def first_event(world) -> tuple[int, int]:
    """The slot of the next event, and its time."""
    when_ns = world["event"]["when_ns"]
    slot = int(when_ns.argmin())
    return slot, int(when_ns[slot])


@kjit
def first_of_slots(w, slot):
    """The slot whose event is first in a slot's block."""
    begin = slot & -BLOCK
    first, first_ns = begin, event(w, begin).when_ns
    for i in range(begin + 1, begin + BLOCK):
        when_ns = event(w, i).when_ns
        if when_ns < first_ns:
            first, first_ns = i, when_ns
    return first


@kjit
def first_of_nodes(w, node):
    """The slot whose event is first below a node's block."""
    begin = node & -BLOCK
    first, first_ns = begin, earliest(w, begin).when_ns
    for i in range(begin + 1, begin + BLOCK):
        when_ns = earliest(w, i).when_ns
        if when_ns < first_ns:
            first, first_ns = i, when_ns
    return earliest(w, first).slot


@kjit
def set_event(w, slot, when_ns):
    """Let the event of `slot` happen at `when_ns`, instead of whenever it was to happen; `NEVER` cancels it."""
    event(w, slot).when_ns = when_ns
    node = (machine_clock(w).nr_nodes + slot) // BLOCK - 1
    top = earliest(w, node)
    first = slot
    if top.when_ns < when_ns or (top.when_ns == when_ns and top.slot < slot):
        if top.slot != slot:
            return
        first = first_of_slots(w, slot)
    while True:
        first_ns, before = event(w, first).when_ns, top.slot
        if before == first and top.when_ns == first_ns:
            return
        top.slot, top.when_ns = first, first_ns
        if node < BLOCK:
            return
        below, node = node, node // BLOCK - 1
        top = earliest(w, node)
        if top.when_ns < first_ns or (top.when_ns == first_ns and top.slot < first):
            if top.slot != before:
                return
            first = first_of_nodes(w, below)


@kjit
def next_slot(w):
    """The slot of the next event."""
    return first_of_nodes(w, 0)


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
