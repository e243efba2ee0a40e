"""Directed yield, IPI tracking, pause-loop windows and halt polling, by small cases worked out by hand."""

import pytest

from vcpu_env._jit import NIL
from vcpu_env.kvm import halt_poll, ipi, on_spin, ple, preempt
from vcpu_env.kvm import types as kt
from vcpu_env.trace.kvm_scenario import check_scenario
from vcpu_env.world import World

pytestmark = pytest.mark.core

MS = 1_000_000
SERIES = {"filter": kt.FILTER_SERIES, "track": kt.TRACK_V2, "relaxed_round": 1}
KERNEL_HOLDER = {"ready": 1, "preempted": 1, "preempted_in_kernel": 1}
USER = {"ready": 1, "preempted": 1}
A, B, C = 0, 1, 2


class Vm:
    """A host with VMs; by default one of four vCPUs."""

    def __init__(self, vcpus_per_vm=(4,), **params):
        self.world = World(kt.kvm_arrays(len(vcpus_per_vm), sum(vcpus_per_vm)))
        kt.kvm_init(self.world, vcpus_per_vm, **params)
        self.w = self.world.handle
        self.vcpus = self.world["kvm_vcpu"]

    def set(self, vcpu, **fields):
        for name, value in fields.items():
            self.vcpus[name][vcpu] = value

    def get(self, vcpu, field):
        return int(self.vcpus[field][vcpu])

    @property
    def last(self):
        return int(self.world["kvm"]["last_boosted_vcpu"][0])

    @last.setter
    def last(self, idx):
        self.world["kvm"]["last_boosted_vcpu"][0] = idx

    def params(self, **values):
        for name, value in values.items():
            self.world["kvm_params"][name] = value

    def spin(self, me=0, results=lambda target: 1, kernel_mode=1, now_ns=0):
        """One whole kvm_vcpu_on_spin(); the vCPUs that were tried, in order."""
        tried = []
        if on_spin.on_spin_begin(self.w, me, kernel_mode):
            while (target := int(on_spin.on_spin_next(self.w, me, now_ns))) != NIL:
                tried.append(target)
                on_spin.on_spin_result(self.w, me, target, results(target))
            on_spin.on_spin_finish(self.w, me)
        return tried

    def ipi(self, sender, receiver, now_ns=0, vector=0):
        ipi.kvm_track_ipi_communication(self.w, sender, receiver, now_ns, vector)

    def eoi(self, vcpu, now_ns, vector=0):
        ipi.kvm_clear_ipi_on_eoi(self.w, vcpu, now_ns, vector)

    def confirmed(self, sender, receiver, now_ns):
        return bool(ipi.kvm_vcpu_is_ipi_receiver(self.w, sender, receiver, now_ns))


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


# IPI tracking, window 50 ms


def test_window_is_inclusive():
    vm = Vm(**SERIES)
    vm.ipi(A, B)
    assert vm.confirmed(A, B, 50 * MS)
    assert not vm.confirmed(A, B, 50 * MS + 1)
    assert vm.get(A, "pending_ipi") == 1


def test_eoi_ends_the_wait():
    vm = Vm(**SERIES)
    vm.ipi(A, B)
    vm.eoi(B, 1 * MS)
    assert not vm.confirmed(A, B, 1 * MS)


def test_only_the_last_receiver_counts():
    vm = Vm(**SERIES)
    vm.ipi(A, B)
    vm.ipi(A, C)
    assert not vm.confirmed(A, B, 1)
    assert vm.confirmed(A, C, 1)
    vm.eoi(B, 2)
    assert vm.confirmed(A, C, 3)


def test_only_the_last_sender_is_served():
    vm = Vm(**SERIES)
    vm.ipi(A, C, 0)
    vm.ipi(B, C, 1)
    vm.eoi(C, 2)
    assert vm.confirmed(A, C, 3)
    assert not vm.confirmed(B, C, 3)


@pytest.mark.parametrize(("track", "still_confirmed"), [(kt.TRACK_V2, False), (kt.TRACK_V3, True)])
def test_timer_eoi_on_the_sender(track, still_confirmed):
    vm = Vm(**SERIES | {"track": track})
    vm.ipi(B, C, 0, vector=7)
    vm.eoi(B, 1, vector=9)
    assert vm.confirmed(B, C, 2) == still_confirmed


