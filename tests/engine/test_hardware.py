"""Busy hardware threads slow each other down; caches are lost by moving, the further the more."""

import pytest

from tests.helpers.at_once import at_once
from tests.helpers.invariants import assert_invariants, next_event_ns
from vcpu_env.base.jit import NIL
from vcpu_env.engine.hardware import core_changes, lose_caches, refill_ns
from vcpu_env.guest.types import FULL_SPEED, SEG_COMPUTE
from vcpu_env.kvm.pcpu import GUEST, HOST, IDLE
from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario

pytestmark = pytest.mark.core
MSEC = 1_000_000


def computing(topology: str | None, cpus: list[int], **host) -> Machine:
    """A VM of one vCPU that only computes, pinned, for each of `cpus`."""
    place = {"topology": topology} if topology else {"cpus": 4}
    one = {"vcpus": 1, "workload": "blackscholes", "params": {"threads": 1}}
    vms = [one | {"name": f"vm-{i}", "pinning": [cpu]} for i, cpu in enumerate(cpus)]
    return Machine(at_once(Scenario(name="computing", host=place | host, vms=vms)), "stock", 0)


def work(machine: Machine) -> list[float]:
    return [vm["work_units"] for vm in machine.counters()["vms"]]


def test_two_threads_of_a_core_do_13_tenths_of_the_work():
    alone, together = computing("1c2t", [0]), computing("1c2t", [0, 1])
    useful = []
    for machine in (alone, together):
        machine.run_until(100 * MSEC)
        useful.append(int(machine.world["guest_totals"]["useful_ns"][0]))
    assert useful[1] / useful[0] == pytest.approx(1.3, rel=0.01)
    lost = together.counters()["vms"][0]
    assert lost["smt_lost_ns"] / (lost["user_ns"] + lost["kernel_ns"]) == pytest.approx(0.35, rel=0.02)


def test_threads_of_different_cores_do_not_meet():
    """On CPUs 0 and 1 of "2c2t" the same as on a host without SMT, to the nanosecond."""
    with_smt, without = computing("2c2t", [0, 1]), computing(None, [0, 1])
    for machine in (with_smt, without):
        machine.run_until(20 * MSEC)
    keys = ("work_units", "user_ns", "kernel_ns", "run_ns", "smt_lost_ns")
    assert [[vm[key] for key in keys] for vm in with_smt.counters()["vms"]] == [
        [vm[key] for key in keys] for vm in without.counters()["vms"]
    ]


def test_speed_one_is_no_contention():
    shared, apart = computing("1c2t", [0, 1], costs={"smt_speed": 1.0}), computing("2c", [0, 1])
    for machine in (shared, apart):
        machine.run_until(20 * MSEC)
    assert work(shared) == work(apart)


def test_segment_is_timed_again_when_the_other_thread_stops_and_starts():
    """smt_speed 0.65 is 666 of 1024: the rest of a computation takes 1024/666 of itself, rounded up."""
    machine = computing("1c2t", [0, 1])
    w, world = machine.world.handle, machine.world
    machine.run_until(2 * MSEC)
    guest = world["guest_vcpu"]
    while guest["segment"][0] != SEG_COMPUTE or guest["cold_ns"][0] or world["pcpu"]["mode"].tolist() != [GUEST, GUEST]:
        machine.run_until(next_event_ns(machine))
    slot = int(world["event_slots"]["run"][0])
    now, thread = machine.now_ns, int(guest["current"][0])
    assert guest["speed_1024"].tolist() == [666, 666]
    left = int(world["guest_thread"]["remaining_ns"][thread])
    left -= (now - int(guest["segment_start_ns"][0])) * 666 >> 10
    world["pcpu"]["mode"][1] = IDLE
    core_changes(w, 1, now)
    assert guest["speed_1024"][0] == FULL_SPEED
    assert world["event"]["when_ns"][slot] == now + left
    world["pcpu"]["mode"][1] = HOST
    core_changes(w, 1, now + 1000)
    assert guest["speed_1024"][0] == 666
    assert world["event"]["when_ns"][slot] == now + 1000 + -(-(left - 1000) * 1024 // 666)


def test_price_of_a_move():
    """30 us within a cache, six times that within the node, ten times to another."""
    machine = computing("2s2l2c2t", [0])
    w = machine.world.handle
    assert [refill_ns(w, 0, last) for last in (NIL, 0, 8, 1, 2, 3, 4, 7)] == [30_000] * 4 + [180_000] * 2 + [
        300_000
    ] * 2


@pytest.mark.parametrize(
    ("last_cpu", "already", "lost"),
    [(0, 0, 3000), (0, 28_000, 30_000), (8, 0, 3000), (1, 0, 30_000), (2, 0, 180_000), (4, 5000, 300_000)]
    + [(0, 200_000, 200_000)],
)
def test_what_is_lost_adds_up_to_one_refill(last_cpu, already, lost):
    """Others ran for 10 us where it ran last: 0.3 of that on the same core; all of it anywhere else."""
    machine = computing("2s2l2c2t", [0])
    guest, cpus = machine.world["guest_vcpu"], machine.world["pcpu"]
    guest["last_cpu"], guest["last_guest_ns"], guest["cold_ns"] = last_cpu, 50_000, already
    cpus["guest_ns"][last_cpu] = 60_000
    lose_caches(machine.world.handle, 0, 0)
    assert guest["cold_ns"][0] == pytest.approx(lost, abs=10)


def shared_host(topology: str) -> Scenario:
    """Two VMs of four vCPUs on a host of four CPUs."""
    vms = [{"name": "vm", "count": 2, "vcpus": 4, "workload": "dedup", "params": {"threads": 4}}]
    return at_once(Scenario(name="shared", host={"topology": topology}, vms=vms))


@pytest.mark.parametrize("topology", ["2c2t", "2s2c", "2s1c2t", "4l1c"])
def test_invariants_after_every_event(topology):
    """Whole machines on every kind of host; a guest is slow if and only if its CPU's sibling is not idle."""
    machine = Machine(shared_host(topology), "series-v2", 3)
    world = machine.world
    for _ in range(400):
        machine.run_until(next_event_ns(machine))
        assert_invariants(machine)
        for v, cpu in enumerate(world["guest_vcpu"]["cpu"].tolist()):
            sibling = NIL if cpu == NIL else int(world["rq"]["sibling"][cpu])
            slow = sibling != NIL and world["pcpu"]["mode"][sibling] != IDLE
            if cpu != NIL:
                assert world["guest_vcpu"]["speed_1024"][v] == (666 if slow else FULL_SPEED)


def test_all_guest_time_is_accounted_for():
    """Useful, interrupts, spinning, lost to cold caches and to the other thread make user and kernel time."""
    machine = Machine(shared_host("2c2t"), "stock", 1)
    machine.run_until(15 * MSEC)
    vms = machine.counters()["vms"]
    total = {name: sum(vm[name] for vm in vms) for name in ("user_ns", "kernel_ns", "irq_ns", "spin_ns")}
    lost = sum(vm["cold_lost_ns"] + vm["smt_lost_ns"] for vm in vms)
    settled = machine.world["guest_vcpu"]
    open_ns = sum(vm["run_ns"] for vm in vms) - int(settled["run_ns"].sum())
    useful = int(machine.world["guest_totals"]["useful_ns"][0])
    work_ns = total["user_ns"] + total["kernel_ns"] - total["irq_ns"] - total["spin_ns"] - lost
    assert 0 <= work_ns - useful <= open_ns
    assert lost > 0
