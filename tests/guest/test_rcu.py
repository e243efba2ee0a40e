"""Grace periods of the guest: by hand, and as overcommit stretches them."""

import pytest

from tests.helpers.at_once import at_once
from tests.helpers.guest_probe import Probe
from vcpu_env.base.jit import NIL
from vcpu_env.guest import workloads
from vcpu_env.guest.program import Program
from vcpu_env.guest.rcu import EXPEDITED, NORMAL, note_quiescent_state, synchronize_rcu
from vcpu_env.guest.types import BLOCKED, RUNNABLE
from vcpu_env.kvm.lapic import VECTOR_CALL
from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario

MSEC = 1_000_000


def waiting(kind: int) -> Probe:
    """Thread 0 waits for a grace period since 1000 ns; vCPU 3 is idle."""
    vm = Probe()
    vm.set("guest_vcpu", 3, current=NIL)
    assert synchronize_rcu(vm.w, 0, kind, 1000) == 0
    return vm


def state(vm: Probe, t: int) -> int:
    return vm.get("guest_thread", t, "state")


@pytest.mark.core
@pytest.mark.parametrize("kind", [NORMAL, EXPEDITED])
def test_ends_when_all_that_were_not_idle_have_passed(kind):
    vm = waiting(kind)
    assert (vm.get("grace_period", kind, "awaited"), state(vm, 0)) == (0b0110, BLOCKED)
    note_quiescent_state(vm.w, 2, kind, 2000)
    note_quiescent_state(vm.w, 3, kind, 2500)
    assert (vm.get("grace_period", kind, "awaited", "completed"), state(vm, 0)) == ((0b0010, 0), BLOCKED)
    note_quiescent_state(vm.w, 1, kind, 5000)
    assert vm.get("grace_period", kind, "awaited", "completed", "total_ns") == (0, 1, 4000)
    assert state(vm, 0) == RUNNABLE
    assert synchronize_rcu(vm.w, 0, kind, 6000) == 1


@pytest.mark.core
def test_expedited_sends_a_unicast_to_each_that_is_not_idle():
    vm = waiting(EXPEDITED)
    assert vm.world["lapic"]["irr"].tolist() == [0, VECTOR_CALL, VECTOR_CALL, 0]
    assert vm.get("guest_vcpu", 0, "overhead_ns") == 2 * 700
    assert waiting(NORMAL).world["lapic"]["irr"].tolist() == [0, 0, 0, 0]


@pytest.mark.core
def test_who_comes_later_waits_for_the_next():
    vm = waiting(NORMAL)
    assert synchronize_rcu(vm.w, 1, NORMAL, 2000) == 0
    note_quiescent_state(vm.w, 1, NORMAL, 2000)
    note_quiescent_state(vm.w, 2, NORMAL, 3000)
    # thread 0 is awake, but not on its CPU yet: only vCPU 2 runs a thread
    assert (state(vm, 0), state(vm, 1)) == (RUNNABLE, BLOCKED)
    assert vm.get("grace_period", NORMAL, "awaited", "completed", "start_ns") == (0b0100, 1, 3000)
    note_quiescent_state(vm.w, 2, NORMAL, 7000)
    assert state(vm, 1) == RUNNABLE
    assert vm.get("grace_period", NORMAL, "completed", "total_ns") == (2, 2000 + 4000)


@pytest.mark.core
def test_alone_there_is_nothing_to_wait_for():
    vm = Probe()
    vm.world["guest_vcpu"]["current"][1:] = NIL
    synchronize_rcu(vm.w, 0, NORMAL, 1000)
    assert (vm.get("grace_period", NORMAL, "completed", "total_ns"), state(vm, 0)) == ((1, 0), RUNNABLE)


@pytest.fixture
def mean_ns(monkeypatch):
    """The mean grace period of a VM of 4 vCPUs, all busy, one of which only waits for grace periods."""

    def measured(expedited: bool, vms: int, run_ms: int = 400, policy: str = "stock") -> float:
        def build(plan, _):
            updater, reader = Program(), Program()
            updater.user(50_000)
            updater.synchronize_rcu(expedited)
            reader.user(300_000)
            for program in (updater, reader, reader, reader):
                plan.thread(program)

        workload = workloads.Workload("probe", "units", "a guest of a test", {}, build)
        monkeypatch.setitem(workloads.WORKLOADS, "probe", workload)
        vm = {"name": "vm", "count": vms, "vcpus": 4, "workload": "probe"}
        machine = Machine(at_once(Scenario(name="rcu", host={"cpus": 4}, vms=[vm])), policy, 0)
        machine.run_until(run_ms * MSEC)
        periods = machine.world["grace_period"]
        assert sum(vm["grace_periods"] for vm in machine.counters()["vms"]) == periods["completed"].sum() > 10
        return periods["total_ns"].sum() / periods["completed"].sum()

    return measured


def test_normal_grace_period_takes_a_tick_and_the_time_without_a_cpu(mean_ns):
    alone, crowded = mean_ns(False, 1), mean_ns(False, 3)
    assert 0 < alone <= 4 * MSEC
    assert crowded > alone + MSEC


def test_expedited_grace_period_takes_an_ipi_and_the_time_without_a_cpu(mean_ns):
    alone, crowded = mean_ns(True, 1), mean_ns(True, 3)
    assert 1000 < alone < 20_000
    assert crowded > 50 * alone