def test_v3_clears_on_the_recorded_vector():
    vm = Vm(**SERIES | {"track": kt.TRACK_V3})
    vm.ipi(A, B, 0, vector=7)
    vm.eoi(B, 1, vector=9)
    assert vm.confirmed(A, B, 2)
    vm.eoi(B, 3, vector=7)
    assert not vm.confirmed(A, B, 4)
    assert vm.get(B, "last_ipi_sender") == NIL


@pytest.mark.parametrize(
    ("src", "receiver", "accepted", "mode", "shorthand", "recorded"),
    [
        (A, B, 1, ipi.APIC_DM_FIXED, ipi.APIC_DEST_NOSHORT, True),
        (A, A, 1, ipi.APIC_DM_FIXED, ipi.APIC_DEST_NOSHORT, False),
        (A, C, 2, ipi.APIC_DM_FIXED, ipi.APIC_DEST_NOSHORT, False),
        (A, NIL, 0, ipi.APIC_DM_FIXED, ipi.APIC_DEST_NOSHORT, False),
        (A, B, 1, ipi.APIC_DM_NMI, ipi.APIC_DEST_NOSHORT, False),
        (A, B, 1, ipi.APIC_DM_FIXED, ipi.APIC_DEST_ALLBUT, False),
        (NIL, B, 1, ipi.APIC_DM_FIXED, ipi.APIC_DEST_NOSHORT, False),
    ],
)
def test_what_is_recorded(src, receiver, accepted, mode, shorthand, recorded):
    vm = Vm(**SERIES)
    assert ipi.track_delivery(vm.w, src, receiver, accepted, mode, shorthand, 5) == recorded
    assert (vm.vcpus["pending_ipi"] == 1).any() == recorded


def test_late_eoi_leaves_the_sender_pending():
    vm = Vm(**SERIES)
    vm.ipi(A, B)
    vm.eoi(B, 60 * MS)
    vm.params(ipi_window_ns=100 * MS)
    assert vm.confirmed(A, B, 70 * MS)


def test_tracking_off_records_and_clears_nothing():
    vm = Vm(**SERIES, ipi_tracking_enabled=0)
    vm.ipi(A, B)
    vm.params(ipi_tracking_enabled=1)
    assert not vm.confirmed(A, B, 1)
    vm.ipi(A, B, 2)
    vm.params(ipi_tracking_enabled=0)
    vm.eoi(B, 3)
    assert not vm.confirmed(A, B, 4)
    vm.params(ipi_tracking_enabled=1)
    assert vm.confirmed(A, B, 5)


def test_init_clears_the_own_context_only():
    vm = Vm(**SERIES)
    vm.ipi(A, B, 9)
    ipi.kvm_vcpu_clear_ipi_context(vm.w, B)
    assert vm.confirmed(A, B, 10)
    ipi.kvm_vcpu_clear_ipi_context(vm.w, A)
    assert not vm.confirmed(A, B, 10)
    assert vm.get(A, "ipi_time_ns") == 9
    ipi.kvm_vcpu_reset_ipi_context(vm.w, A)
    assert vm.get(A, "ipi_time_ns") == 0


# pause-loop window


def test_vmx_window_doubles_and_resets():
    vm = Vm()
    assert ple.ple_window_ns(vm.w, 0) == 1638  # 4096 cycles at 2.5 GHz
    for _ in range(3):
        ple.grow_ple_window(vm.w, 0)
    assert vm.get(0, "ple_window") == 8 * 4096
    for _ in range(30):
        ple.grow_ple_window(vm.w, 0)
    assert vm.get(0, "ple_window") == 2**32 - 1
    ple.shrink_ple_window(vm.w, 0)
    assert vm.get(0, "ple_window") == 4096


def test_svm_window_counts_pauses_in_16_bits():
    vm = Vm(ple_mode=kt.PLE_SVM, ple_window_max=2**20)
    assert ple.ple_window_ns(vm.w, 0) == 97_200  # 3000 PAUSEs of 81 cycles
    for _ in range(5):
        ple.grow_ple_window(vm.w, 0)
    assert vm.get(0, "ple_window") == 65535
    assert not ple.ple_yields_to_kernel_mode(vm.w, 0)
    vm.set(0, cpl_kernel=1)
    assert ple.ple_yields_to_kernel_mode(vm.w, 0)


