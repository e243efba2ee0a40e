"""Guest synchronisation, watched from outside after every single event of small overcommitted machines."""

import pytest

from tests.helpers.at_once import at_once
from tests.helpers.guests import Guests, check_guests, watched
from vcpu_env.base.jit import NIL
from vcpu_env.guest import workloads
from vcpu_env.guest.program import PICK_RANDOM, Program
from vcpu_env.guest.types import (
    SPIN_LOCK_KINDS,
)
from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario, apply_overrides, load_scenario

MSEC = 1_000_000
PART_BITS = 15
"""A VM's work counter holds a count for each of four parts of its program."""


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
        check_guests(guests)
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
        for vm, queue in zip(guests.vms, guests.queues, strict=True):
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
        check_guests(Guests(machine))
    for _ in watched(machine, machine.now_ns + MSEC // 2):
        pass
