"""Directed yield: whom kvm_vcpu_on_spin() tries, by small cases worked out by hand."""

import pytest

from tests.helpers.kvm_host import KERNEL_HOLDER, MS, SERIES, USER, Vm
from vcpu_env.base.jit import NIL
from vcpu_env.kvm import on_spin
from vcpu_env.kvm import types as kt
from vcpu_env.trace.kvm_scenario import check_scenario

pytestmark = pytest.mark.core


# the base kernel's loop


def test_user_preempted_is_refused():
    vm = Vm()
    vm.set(2, **USER)
    vm.set(3, **KERNEL_HOLDER)
    assert vm.spin() == [3]
    assert vm.last == 3


def test_scan_starts_after_the_last_boosted():
    vm = Vm()
    vm.last = 2
    vm.set(1, **KERNEL_HOLDER, in_spin_loop=1)
    vm.set(3, **KERNEL_HOLDER)
    assert vm.spin() == [3]


def test_spinner_is_refused_at_every_other_look():
    vm = Vm()
    vm.set(1, **KERNEL_HOLDER, in_spin_loop=1)
    assert vm.spin() == []
    assert vm.get(1, "dy_eligible") == 1
    assert vm.spin() == [1]
    assert vm.get(1, "dy_eligible") == 0
    assert vm.spin() == []


def test_woken_from_halt_is_accepted():
    vm = Vm()
    vm.set(1, ready=1, blocking=1)
    assert vm.spin() == []
    vm.set(1, event=1)
    assert vm.spin() == [1]


def test_posted_interrupt_admits_a_user_preempted_target():
    vm = Vm()
    vm.set(1, **USER, pir_pending=1)
    assert vm.spin() == []
    vm.set(1, apicv=1)
    assert vm.spin() == [1]


def test_three_failures_end_the_loop():
    vm = Vm((8,))
    for vcpu in range(1, 8):
        vm.set(vcpu, **KERNEL_HOLDER)
    assert vm.spin(results=lambda target: -3) == [1, 2, 3]
    assert vm.last == 0
    assert vm.get(0, "esrch") == 3


def test_zero_uses_up_no_attempt():
    vm = Vm((8,))
    for vcpu in range(1, 8):
        vm.set(vcpu, **KERNEL_HOLDER)
    assert vm.spin(results=lambda target: 0) == [1, 2, 3, 4, 5, 6, 7]


def test_single_vcpu_does_not_scan():
    assert Vm((1,)).spin() == []


def test_scan_stays_within_the_vm():
    vm = Vm((2, 3))
    for vcpu in range(5):
        vm.set(vcpu, **KERNEL_HOLDER)
    assert vm.spin(me=3) == [4]
    assert vm.world["kvm"]["last_boosted_vcpu"].tolist() == [0, 2]
    assert vm.spin(me=3) == [2]


def test_flags_are_written_when_the_spinner_runs_again():
    vm = Vm()
    vm.set(1, **KERNEL_HOLDER)
    on_spin.on_spin_begin(vm.w, 0, 1)
    assert on_spin.on_spin_next(vm.w, 0, 0) == 1
    on_spin.on_spin_result(vm.w, 0, 1, 1)
    assert on_spin.on_spin_next(vm.w, 0, 0) == NIL
    assert (vm.get(0, "in_spin_loop"), vm.get(0, "parked"), vm.last) == (1, 1, 0)
    on_spin.on_spin_finish(vm.w, 0)
    assert (vm.get(0, "in_spin_loop"), vm.get(0, "parked"), vm.last) == (0, 0, 1)


# older loops


def test_6_13_stores_the_distance_instead_of_the_index():
    vm = Vm((8,), loop=kt.LOOP_6_13)
    vm.last = 4
    vm.set(7, **KERNEL_HOLDER)
    assert vm.spin() == [7]
    assert vm.last == 2  # 5, 6, 7: the third of the scan
    vm.params(loop=kt.LOOP_6_19)
    assert vm.spin() == [7]
    assert vm.last == 7


@pytest.mark.parametrize(
    ("loop", "last_result", "tried"),
    [
        (kt.LOOP_6_12, -3, [3]),
        (kt.LOOP_6_19, -3, [3, 1]),
        (kt.LOOP_6_12, 0, [3, 1]),
    ],
)
def test_6_12_skips_its_second_pass_after_a_failure(loop, last_result, tried):
    vm = Vm(loop=loop)
    vm.last = 2
    vm.set(1, **KERNEL_HOLDER)
    vm.set(3, **KERNEL_HOLDER)
    assert vm.spin(results=lambda target: last_result if target == 3 else 1) == tried


# the series' selection


def ipi_and_holder():
    vm = Vm(**SERIES)
    vm.set(1, **KERNEL_HOLDER)
    vm.set(2, **USER)
    vm.set(3, ready=1)
    vm.ipi(0, 2)
    return vm


def test_scan_order_wins_over_tiers():
    assert ipi_and_holder().spin() == [1]
    vm = ipi_and_holder()
    vm.last = 1
    assert vm.spin() == [2]


