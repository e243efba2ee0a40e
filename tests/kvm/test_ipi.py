"""IPI tracking of the series, its window 50 ms, by small cases worked out by hand."""

import pytest

from tests.helpers.kvm_host import MS, SERIES, A, B, C, Vm
from vcpu_env.base.jit import NIL
from vcpu_env.kvm import ipi
from vcpu_env.kvm import types as kt

pytestmark = pytest.mark.core


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
