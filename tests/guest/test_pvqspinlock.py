"""The paravirtual qspinlock, step by step: threads 1, 2, 3 want the lock that thread 0 holds."""

import pytest

from tests.helpers.guest_probe import Probe
from vcpu_env.base.jit import NIL
from vcpu_env.guest import locks, pvqspinlock
from vcpu_env.guest.types import COMPUTE, HC_NONE, KVM_HC_KICK_CPU, SPIN_LOCK, SPIN_STEAL

pytestmark = pytest.mark.core

THRESHOLD_NS = 45 << 15
CHECK_NS = 45 * 256


def held() -> Probe:
    vm = Probe(lock="pvqspinlock")
    assert acquire(vm, 0) == 1
    return vm


def acquire(vm: Probe, t: int) -> int:
    return int(locks.acquire(vm.w, t, 0, 0, 0))


def look(vm: Probe, t: int) -> bool:
    return bool(locks.try_spinner(vm.w, t, 0))


def release(vm: Probe, t: int) -> int | None:
    """Release; the vCPU that is kicked by hypercall, if any."""
    vm.set("guest_vcpu", t, hypercall=HC_NONE)
    locks.release(vm.w, t, 0)
    number, target = vm.get("guest_vcpu", t, "hypercall", "hypercall_target")
    assert number in (HC_NONE, KVM_HC_KICK_CPU)
    return target if number else None


def spins_for(vm: Probe, t: int, spun_ns: int) -> bool:
    """Whether thread t halts after a look at this time; if so, let it."""
    vm.set("guest_thread", t, spun_ns=spun_ns)
    halts = bool(pvqspinlock.pvq_halts(vm.w, t, 0))
    if halts:
        pvqspinlock.pv_wait(vm.w, t, 0)
    return halts


def wake(vm: Probe, t: int) -> None:
    vm.set("guest_thread", t, pv_halted=0, spun_ns=0)


def lock(vm: Probe, *names: str):
    return vm.get("guest_lock", 0, *names)


def activity(vm: Probe, t: int) -> int:
    return vm.get("guest_thread", t, "activity")


def test_first_waiter_becomes_head_and_forbids_stealing():
    vm = held()
    assert (acquire(vm, 1), activity(vm, 1)) == (0, SPIN_LOCK)
    assert lock(vm, "owner", "pending", "slow", "spinners") == (0, 1, 0, (1, 1))
    assert (acquire(vm, 2), activity(vm, 2)) == (0, SPIN_LOCK)
    assert lock(vm, "spinners", "stealers") == ((1, 2), (NIL, NIL))


def test_released_lock_is_the_heads():
    vm = held()
    for t in (1, 2):
        acquire(vm, t)
    assert release(vm, 0) is None
    assert (lock(vm, "owner"), acquire(vm, 3), look(vm, 2)) == (NIL, 0, False)
    assert pvqspinlock.pvq_still_waits(vm.w, 2) and not pvqspinlock.pvq_still_waits(vm.w, 1)
    assert look(vm, 1)
    assert (activity(vm, 1), lock(vm, "owner", "pending", "spinners")) == (COMPUTE, (1, 0, (2, 3)))


def test_lock_is_stolen_until_the_new_head_has_seen_its_turn():
    vm = held()
    for t in (1, 2):
        acquire(vm, t)
    release(vm, 0)
    look(vm, 1)
    assert release(vm, 1) is None
    assert (acquire(vm, 3), lock(vm, "owner")) == (1, 3)  # 2 is head, but has no CPU yet
    assert not look(vm, 2)
    assert lock(vm, "pending") == 1
    release(vm, 3)
    assert (acquire(vm, 0), look(vm, 2)) == (0, True)


