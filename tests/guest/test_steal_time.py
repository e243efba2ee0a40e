"""What a guest is told of lost CPUs, and the features that live on it: owner spin, PV TLB flush, PV sched-yield."""

import pytest

from tests.helpers.at_once import at_once
from tests.helpers.guest_probe import Probe
from tests.helpers.guests import check_guests, watched
from vcpu_env.base.jit import NIL
from vcpu_env.guest import locks
from vcpu_env.guest.steal_time import kvm_flush_tlb_multi, kvm_smp_send_call_func_ipi, vcpu_is_preempted
from vcpu_env.guest.threads import looks_idle
from vcpu_env.guest.types import HALTED_IDLE, HC_NONE, KVM_HC_SCHED_YIELD, LOCK_MUTEX, SPIN_OWNER
from vcpu_env.kvm.pcpu import GUEST
from vcpu_env.kvm.preempt import KVM_VCPU_FLUSH_TLB, KVM_VCPU_PREEMPTED
from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario, ScenarioError

MSEC = 1_000_000
TOLD = {"lock": "fifo", "steal_time": "reported"}


def crowd(workload: str = "dedup", run_ms: int = 20, policy: str = "stock", **fields) -> Machine:
    """Two VMs of 4 vCPUs on 2 CPUs, run for a while."""
    vms = [{"name": "vm", "count": 2, "vcpus": 4, "workload": workload, **fields}]
    machine = Machine(at_once(Scenario(name="crowd", host={"cpus": 2}, vms=vms)), policy, 1)
    machine.run_until(run_ms * MSEC)
    return machine


def total(machine: Machine, name: str) -> int:
    return sum(vm[name] for vm in machine.counters()["vms"])


@pytest.mark.core
@pytest.mark.parametrize(
    ("steal_time", "preempted", "byte", "told"),
    [
        ("off", 1, 1, False),
        ("every", 1, 0, True),
        ("every", 0, 1, False),
        ("reported", 1, 0, False),
        ("reported", 1, KVM_VCPU_PREEMPTED, True),
        ("reported", 1, KVM_VCPU_FLUSH_TLB, False),
    ],
)
def test_what_the_guest_is_told(steal_time, preempted, byte, told):
    vm = Probe(steal_time=steal_time)
    vm.set("kvm_vcpu", 2, preempted=preempted, st_preempted=byte)
    assert bool(vcpu_is_preempted(vm.w, 2)) == told
    vm.set("guest_vcpu", 2, current=NIL)
    assert bool(looks_idle(vm.w, 2)) != told
    vm.set("guest_vcpu", 2, halted=HALTED_IDLE)
    assert looks_idle(vm.w, 2)


@pytest.mark.core
@pytest.mark.parametrize("lock", ["pvqspinlock", "fifo", "tas"])
def test_default_follows_the_lock(lock):
    vm = Scenario(name="a", vms=[{"name": "vm", "vcpus": 2, "workload": "dedup", "lock": lock}]).vms[0]
    assert vm.steal_time == ("reported" if lock == "pvqspinlock" else "off")
    assert (vm.pv_tlb_flush, vm.pv_sched_yield, vm.ipi_mode, vm.balance) == (False, False, "phys", "periodic")


@pytest.mark.core
@pytest.mark.parametrize("feature", ["pv_tlb_flush", "pv_sched_yield"])
def test_features_need_steal_time(feature):
    message = rf"^vms.0.{feature}: value True \(allowed: with steal_time 'every' or 'reported'\)$"
    with pytest.raises(ScenarioError, match=message):
        Scenario(name="a", vms=[{"name": "vm", "vcpus": 2, "workload": "dedup", "lock": "fifo", feature: True}])


