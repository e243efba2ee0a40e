"""Threads, vCPUs, locks and queues of guests, and what must hold of them after every event."""

from collections import Counter

from tests.helpers.invariants import rows
from vcpu_env.base.jit import NIL
from vcpu_env.base.timeline import NEVER
from vcpu_env.guest.program import OP_SHOOTDOWN
from vcpu_env.guest.types import (
    BLOCKED,
    COMPUTE,
    LOCK_FIFO,
    LOCK_MUTEX,
    LOCK_RWSEM,
    RUNNABLE,
    RUNNING,
    SPIN_CALL,
    SPIN_LOCK,
    SPIN_OWNER,
)
from vcpu_env.machine import Machine


class Guests:
    """Threads, vCPUs, locks and queues at one instant."""

    def __init__(self, machine: Machine):
        world = machine.world
        self.threads, self.vcpus = rows(world["guest_thread"]), rows(world["guest_vcpu"])
        self.vms = rows(world["guest_vm"])
        # no struct array is empty: without locks or queues its one struct is unused
        locks = world["guest_lock"]
        self.locks = [lk for raw, lk in zip(locks, rows(locks), strict=True) if any(raw.tobytes())]
        self.grace_periods = rows(world["grace_period"])
        self.queues = [queue for queue in rows(world["guest_queue"]) if queue["capacity"]]
        io = int(world["event_slots"]["io"][0])
        self.io_ns = world["event"]["when_ns"][io : io + len(self.threads)].tolist()
        self.ops = world["guest_op"]["kind"].tolist()
        self.now_ns = machine.now_ns

    def chain(self, first: int) -> list[int]:
        """The threads of a list, from its head on."""
        members = []
        while first != NIL:
            assert first not in members, "a list that bites its tail"
            members.append(first)
            first = self.threads[first]["next"]
        return members

    def queue(self, ends: tuple[int, int]) -> list[int]:
        """The threads of a list with head and tail."""
        members = self.chain(ends[0])
        assert ends[1] == (members[-1] if members else NIL)
        return members

    def waiters(self, lock: int) -> list[int]:
        return self.queue(self.locks[lock]["spinners"])

    def sleepers(self, lock: int) -> list[int]:
        return self.queue(self.locks[lock]["sleepers"])

    def held(self, t: int) -> list[tuple[int, int]]:
        """The locks of a thread's stack, each with whether it is held for reading."""
        th = self.threads[t]
        return list(zip(th["held"], th["held_shared"], strict=True))[: th["nr_held"]]


def check_locks(guests: Guests):
    """At most one owner, or readers; who is said to own a lock has it, or has just been handed it."""
    holders = {(lock, shared): [] for lock in range(len(guests.locks)) for shared in (0, 1)}
    for t in range(len(guests.threads)):
        for lock, shared in guests.held(t):
            holders[lock, shared].append(t)
    for lock, lk in enumerate(guests.locks):
        owner, owners, readers = lk["owner"], holders[lock, 0], holders[lock, 1]
        assert len(owners) <= 1
        assert lk["readers"] == len(readers)
        assert not readers or (lk["kind"] == LOCK_RWSEM and owner == NIL)
        if owners:
            assert owner == owners[0]
        elif owner != NIL:
            assert guests.threads[owner]["granted"] and guests.threads[owner]["wait_lock"] == lock
        for t in guests.waiters(lock):
            th = guests.threads[t]
            assert th["wait_lock"] == lock and not th["granted"] and th["state"] == RUNNING
            assert th["activity"] == (SPIN_OWNER if lk["kind"] >= LOCK_MUTEX else SPIN_LOCK)
        for t in guests.sleepers(lock):
            assert lk["kind"] >= LOCK_MUTEX
            assert guests.threads[t]["wait_lock"] == lock and guests.threads[t]["state"] == BLOCKED
        if lk["kind"] == LOCK_FIFO:
            assert owner != NIL or not guests.waiters(lock), "a free lock with waiters"


def check_threads(guests: Guests):
    """Every thread is in exactly one place: on a vCPU, on a run queue, or asleep where something will wake it."""
    places = Counter()
    queued = set()
    for lock in range(len(guests.locks)):
        places.update(guests.waiters(lock))
        places.update(guests.sleepers(lock))
    for queue in guests.queues:
        places.update(guests.queue(queue["consumers"]))
        places.update(guests.queue(queue["producers"]))
    for period in guests.grace_periods:
        places.update(guests.queue(period["waiters"]))
        places.update(guests.queue(period["next_waiters"]))
    for v, g in enumerate(guests.vcpus):
        here = guests.queue(g["run_queue"])
        assert g["nr_queued"] == len(here)
        assert all(guests.threads[t]["state"] == RUNNABLE and guests.threads[t]["vcpu"] == v for t in here)
        places.update(here)
        queued.update(here)
        places.update(guests.chain(g["io_head"]))
    places.update(t for t, when_ns in enumerate(guests.io_ns) if when_ns != NEVER)
    current = Counter(g["current"] for g in guests.vcpus if g["current"] != NIL)
    assert max(places.values(), default=0) <= 1
    assert max(current.values(), default=0) <= 1
    for t, th in enumerate(guests.threads):
        assert (th["state"] == RUNNING) == (t in current)
        assert (th["state"] == RUNNABLE) == (t in queued)
        if th["state"] == BLOCKED:
            assert places[t] == 1 and th["activity"] == COMPUTE
        if t in current:
            assert guests.vcpus[th["vcpu"]]["current"] == t
            assert places[t] == (th["activity"] in (SPIN_LOCK, SPIN_OWNER) and not th["granted"])


def check_calls(guests: Guests):
    """While a caller waits, each target that has not answered has its request; nobody else has one."""
    for v, g in enumerate(guests.vcpus):
        vm = guests.vms[g["vm"]]
        asked = 0
        for i in range(vm["nr_vcpus"]):
            asked |= (guests.vcpus[vm["first_vcpu"] + i]["call_mask"] >> g["index"] & 1) << i
        th = guests.threads[g["current"]] if g["current"] != NIL else None
        if th and th["activity"] == SPIN_CALL:
            assert asked == g["csd_mask"]
            assert not g["csd_mask"] >> g["index"] & 1
        else:
            assert asked == 0, "a call that ended before all targets have answered"
            preparing = th is not None and th["stage"] == 1 and guests.ops[th["pc"]] == OP_SHOOTDOWN
            assert g["csd_mask"] == 0 or preparing, v


def check_guests(guests: Guests):
    check_locks(guests)
    check_threads(guests)
    check_calls(guests)


def watched(machine: Machine, end_ns: int):
    """The guests after every instant at which something happens, up to `end_ns`, checked."""
    when_ns = machine.world["event"]["when_ns"]
    while (next_ns := int(when_ns.min())) <= end_ns:
        machine.run_until(next_ns)
        guests = Guests(machine)
        check_guests(guests)
        yield guests
