"""The guest's fair class, by hand: threads of one vCPU (vCPU 0), slices of 2.1 ms, ticks of 4 ms."""

import pytest

from tests.helpers.guest_probe import Probe
from vcpu_env.base.jit import NIL
from vcpu_env.guest import eevdf, threads
from vcpu_env.guest.types import BLOCKED, RUNNABLE, RUNNING

pytestmark = pytest.mark.core

MSEC = 1_000_000
SLICE_NS = 2_100_000


@pytest.fixture
def vm() -> Probe:
    """Thread 0 runs on vCPU 0, charged up to now; 1, 2 and 3 sleep."""
    vm = Probe()
    vm.set("guest_thread", 0, deadline=SLICE_NS, vlag=SLICE_NS)
    for t in (1, 2, 3):
        vm.set("guest_thread", t, vcpu=0, state=BLOCKED)
        vm.set("guest_vcpu", t, current=NIL)
    return vm


def wait(vm: Probe, t: int, vruntime: int, deadline: int) -> None:
    """Thread t is on the run queue of vCPU 0."""
    vm.set("guest_thread", t, vruntime=vruntime, deadline=deadline)
    eevdf.enqueue_thread(vm.w, t, 0)


def run(vm: Probe, ns: int) -> None:
    """vCPU 0 computes; as much time passes."""
    vm.world["guest_vcpu"]["user_ns"][0] += ns
    eevdf.update_curr(vm.w, 0, 0)


def occupy_siblings(vm: Probe) -> None:
    """No other vCPU looks idle."""
    for v in (1, 2, 3):
        vm.set("guest_vcpu", v, current=0)


def thread(vm: Probe, t: int, *names: str):
    return vm.get("guest_thread", t, *names)


def picked(vm: Probe) -> int:
    return int(eevdf.pick_eevdf(vm.w, 0))


def test_run_time_is_vruntime_and_a_served_request_is_followed_by_the_next(vm):
    run(vm, MSEC)
    assert thread(vm, 0, "vruntime", "deadline") == (MSEC, SLICE_NS)
    run(vm, SLICE_NS)
    assert thread(vm, 0, "vruntime", "deadline") == (MSEC + SLICE_NS, MSEC + 2 * SLICE_NS)


def test_segment_under_way_is_charged_once(vm):
    vm.set("guest_vcpu", 0, cpu=0, segment_start_ns=1000)
    eevdf.update_curr(vm.w, 0, 5000)
    assert thread(vm, 0, "vruntime") == 4000
    vm.set("guest_vcpu", 0, segment_start_ns=5000, user_ns=4000)
    eevdf.update_curr(vm.w, 0, 5000)
    assert thread(vm, 0, "vruntime") == 4000


def test_earliest_eligible_deadline_first(vm):
    vm.set("guest_vcpu", 0, current=NIL)
    wait(vm, 1, 0, 5 * MSEC)
    wait(vm, 2, MSEC, 4 * MSEC)
    wait(vm, 3, 2 * MSEC, 3 * MSEC)  # earliest, but ahead of V, which is 1 ms
    assert eevdf.avg_vruntime(vm.w, 0) == MSEC
    assert picked(vm) == 2
    eevdf.dequeue_thread(vm.w, 2, 0)
    assert picked(vm) == 1
    assert vm.get("guest_vcpu", 0, "queued_vruntime", "nr_queued") == (2 * MSEC, 2)


def test_running_thread_is_protected_to_the_end_of_its_request_while_eligible(vm):
    wait(vm, 1, MSEC, MSEC + 1)
    run(vm, MSEC)
    assert picked(vm) == 0  # V is 1 ms: eligible, and 1.1 ms of its request are left
    vm.set("guest_thread", 0, vlag=MSEC)
    assert picked(vm) == 1  # protection is over, and 1's deadline is the earlier one
    vm.set("guest_thread", 0, vlag=SLICE_NS)
    run(vm, 1)
    assert picked(vm) == 1  # ahead of V


def test_tick_asks_for_a_pick_after_the_request(vm):
    wait(vm, 1, 0, SLICE_NS)
    run(vm, SLICE_NS - 1)
    assert not eevdf.entity_tick(vm.w, 0, 0)
    run(vm, 1)
    assert eevdf.entity_tick(vm.w, 0, 0)  # also though the next request has begun
    eevdf.dequeue_thread(vm.w, 1, 0)
    assert not eevdf.entity_tick(vm.w, 0, 0)


def test_switch(vm):
    wait(vm, 1, 0, SLICE_NS)
    run(vm, 3 * MSEC)
    assert threads.pick_thread(vm.w, 0, 0) == 1
    assert vm.get("guest_vcpu", 0, "current", "nivcsw", "queued_vruntime") == (1, 1, 3 * MSEC)
    assert thread(vm, 1, "state", "vlag") == (RUNNING, SLICE_NS) and thread(vm, 0, "state") == RUNNABLE