@pytest.mark.core
def test_layout_names_the_features():
    vm = {"name": "vm", "vcpus": 2, "workload": "dedup"}
    assert Scenario(name="a", vms=[vm]).layout == "launched, per_vm cgroups, pvqspinlock locks, Linux 6.19"
    both = Scenario(name="a", vms=[vm | {"pv_tlb_flush": True, "pv_sched_yield": True}])
    assert both.layout == "launched, per_vm cgroups, pvqspinlock locks, pv_tlb_flush, pv_sched_yield, Linux 6.19"


# sleeping locks


def optimistic_spinners(**fields) -> Probe:
    """Thread 0 owns a mutex, 1, 2 and 3 spin for it in that order."""
    vm = Probe(**fields)
    vm.set("guest_lock", 0, kind=LOCK_MUTEX, owner=0, spinners=(1, 3))
    for t in (1, 2, 3):
        vm.set("guest_thread", t, activity=SPIN_OWNER, wait_lock=0, next=t + 1 if t < 3 else NIL)
    return vm


@pytest.mark.core
@pytest.mark.parametrize(
    ("steal_time", "lost", "go_on"),
    [
        ("reported", 0, [False, True, True]),  # the owner's vCPU: its spinner stops
        ("reported", 1, [True, False, True]),  # the one before me: I stop
        ("every", 0, [False, False, False]),
        ("every", 1, [True, True, True]),
        ("off", 0, [True, True, True]),
    ],
)
def test_who_goes_on_spinning_for_an_owner(steal_time, lost, go_on):
    vm = optimistic_spinners(steal_time=steal_time)
    vm.set("kvm_vcpu", lost, preempted=1, st_preempted=KVM_VCPU_PREEMPTED)
    assert [bool(locks.spins_on(vm.w, 0, t)) for t in (1, 2, 3)] == go_on


@pytest.mark.core
def test_the_next_spinner_is_told_when_the_first_gives_up():
    vm = optimistic_spinners(steal_time="reported")
    vm.set("kvm_vcpu", 0, preempted=1, st_preempted=KVM_VCPU_PREEMPTED)
    assert [int(locks.try_spinner(vm.w, t, 1000)) for t in (2, 1)] == [0, -1]
    run = int(vm.world["event_slots"]["run"][0])
    assert vm.world["event"]["when_ns"][run + 2] < 1000 + 100 + 45  # a cache-line transfer and a turn of the loop
    assert vm.world["event"]["when_ns"][run + 3] > MSEC


@pytest.mark.core
def test_who_gave_up_sleeps_although_the_owner_runs():
    vm = optimistic_spinners(steal_time="reported")
    vm.set("kvm_vcpu", 1, preempted=1, st_preempted=KVM_VCPU_PREEMPTED)
    assert locks.try_spinner(vm.w, 2, 1000) == -1
    assert [bool(locks.owner_runs(vm.w, 0)), int(locks.acquire(vm.w, 2, 0, 0, 1000))] == [True, -1]
    locks.sleep_on(vm.w, 2, 0, 1000)
    assert vm.get("guest_lock", 0, "sleepers", "spinners") == ((2, 2), (1, 3))
    vm.set("guest_lock", 0, owner=NIL, spinners=(NIL, NIL))
    vm.set("guest_thread", 3, gave_up=1)
    assert (locks.acquire(vm.w, 3, 0, 0, 2000), vm.get("guest_thread", 3, "gave_up")) == (1, 0)


@pytest.mark.parametrize("policy", ["stock", "series-v2"])
def test_sleeping_locks_stay_consistent(policy):
    """dedup and vips take mmap_lock; watched after every event with all features on."""
    fields = {"pv_tlb_flush": True, "pv_sched_yield": True, "steal_time": "reported", "balance": "periodic"}
    for workload in ("dedup", "vips"):
        machine = crowd(workload, 10, policy, **fields)
        for guests in watched(machine, 11 * MSEC):
            check_guests(guests)


