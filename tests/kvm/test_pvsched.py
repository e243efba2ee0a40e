"""pvsched v3's budgets: what a boost costs, how the debt goes away, when there is no boost."""

import pytest

from vcpu_env.kvm.pvsched import (
    CRITICAL,
    GENERIC,
    pvsched_entry,
    pvsched_exit,
    pvsched_gets_cpu,
    pvsched_inject,
    settle_budgets,
)
from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario

USEC, MSEC = 1_000, 1_000_000

pytestmark = pytest.mark.core


class Vcpu:
    """The first vCPU of a machine that has not begun, boosted from 0 on."""

    def __init__(self, cs_ms: float = 2, generic_ms: float = 500):
        vms = [{"name": "vm", "vcpus": 2, "workload": "dbench"}]
        self.machine = Machine(Scenario(name="page", host={"cpus": 2}, vms=vms), "pvsched")
        self.w = self.machine.world.handle
        hints = self.machine.world["pvsched"]
        hints["cs_bits"], hints["cs_budget_ns"], hints["generic_budget_ns"] = 3, cs_ms * MSEC, generic_ms * MSEC
        self.account = self.machine.world["pvsched_vcpu"][0]
        pvsched_exit(self.w, 0, True, 0)
        assert self.account["boosted"]

    def debts(self) -> tuple[int, int]:
        return int(self.account["debt_ns"][CRITICAL]), int(self.account["debt_ns"][GENERIC])

    def throttled(self) -> tuple[int, int]:
        return int(self.account["throttled"][CRITICAL]), int(self.account["throttled"][GENERIC])


def test_guest_time_is_charged_to_both_budgets_and_recovers_one_to_one():
    vcpu = Vcpu()
    pvsched_entry(vcpu.w, 0, 0)
    assert vcpu.account["cutoff_ns"] == 2 * MSEC
    pvsched_exit(vcpu.w, 0, False, 1_500 * USEC)
    assert vcpu.debts() == (1_500 * USEC, 1_500 * USEC)
    assert not vcpu.account["boosted"]
    pvsched_entry(vcpu.w, 0, 1_600 * USEC)
    pvsched_exit(vcpu.w, 0, True, 2_500 * USEC)  # 1 ms without a boost, in the host and in the guest
    assert vcpu.debts() == (500 * USEC, 500 * USEC)
    assert vcpu.account["boosted"]
    pvsched_entry(vcpu.w, 0, 2_500 * USEC)
    assert vcpu.account["cutoff_ns"] == 4 * MSEC  # 1.5 ms are left
    settle_budgets(vcpu.w, 0, 3 * MSEC)
    pvsched_exit(vcpu.w, 0, False, 3 * MSEC)
    pvsched_exit(vcpu.w, 0, False, 10 * MSEC)
    assert vcpu.debts() == (0, 0)


def test_a_used_up_budget_is_back_when_no_debt_is_left():
    vcpu = Vcpu()
    pvsched_entry(vcpu.w, 0, 0)
    pvsched_exit(vcpu.w, 0, True, 2 * MSEC)
    assert vcpu.throttled() == (1, 0) and not vcpu.account["boosted"]
    pvsched_exit(vcpu.w, 0, True, 4 * MSEC - 1)
    assert vcpu.debts() == (1, 1) and vcpu.throttled() == (1, 0) and not vcpu.account["boosted"]
    pvsched_inject(vcpu.w, 0, 4 * MSEC - 1)
    assert not vcpu.account["boosted"]
    pvsched_inject(vcpu.w, 0, 4 * MSEC)
    assert vcpu.throttled() == (0, 0) and vcpu.account["boosted"]
    assert vcpu.account["throttles"] == 1


def test_the_smaller_budget_decides():
    vcpu = Vcpu(cs_ms=2, generic_ms=1)
    pvsched_entry(vcpu.w, 0, 0)
    assert vcpu.account["cutoff_ns"] == MSEC
    pvsched_exit(vcpu.w, 0, True, MSEC)
    assert vcpu.throttled() == (0, 1) and not vcpu.account["boosted"]


@pytest.mark.parametrize(
    ("cpu_us", "off_us", "debt_us", "throttled"),
    [
        (499, 0, 1_999, 0),
        (500, 0, 2_000, 1),
        (400, 3_000, 400, 0),  # the debt is gone, then it is charged
        (500, 3_000, 500, 1),  # ran first, it would have used the budget up
        (0, 1_000, 500, 0),
        (0, 1_500, 0, 0),
    ],
)
def test_time_in_the_host_counts_in_the_order_that_is_worse(cpu_us, off_us, debt_us, throttled):
    vcpu = Vcpu()
    pvsched_entry(vcpu.w, 0, 0)
    now_ns = 1_500 * USEC
    pvsched_exit(vcpu.w, 0, True, now_ns)
    pvsched_gets_cpu(vcpu.w, 0, 0, now_ns + cpu_us * USEC, now_ns + (cpu_us + off_us) * USEC)
    settle_budgets(vcpu.w, 0, now_ns + (cpu_us + off_us) * USEC)
    assert vcpu.debts()[CRITICAL] == debt_us * USEC
    assert vcpu.throttled()[CRITICAL] == throttled


def test_a_halt_keeps_the_boost_until_the_vcpu_enters():
    vcpu = Vcpu()
    pvsched_entry(vcpu.w, 0, 0)
    pvsched_exit(vcpu.w, 0, True, 100 * USEC)
    pvsched_gets_cpu(vcpu.w, 0, 1, 110 * USEC, 5 * MSEC)
    assert vcpu.account["boosted"] and vcpu.debts() == (10 * USEC, 10 * USEC)  # what it ran before it slept
    vcpu.account["throttled"][CRITICAL], vcpu.account["debt_ns"][CRITICAL] = 1, 9 * MSEC
    pvsched_gets_cpu(vcpu.w, 0, 1, 5 * MSEC, 6 * MSEC)
    assert not vcpu.account["boosted"]
