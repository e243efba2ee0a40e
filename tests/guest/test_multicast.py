"""IPIs to several vCPUs: the cost of each x2APIC mode and interrupt hardware, and what IPI tracking sees. By hand."""

import pytest

from tests.helpers.guest_probe import Probe
from vcpu_env.base.jit import NIL
from vcpu_env.guest.multicast import cluster_mask, count_bits, is_unicast, multicast_cost
from vcpu_env.kvm.lapic import VECTOR_CALL, accept_interrupt, icr_write_exits
from vcpu_env.kvm.on_spin import kvm_arch_dy_has_pending_interrupt, vcpu_dy_runnable
from vcpu_env.scenario import Scenario, ScenarioError

pytestmark = pytest.mark.core

ICR, HYPERCALL = 700, 500
AMD = {"ple": "svm", "apicv": "avic"}
ALL = 0b111110  # of six vCPUs, all but the sender
WIDE = 1 << 1 | 1 << 2 | 1 << 17 | 1 << 39  # two targets in the first cluster, one in each of the others


def mask(*targets: int) -> int:
    return sum(1 << target for target in targets)


def cost(ipi_mode: str, targets: int, vcpus: int = 6, off: tuple[int, ...] = (), **kvm) -> int:
    vm = Probe(vcpus, kvm=kvm, ipi_mode=ipi_mode)
    for v in off:
        vm.set("lapic", v, cpu=NIL)
    return int(multicast_cost(vm.w, 0, targets))


@pytest.mark.parametrize(
    ("ipi_mode", "targets", "expected"),
    [
        ("phys", mask(1), ICR),
        ("phys", mask(1, 3, 5), 3 * ICR),
        ("phys", ALL, 5 * ICR),
        ("shorthand_auto", mask(1, 3, 5), 3 * ICR),
        ("shorthand_auto", ALL, ICR),
        ("pv", mask(1), ICR),
        ("pv", mask(1, 2, 3), HYPERCALL + HYPERCALL),
        ("pv", ALL, HYPERCALL + 5 * HYPERCALL // 3),
        ("cluster", mask(4), ICR),
        ("cluster", ALL, ICR + 5 * HYPERCALL // 3),
    ],
)
def test_cost_of_each_mode(ipi_mode, targets, expected):
    assert cost(ipi_mode, targets) == expected


def test_one_write_for_each_cluster_of_16():
    assert cost("cluster", WIDE, 40) == (ICR + 2 * HYPERCALL // 3) + ICR + ICR
    assert [count_bits(cluster_mask(WIDE, i)) for i in (0, 15, 16, 39)] == [2, 2, 1, 1]


@pytest.mark.parametrize(
    ("ipi_mode", "targets", "off", "expected"),
    [
        ("phys", mask(1, 2), (), 0),
        ("phys", mask(1, 2), (2,), ICR),  # "incomplete IPI": the target has no CPU
        ("phys", mask(1, 2), (3,), 0),
        ("shorthand_auto", ALL, (), 0),
        ("shorthand_auto", ALL, (5,), ICR),
        ("cluster", mask(1, 2), (), 0),
        ("cluster", mask(1, 2), (1,), ICR + 2 * HYPERCALL // 3),
    ],
)
def test_avic_exits_if_a_target_has_no_cpu(ipi_mode, targets, off, expected):
    assert cost(ipi_mode, targets, off=off, **AMD) == expected


def test_ipi_virtualisation_delivers_unicasts_only():
    assert cost("phys", ALL, apicv="ipiv") == 0
    assert cost("shorthand_auto", ALL, apicv="ipiv") == ICR
    assert cost("phys", ALL, apicv="apicv") == 5 * ICR


@pytest.mark.parametrize(
    ("ipi_mode", "targets", "seen"),
    [
        ("phys", ALL, [1, 2, 3, 4, 5]),
        ("shorthand_auto", ALL, []),
        ("shorthand_auto", mask(1, 2), [1, 2]),
        ("pv", ALL, []),
        ("pv", mask(3), [3]),
        ("cluster", ALL, []),
        ("cluster", mask(3), [3]),
    ],
)
def test_tracking_sees_writes_that_mean_one(ipi_mode, targets, seen):
    vm = Probe(6, ipi_mode=ipi_mode)
    assert [i for i in range(6) if targets >> i & 1 and is_unicast(vm.w, 0, targets, i)] == seen


def test_tracking_sees_the_lonely_in_a_cluster():
    vm = Probe(40, ipi_mode="cluster")
    assert [bool(is_unicast(vm.w, 0, WIDE, i)) for i in (1, 2, 17, 39)] == [False, False, True, True]


# the delivery matrix: (apicv, PLE) -> the sender of a unicast exits (target on a CPU, off it), what a yield sees of it


@pytest.mark.parametrize(
    ("kvm", "exits", "event", "posted", "candidate"),
    [
        ({"apicv": "off"}, (True, True), 1, 0, False),
        ({"apicv": "apicv"}, (True, True), 0, 1, True),
        ({"apicv": "ipiv"}, (False, False), 0, 1, True),
        (AMD, (False, True), 0, 0, False),
    ],
)
def test_delivery_matrix(kvm, exits, event, posted, candidate):
    vm = Probe(kvm=kvm)
    vm.set("lapic", 2, cpu=NIL)
    assert tuple(bool(icr_write_exits(vm.w, dst)) for dst in (1, 2)) == exits
    accept_interrupt(vm.w, 2, VECTOR_CALL, 0, 0, 0)
    assert vm.get("lapic", 2, "irr") == VECTOR_CALL
    assert vm.get("kvm_vcpu", 2, "event", "pir_pending") == (event, posted)
    assert bool(kvm_arch_dy_has_pending_interrupt(vm.w, 2)) == candidate
    assert bool(vcpu_dy_runnable(vm.w, 2)) == (candidate or event == 1)


def test_avic_is_no_intel_hardware():
    with pytest.raises(ScenarioError, match=r"^kvm.apicv: value 'avic' \(allowed with ple 'vmx': off, apicv, ipiv\)$"):
        Scenario(name="a", kvm={"apicv": "avic"}, vms=[{"name": "vm", "vcpus": 2, "workload": "dedup"}])