def test_much_spinning_for_owners_ends():
    """Every madvise takes mmap_lock, so that threads spin in a queue behind others that lose their CPUs."""
    params = {"mmap_lock_share": 1, "mprotect_per_madvise": 1}
    machine = crowd("dedup", 60, "series-v2", params=params, **TOLD)
    half = machine.world["guest_lock"]["acquisitions"].sum()
    machine.run_until(120 * MSEC)
    assert machine.world["guest_lock"]["acquisitions"].sum() > half > 0


# PV TLB flush


@pytest.mark.core
@pytest.mark.parametrize("steal_time", ["reported", "every"])
def test_flush_is_left_to_the_host_for_a_preempted_target(steal_time):
    vm = Probe(steal_time=steal_time, pv_tlb_flush=True)
    vm.set("guest_vcpu", 0, csd_mask=0b1110)
    vm.set("kvm_vcpu", 2, preempted=1, st_preempted=KVM_VCPU_PREEMPTED)
    assert kvm_flush_tlb_multi(vm.w, 0) == 2
    assert vm.get("guest_vcpu", 0, "csd_mask", "flushes_deferred") == (0b1010, 1)
    assert vm.world["kvm_vcpu"]["st_preempted"].tolist() == [0, 0, KVM_VCPU_PREEMPTED | KVM_VCPU_FLUSH_TLB, 0]
    assert kvm_flush_tlb_multi(vm.w, 0) == 2


def test_every_deferred_flush_is_done_before_the_target_runs():
    machine = crowd(run_ms=0, pv_tlb_flush=True, **TOLD)
    world = machine.world
    for _ in watched(machine, 6 * MSEC):
        for vcpu in world["pcpu"]["vcpu"][world["pcpu"]["mode"] == GUEST]:
            assert not world["kvm_vcpu"]["st_preempted"][vcpu] & KVM_VCPU_FLUSH_TLB
    machine.run_until(60 * MSEC)
    deferred, done = total(machine, "flushes_deferred"), machine.counters()["kvm"]["pv_tlb_flush"]
    assert 0 < done <= deferred
    assert total(crowd(run_ms=20, **TOLD), "flushes_deferred") == 0


# PV sched-yield


@pytest.mark.core
@pytest.mark.parametrize(
    ("mask", "lost", "idle", "target"),
    [
        (0b0100, (2,), (), None),  # a single target is addressed directly: no yield
        (0b1110, (), (), None),
        (0b1110, (2, 3), (), 2),
        (0b1110, (2, 3), (2,), 3),
        (0b1010, (2,), (), None),
    ],
)
def test_yield_goes_to_the_first_target_that_lost_its_cpu(mask, lost, idle, target):
    vm = Probe(pv_sched_yield=True, **TOLD)
    for v in lost:
        vm.set("kvm_vcpu", v, st_preempted=KVM_VCPU_PREEMPTED)
    for v in idle:
        vm.set("guest_vcpu", v, current=NIL)
    kvm_smp_send_call_func_ipi(vm.w, 0, mask)
    expected = (HC_NONE, 0) if target is None else (KVM_HC_SCHED_YIELD, target)
    assert vm.get("guest_vcpu", 0, "hypercall", "hypercall_target") == expected


@pytest.mark.parametrize("policy", ["stock", "series-v2"])
def test_callers_yield_by_hypercall(policy):
    with_yield = crowd("micro-ipi", 60, policy, pv_sched_yield=True, **TOLD).counters()
    without = crowd("micro-ipi", 60, policy, **TOLD).counters()
    assert with_yield["kvm"]["directed_yield_attempted"] >= with_yield["kvm"]["directed_yield_successful"] > 0
    assert with_yield["kvm"]["hypercalls"] == with_yield["kvm"]["directed_yield_attempted"]
    assert without["kvm"]["hypercalls"] == 0
    yields = with_yield["deboost"]["yields"]
    assert yields == with_yield["kvm"]["ple_yield_ok"] + with_yield["kvm"]["directed_yield_successful"]
