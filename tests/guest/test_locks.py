"""Guest synchronisation, watched from outside after every single event of small overcommitted machines."""

from collections import Counter

import pytest

from tests.helpers.at_once import at_once
from vcpu_env.base.jit import NIL
from vcpu_env.base.timeline import NEVER
from vcpu_env.guest import workloads
from vcpu_env.guest.program import OP_SHOOTDOWN, PICK_RANDOM, Program
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
    SPIN_LOCK_KINDS,
    SPIN_OWNER,
)
from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario, apply_overrides, load_scenario

MSEC = 1_000_000
PART_BITS = 15
"""A VM's work counter holds a count for each of four parts of its program."""


def rows(array) -> list[dict]:
    """A struct array as plain integers."""
    return [dict(zip(array.dtype.names, row)) for row in array.tolist()]


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
        return list(zip(th["held"], th["held_shared"]))[: th["nr_held"]]


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


def check(guests: Guests):
    check_locks(guests)
    check_threads(guests)
    check_calls(guests)


def watched(machine: Machine, end_ns: int):
    """The guests after every instant at which something happens, up to `end_ns`, checked."""
    when_ns = machine.world["event"]["when_ns"]
    while (next_ns := int(when_ns.min())) <= end_ns:
        machine.run_until(next_ns)
        guests = Guests(machine)
        check(guests)
        yield guests


def parts(vm: dict) -> list[int]:
    """What `count` has counted in each part."""
    return [vm["work"] >> (PART_BITS * part) & ((1 << PART_BITS) - 1) for part in range(4)]


def count(program: Program, part: int, units: int = 1) -> None:
    """Let the program count in a part of its VM's work counter."""
    program.work(units << (PART_BITS * part))


@pytest.fixture
def machine_of(monkeypatch):
    """Make a machine of two VMs of 4 vCPUs on 2 CPUs, both with the guest that `build` plans."""

    def make(build, lock: str = "pvqspinlock", seed: int = 0, policy: str = "series-v2") -> Machine:
        workload = workloads.Workload("probe", "units", "a guest of a test", {}, lambda plan, _: build(plan))
        monkeypatch.setitem(workloads.WORKLOADS, "probe", workload)
        vms = [{"name": "vm", "count": 2, "vcpus": 4, "workload": "probe", "lock": lock}]
        return Machine(at_once(Scenario(name="probe", host={"cpus": 2}, vms=vms)), policy, seed)

    return make


def contenders(kind: str, threads: int = 6):
    """A guest whose threads want the same lock of a kind most of the time, for reading in two of three cases."""

    def build(plan):
        lock = {"futex": plan.futexes, "mutex": plan.rwsems, "rwsem": plan.rwsems}.get(kind, plan.spin_locks)(1)

        def critical(program, part, shared):
            program.lock(lock, shared=shared)
            program.kernel(2000, "exponential")
            count(program, part)
            program.unlock()

        for t in range(threads):
            program = Program()
            program.user(3000, "exponential")
            if kind == "rwsem":
                program.either(2 / 3, lambda p=program: critical(p, 3, True), lambda p=program: critical(p, 2, False))
            else:
                critical(program, t % 4, False)
            plan.thread(program)

    return build


KINDS = ["fifo", "tas", "pvqspinlock", "futex", "mutex", "rwsem"]


@pytest.mark.parametrize("kind", KINDS)
def test_one_owner_and_consistent_lists(machine_of, kind):
    lock = kind if kind in SPIN_LOCK_KINDS else "pvqspinlock"
    contended = readers = 0
    for guests in watched(machine_of(contenders(kind), lock), 12 * MSEC):
        contended += any(guests.waiters(0) + guests.sleepers(0))
        readers = max(readers, guests.locks[0]["readers"])
    assert contended > 100
    assert (readers >= 2) == (kind == "rwsem"), "readers share, and only they"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1])
def test_everybody_gets_the_lock(machine_of, kind, seed):
    lock = kind if kind in SPIN_LOCK_KINDS else "pvqspinlock"
    machine = machine_of(contenders(kind), lock, seed)
    acquisitions = 0
    for end_ns in range(20 * MSEC, 161 * MSEC, 20 * MSEC):
        machine.run_until(end_ns)
        guests = Guests(machine)
        check(guests)
        now = sum(lk["acquisitions"] for lk in guests.locks)
        assert now > acquisitions, "no progress"
        acquisitions = now
    for vm in guests.vms:
        assert all(parts(vm)[2:] if kind == "rwsem" else parts(vm))