def test_ple_off_never_exits():
    off, no_gap, vmx = Vm(ple_mode=kt.PLE_OFF), Vm(ple_gap=0), Vm()  # handles are valid as long as these are there
    assert ple.ple_window_ns(off.w, 0) == ple.PLE_NEVER_NS
    assert ple.ple_window_ns(no_gap.w, 0) == ple.PLE_NEVER_NS
    assert ple.ple_yields_to_kernel_mode(vmx.w, 0)


# halting and preempt notifiers


def test_halt_poll_statistics():
    vm = Vm()
    assert halt_poll.halt_poll_limit(vm.w, 0) == 0
    halt_poll.halt_finished(vm.w, 0, 4_000, 0, 1)  # a short sleep: start to poll
    assert (vm.get(0, "halt_poll_ns"), vm.get(0, "halt_wait_ns"), vm.get(0, "halt_attempted_poll")) == (
        10_000,
        4_000,
        0,
    )
    assert halt_poll.halt_poll_limit(vm.w, 0) == 10_000
    halt_poll.halt_finished(vm.w, 0, 6_000, 1, 0)  # polled with success, but nothing was meant for this vCPU
    assert (vm.get(0, "halt_successful_poll"), vm.get(0, "halt_poll_invalid")) == (1, 1)
    assert vm.get(0, "halt_poll_success_ns") == 6_000
    assert vm.get(0, "halt_poll_ns") == 0
    vm.set(0, halt_poll_ns=20_000)
    halt_poll.halt_poll_limit(vm.w, 0)
    vm.set(0, halt_polled_ns=500)  # another task became runnable
    halt_poll.halt_finished(vm.w, 0, 300_000, 0, 1)
    assert (vm.get(0, "halt_attempted_poll"), vm.get(0, "halt_poll_fail_ns")) == (2, 500)
    assert vm.get(0, "halt_wait_ns") == 4_000 + 299_500
    assert vm.get(0, "halt_poll_ns") == 10_000


def test_preempt_notifiers():
    vm = Vm()
    ple.grow_ple_window(vm.w, 1)
    vm.set(1, at_instruction_boundary=1)
    preempt.kvm_sched_out(vm.w, 1, 1, 1, 1)
    assert [vm.get(1, f) for f in ("preempted", "ready", "preempted_in_kernel", "blocking")] == [1, 1, 1, 0]
    assert not preempt.kvm_vcpu_wake_up(vm.w, 1)
    preempt.kvm_sched_in(vm.w, 1)
    assert [vm.get(1, f) for f in ("preempted", "ready", "preempted_in_kernel")] == [0, 0, 1]
    assert vm.get(1, "ple_window") == 4096
    assert preempt.record_steal_time(vm.w, 1) == preempt.KVM_VCPU_PREEMPTED
    assert preempt.record_steal_time(vm.w, 1) == 0
    # an exit that is no host interrupt: the guest is not told
    vm.set(1, at_instruction_boundary=0)
    preempt.kvm_sched_out(vm.w, 1, 1, 0, 1)
    assert (vm.get(1, "preemption_reported"), vm.get(1, "preemption_other"), vm.get(1, "st_preempted")) == (1, 1, 0)


def test_halt_and_wake_up():
    vm = Vm()
    preempt.kvm_sched_out(vm.w, 1, 0, 1, 1)
    assert [vm.get(1, f) for f in ("preempted", "ready", "blocking")] == [0, 0, 1]
    assert preempt.kvm_vcpu_wake_up(vm.w, 1)
    assert not preempt.kvm_vcpu_wake_up(vm.w, 1)
    assert [vm.get(1, f) for f in ("preempted", "ready", "blocking", "halt_wakeup")] == [0, 1, 1, 1]
    preempt.kvm_sched_in(vm.w, 1)
    assert [vm.get(1, f) for f in ("ready", "blocking")] == [0, 0]


def test_yield_hypercall_counts():
    vm = Vm()
    vm.set(1, ready=1)
    answers = [on_spin.sched_yield_begin(vm.w, 0, *args) for args in ((1, 0), (1, 1), (0, 0), (2, 0), (NIL, 0))]
    assert answers == [1, 0, 0, 0, 0]
    on_spin.sched_yield_result(vm.w, 0, 1)
    on_spin.sched_yield_result(vm.w, 0, 0)
    assert (vm.get(0, "directed_yield_attempted"), vm.get(0, "directed_yield_successful")) == (5, 1)
    assert vm.last == 0


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
