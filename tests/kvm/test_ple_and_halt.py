"""Pause-loop windows, halt polling and preempt notifiers, by small cases worked out by hand."""

import pytest

from tests.helpers.kvm_host import Vm
from vcpu_env.base.jit import NIL
from vcpu_env.kvm import halt_poll, on_spin, ple, preempt
from vcpu_env.kvm import types as kt

pytestmark = pytest.mark.core


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