def test_fifo_locks_are_first_come_first_served(machine_of):
    """Waiters leave from the front, and whoever owns the lock next is the one that left."""
    before: dict = {}
    handovers = 0
    for guests in watched(machine_of(contenders("fifo"), "fifo"), 12 * MSEC):
        for lock in range(len(guests.locks)):
            now = (guests.waiters(lock), guests.locks[lock]["owner"])
            waited, owner = before.get(lock, ([], NIL))
            gone = len(waited) - sum(t in now[0] for t in waited)
            assert now[0][: len(waited) - gone] == waited[gone:]
            if waited and now[1] != owner:
                assert gone and now[1] == waited[gone - 1]
                handovers += 1
            before[lock] = now
    assert handovers > 100


@pytest.mark.parametrize("room", [5, 40])
def test_queues_lose_and_invent_nothing(machine_of, room):
    """Producers put two items at a time, consumers take three; the counts are kept at the same instants."""

    def build(plan):
        queue = plan.queues(1, room)
        for _ in range(3):
            producer = Program()
            producer.user(5000, "exponential")
            producer.put(queue, items=2)
            count(producer, 0, 2)
            plan.thread(producer)
        for _ in range(2):
            consumer = Program()
            consumer.get(queue, items=3)
            count(consumer, 1, 3)
            consumer.user(6000, "exponential")
            plan.thread(consumer)

    full = empty = 0
    for guests in watched(machine_of(build), 20 * MSEC):
        for vm, queue in zip(guests.vms, guests.queues):
            put, got, *_ = parts(vm)
            assert queue["items"] == put - got
            assert 0 <= queue["items"] <= room
            full += queue["producers"][0] != NIL
            empty += queue["consumers"][0] != NIL
    assert all(min(parts(vm)[:2]) > 100 for vm in guests.vms)
    assert full > 0 or room > 5
    assert empty > 0


def test_nobody_passes_a_barrier_alone(machine_of):
    def build(plan):
        barrier = plan.barriers(4)
        for t in range(4):
            program = Program()
            program.user(10_000, "exponential")
            program.barrier(barrier)
            count(program, t)
            plan.thread(program)

    for guests in watched(machine_of(build), 30 * MSEC):
        for vm in guests.vms:
            assert max(parts(vm)) - min(parts(vm)) <= 1
    assert all(min(parts(vm)) > 10 for vm in guests.vms)


@pytest.mark.parametrize("policy", ["stock", "series-v2"])
def test_calls_end_when_all_have_answered(machine_of, policy):
    def build(plan):
        lock = plan.rwsems(1)
        for t in range(6):
            program = Program()
            program.user(20_000, "exponential")
            if t % 2:
                program.lock(lock, PICK_RANDOM)
                program.shootdown()
                program.unlock()
            else:
                program.shootdown(0.3)
            count(program, t % 4)
            plan.thread(program)

    waiting = 0
    for guests in watched(machine_of(build, policy=policy), 20 * MSEC):
        waiting += any(g["csd_mask"] for g in guests.vcpus)
    assert waiting > 100
    assert all(g["calls"] > 5 and g["ipi_call"] > 5 for g in guests.vcpus)


@pytest.mark.parametrize("lock", list(SPIN_LOCK_KINDS))
@pytest.mark.parametrize("workload", ["dbench", "dedup", "vips"])
def test_workloads_keep_all_of_it(workload, lock):
    """The shipped workloads, four VMs' worth of threads, looked at now and then, and at every event for a while."""
    overrides = [f"vms.*.lock={lock}", "host.cpus=4", "vms.*.vcpus=4"]
    machine = Machine(apply_overrides(load_scenario(f"{workload}-2vm"), overrides), "series-v2", 1)
    for end_ns in range(MSEC, 100 * MSEC, 1_234_567):
        machine.run_until(end_ns)
        check(Guests(machine))
    for _ in watched(machine, machine.now_ns + MSEC // 2):
        pass