def test_relaxed_round_takes_any_preempted():
    vm = Vm(**SERIES)
    for vcpu in (1, 2, 3):
        vm.set(vcpu, **USER)
    assert vm.spin() == [1]
    assert vm.get(0, "scan_round") == 2
    vm.params(enable_relaxed_boost=0)
    assert vm.spin() == []


def test_series_refuses_the_woken():
    vm = Vm(**SERIES)
    vm.set(1, ready=1, blocking=1, event=1)
    assert vm.spin() == []
    vm.params(filter=kt.FILTER_BASE)
    assert vm.spin() == [1]


def test_relaxed_round_defeats_the_spin_filter():
    vm = Vm(**SERIES)
    vm.set(1, **KERNEL_HOLDER, in_spin_loop=1)
    assert vm.spin() == [1]
    assert vm.get(0, "scan_round") == 2


def test_second_round_has_no_limit_after_three_failures():
    vm = Vm((8,), **SERIES)
    for vcpu in range(1, 8):
        vm.set(vcpu, **KERNEL_HOLDER)
    assert vm.spin(results=lambda target: -3) == [1, 2, 3, 1, 2, 3, 4, 5, 6, 7]


def test_user_mode_yield_accepts_user_preempted():
    vm = Vm(**SERIES)
    vm.set(1, **USER)
    assert vm.spin(kernel_mode=0) == [1]
    assert vm.get(0, "scan_round") == 1


# decisions from outside


def test_chosen_target_that_fails_is_not_tried_again():
    vm = Vm()
    for vcpu in (1, 2, 3):
        vm.set(vcpu, **KERNEL_HOLDER)
    on_spin.on_spin_begin(vm.w, 0, 1)
    on_spin.on_spin_result(vm.w, 0, 2, 0)
    left = []
    while (target := int(on_spin.on_spin_next(vm.w, 0, 0))) != NIL:
        left.append(target)
        on_spin.on_spin_result(vm.w, 0, target, 0)
    assert left == [1, 3]


def test_chosen_target_becomes_last_boosted():
    vm = Vm()
    vm.set(1, **KERNEL_HOLDER)
    vm.set(3, **KERNEL_HOLDER)
    on_spin.on_spin_begin(vm.w, 0, 1)
    on_spin.on_spin_result(vm.w, 0, 3, 1)
    assert on_spin.on_spin_next(vm.w, 0, 0) == NIL
    on_spin.on_spin_finish(vm.w, 0)
    assert vm.last == 3
    assert (vm.get(0, "ple_yield_attempt"), vm.get(0, "ple_yield_ok")) == (1, 1)


def test_candidates_in_scan_order_without_side_effect():
    vm = Vm((6,))
    vm.last = 3
    vm.set(1, **USER)
    vm.set(2, **KERNEL_HOLDER, in_spin_loop=1)
    vm.set(3, ready=1, blocking=1)
    vm.set(4, **KERNEL_HOLDER, in_spin_loop=1, dy_eligible=1)
    vm.set(5, **KERNEL_HOLDER)
    before = vm.world.words.copy()
    count = on_spin.candidates(vm.w, 0, 1, 0)
    assert vm.world["candidate"][:count].tolist() == [(4, 1), (5, 1), (1, 0)]
    vm.world["candidate"][:count] = 0
    assert (vm.world.words == before).all()


# input


def test_unknown_parameter_is_named():
    with pytest.raises(ValueError, match=r"kvm parameter 'ple_windows' is unknown; allowed: .*ple_window"):
        Vm(ple_windows=1)
    with pytest.raises(ValueError, match=r"ple_mode=7 is not allowed; allowed: 0 \(off\), 1 \(vmx\), 2 \(svm\)"):
        Vm(ple_mode=7)


SCENARIO = {"name": "x", "n": 4, "mode": "v2", "ipi_tracking": 1, "ipi_window_ns": 50 * MS, "relaxed": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 65}, r"n=65 is not allowed; it must be 1 to 64"),
        ({"mode": "v9"}, r"mode='v9' is not allowed; it must be 'base', 'v2'"),
        ({"speed": 1}, r"field speed=1 is unknown; allowed: n, mode"),
        ({"ops": None}, r"ops=None is not allowed"),
        ({"ops": [{"t": 0, "op": "jump"}]}, r"ops\[0\]: op='jump' is unknown; allowed: on_spin, resume"),
        (
            {"ops": [{"t": 0, "op": "wake", "vcpu": 4}]},
            r"ops\[0\] \(wake\): vcpu=4 is not allowed; it must be .* \(n = 4\)",
        ),
        ({"ops": [{"t": 0, "op": "eoi"}]}, r"ops\[0\] \(eoi\): vcpu is missing"),
        ({"ops": [{"t": 0, "op": "set", "vcpu": 1, "redy": 1}]}, r"field redy=1 is unknown; allowed: .*ready"),
        ({"ops": [{"t": 0, "op": "on_spin", "me": 0, "yr": {"1": []}}]}, r"yr=.* is not allowed"),
        ({"ops": [{"t": 5, "op": "param"}, {"t": 4, "op": "param"}]}, r"ops\[1\] \(param\): t=4 .* at least 5"),
    ],
)
def test_bad_scenario_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        check_scenario(SCENARIO | {"ops": []} | change)