def test_sleeper_that_was_owed_something_gets_it_when_it_wakes_up(vm):
    """It joins at V less its lag, blown up for the two that then share V, and preempts who is ahead of the new V."""
    occupy_siblings(vm)
    vm.set("guest_thread", 1, vlag=MSEC)
    run(vm, 10 * MSEC)
    threads.wake_thread(vm.w, 1, 0, 0)
    assert thread(vm, 1, "vruntime", "deadline") == (8 * MSEC, 8 * MSEC + SLICE_NS)
    assert eevdf.avg_vruntime(vm.w, 0) - 8 * MSEC == MSEC
    assert vm.get("guest_vcpu", 0, "need_resched") == 1


def test_sleeper_without_lag_does_not_preempt(vm):
    occupy_siblings(vm)
    run(vm, MSEC)
    threads.wake_thread(vm.w, 1, 0, 0)
    assert thread(vm, 1, "vruntime") == MSEC
    assert vm.get("guest_vcpu", 0, "need_resched") == 0


def test_lag_is_kept_within_a_slice_and_a_tick(vm):
    wait(vm, 1, 40 * MSEC, 42 * MSEC)
    for vruntime, lag in ((0, SLICE_NS + 4 * MSEC), (80 * MSEC, -SLICE_NS - 4 * MSEC)):
        vm.set("guest_thread", 0, vruntime=vruntime)
        eevdf.update_entity_lag(vm.w, 0, 0)
        assert thread(vm, 0, "vlag") == lag


def test_sleeping_forgives_no_debt_until_the_others_have_caught_up(vm):
    wait(vm, 1, 0, SLICE_NS)
    run(vm, 4 * MSEC)
    threads.block_current(vm.w, 0, 0)
    assert thread(vm, 0, "vlag") == -2 * MSEC
    threads.pick_thread(vm.w, 0, 0)
    run(vm, MSEC)
    assert eevdf.is_delayed(vm.w, 0)
    threads.wake_thread(vm.w, 0, 1, 0)
    assert thread(vm, 0, "vcpu", "vruntime", "deadline") == (0, 4 * MSEC, 4 * MSEC + SLICE_NS)  # idle siblings or not

    eevdf.dequeue_thread(vm.w, 0, 0)
    vm.set("guest_thread", 0, state=BLOCKED)
    run(vm, 4 * MSEC)
    eevdf.place_sleeper(vm.w, 0, 0)
    assert thread(vm, 0, "vruntime") == 5 * MSEC  # the debt is over, and nothing is owed


def test_a_pulled_thread_takes_its_lag_and_its_request_along(vm):
    wait(vm, 1, 0, SLICE_NS // 2)
    run(vm, 2 * MSEC)
    vm.set("guest_vcpu", 2, current=2, user_ns=0)
    vm.set("guest_thread", 2, vruntime=70 * MSEC, vcpu=2)
    eevdf.migrate_thread(vm.w, 1, 0, 2)
    assert thread(vm, 1, "vcpu", "vruntime") == (2, 68 * MSEC)  # V of 70 ms, less twice 1 ms
    assert thread(vm, 1, "deadline") == 68 * MSEC + SLICE_NS // 2
    assert vm.get("guest_vcpu", 0, "nr_queued", "queued_vruntime", "idle_vruntime") == (0, 0, MSEC)


def test_kernel_thread_takes_the_vcpu_for_its_work(vm):
    run(vm, MSEC)
    vm.set("guest_vcpu", 0, kernel_thread_woken=1)
    assert threads.pick_thread(vm.w, 0, 0) == 1
    switch_ns, work_ns = vm.get("guest_costs", 0, "switch_ns", "kernel_thread_ns")
    assert vm.get("guest_vcpu", 0, "current", "nivcsw", "overhead_ns") == (0, 1, 2 * switch_ns + work_ns)
    assert threads.pick_thread(vm.w, 0, 0) == 1
    assert vm.get("guest_vcpu", 0, "nivcsw", "overhead_ns") == (1, 2 * switch_ns + work_ns)

    vm.set("guest_vcpu", 1, current=NIL, kernel_thread_woken=1)
    assert threads.pick_thread(vm.w, 1, 0) == 0
    assert vm.get("guest_vcpu", 1, "nivcsw", "overhead_ns") == (0, 2 * switch_ns + work_ns)


def test_virtual_time_stands_still_on_an_idle_vcpu(vm):
    run(vm, 3 * MSEC)
    threads.block_current(vm.w, 0, 0)
    assert eevdf.avg_vruntime(vm.w, 0) == 3 * MSEC
    assert picked(vm) == NIL
