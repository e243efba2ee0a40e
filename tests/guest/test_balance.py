"""Periodic balancing of the guest: when a busy vCPU pulls a thread at a tick, by hand."""

import pytest

from tests.helpers.guest_probe import Probe
from vcpu_env.guest.balance import busy_balance_ns, periodic_balance
from vcpu_env.guest.eevdf import enqueue_thread

MSEC = 1_000_000
pytestmark = pytest.mark.core


def queued(vm: Probe) -> list[int]:
    return vm.world["guest_vcpu"]["nr_queued"].tolist()


@pytest.fixture
def vm() -> Probe:
    """Threads 1, 2 and 3 wait for vCPU 1; nobody waits elsewhere."""
    vm = Probe(balance="periodic")
    for t in (1, 2, 3):
        enqueue_thread(vm.w, t, 1)
    return vm


def test_interval_of_a_busy_vcpu():
    assert busy_balance_ns(16) == 256 * MSEC
    assert Probe(balance="periodic").get("guest_vm", 0, "balance_ns") == 64 * MSEC
    assert Probe(balance="newidle").get("guest_vm", 0, "balance_ns") == 0


def test_pulls_one_thread_per_interval(vm):
    periodic_balance(vm.w, 0, 1000)
    assert (queued(vm), vm.get("guest_thread", 1, "vcpu")) == ([1, 2, 0, 0], 0)
    periodic_balance(vm.w, 0, 1000 + 64 * MSEC - 1)
    assert queued(vm) == [1, 2, 0, 0]


def test_leaves_an_imbalance_of_one_alone(vm):
    periodic_balance(vm.w, 0, 0)
    periodic_balance(vm.w, 0, 64 * MSEC)
    assert queued(vm) == [1, 2, 0, 0]
    periodic_balance(vm.w, 2, 64 * MSEC)
    assert queued(vm) == [1, 1, 1, 0]