def test_head_halts_after_the_threshold_and_is_kicked():
    vm = held()
    acquire(vm, 1)
    assert not spins_for(vm, 1, THRESHOLD_NS - 1)
    assert spins_for(vm, 1, THRESHOLD_NS)
    assert lock(vm, "pending", "slow") == (0, 1)
    assert (acquire(vm, 2), activity(vm, 2)) == (0, SPIN_STEAL)
    assert lock(vm, "spinners", "stealers") == ((1, 1), (2, 2))
    assert release(vm, 0) == 1
    assert lock(vm, "owner", "slow") == (NIL, 0)
    assert look(vm, 2)  # the stealer is faster than the kicked head
    wake(vm, 1)
    assert (look(vm, 1), lock(vm, "owner", "pending")) == (False, (2, 1))


def test_head_that_lost_to_a_stealer_spins_another_round():
    vm = held()
    acquire(vm, 1)
    spins_for(vm, 1, THRESHOLD_NS)
    acquire(vm, 2)
    release(vm, 0)
    look(vm, 2)
    wake(vm, 1)
    look(vm, 1)
    assert not spins_for(vm, 1, THRESHOLD_NS)  # the lock byte is not slow: pv_wait() returns at once
    assert (lock(vm, "pending", "slow"), vm.get("guest_thread", 1, "spun_ns")) == ((1, 0), 0)
    assert release(vm, 2) is None
    assert look(vm, 1)


def test_stealers_queue_up_behind_a_spinning_head():
    vm = held()
    acquire(vm, 1)
    spins_for(vm, 1, THRESHOLD_NS)
    acquire(vm, 2)
    acquire(vm, 3)
    wake(vm, 1)  # by an interrupt
    look(vm, 1)
    assert (look(vm, 3), look(vm, 2)) == (False, False)
    assert (activity(vm, 2), activity(vm, 3)) == (SPIN_LOCK, SPIN_LOCK)
    assert lock(vm, "spinners", "stealers") == ((1, 2), (NIL, NIL))
    assert vm.get("guest_thread", 3, "next") == 2


def test_queued_waiter_halts_early_behind_a_halted_one():
    vm = held()
    for t in (1, 2, 3):
        acquire(vm, t)
    assert not spins_for(vm, 2, CHECK_NS)
    assert not spins_for(vm, 3, CHECK_NS)
    assert spins_for(vm, 2, THRESHOLD_NS)
    assert not spins_for(vm, 3, CHECK_NS + 1)
    assert pvqspinlock.pvq_spin_ns(vm.w, 3) == CHECK_NS - 1
    assert spins_for(vm, 3, 2 * CHECK_NS)


def test_halted_waiter_that_becomes_head_is_kicked_at_the_next_release():
    vm = held()
    acquire(vm, 1)
    acquire(vm, 2)
    assert spins_for(vm, 2, THRESHOLD_NS)
    assert release(vm, 0) is None
    assert look(vm, 1)
    assert (lock(vm, "slow"), vm.get("guest_thread", 2, "pv_hashed", "pv_halted")) == (1, (1, 1))
    assert release(vm, 1) == 2
    wake(vm, 2)
    assert look(vm, 2)
    assert lock(vm, "owner", "slow", "pending", "spinners") == (2, 0, 0, (NIL, NIL))


def test_queued_waiter_looks_at_the_one_before_it_only_when_that_halts():
    """Between two looks nothing can be seen, and a waiter that runs needs none: no event until then."""
    vm = held()
    for t in (1, 2, 3):
        acquire(vm, t)
    assert pvqspinlock.pvq_spin_ns(vm.w, 3) == THRESHOLD_NS
    slot = vm.get("event_slots", 0, "run") + 3
    vm.set("event", slot, when_ns=THRESHOLD_NS)
    vm.set("guest_vcpu", 3, segment_start_ns=0)
    vm.set("guest_thread", 3, spun_ns=5)
    pvqspinlock.pv_wait(vm.w, 2, CHECK_NS)
    assert vm.get("event", slot, "when_ns") == 2 * CHECK_NS - 5
