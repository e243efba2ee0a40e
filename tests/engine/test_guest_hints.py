"""pvsched on whole machines: critical sections keep their CPU, interrupts get one, within the budget."""

import pytest

from vcpu_env.engine.guest_hints import cs_state
from vcpu_env.guest.types import COMPUTE, OVERHEAD, SPIN_CALL
from vcpu_env.kvm.lapic import VECTOR_CALL
from vcpu_env.kvm.pvsched import CS_HARDIRQ, CS_PREEMPT_OFF
from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario, apply_overrides, load_scenario

MSEC = 1_000_000
KERNELS = pytest.mark.parametrize("kernel", ["6.19", "7.3"])


def machine(kernel: str, policy: str, *changes: str, name: str = "dedup-2vm") -> Machine:
    small = [f'host.kernel="{kernel}"', "host.cpus=2", "vms.*.vcpus=4", "vms.*.boot_ns=0", "run.policy_from_ns=0"]
    scenario = apply_overrides(load_scenario(name), [*small, "host.launch_gap_ns=100000", *changes])
    return Machine(scenario, policy, seed=1)


def sums(host: Machine) -> dict[str, int]:
    accounts = host.world["pvsched_vcpu"]
    return {name: int(accounts[name].sum()) for name in ("boosts", "throttles", "notices", "cutoffs")}


@pytest.mark.core
def test_what_a_guest_publishes():
    host = machine("6.19", "pvsched-preempt-off")
    w, vcpu, thread = host.world.handle, host.world["guest_vcpu"], host.world["guest_thread"]
    vcpu["irq"], vcpu["current"] = 0, 0
    thread["activity"], thread["stage"], thread["nr_held"] = COMPUTE, 0, 0
    assert cs_state(w, 0) == 0
    vcpu["irq"] = VECTOR_CALL
    assert cs_state(w, 0) == CS_HARDIRQ
    vcpu["irq"] = OVERHEAD
    assert cs_state(w, 0) == CS_PREEMPT_OFF
    vcpu["irq"], thread["activity"] = VECTOR_CALL, SPIN_CALL
    assert cs_state(w, 0) == CS_HARDIRQ | CS_PREEMPT_OFF
    host.world["pvsched"]["cs_bits"] = CS_HARDIRQ
    assert cs_state(w, 0) == CS_HARDIRQ


@KERNELS
@pytest.mark.parametrize("policy", ["pvsched-preempt-off", "pvsched"])
def test_hosts_with_hints_hold_together(kernel, policy):
    """Nobody exceeds its budget by more than some work in the host; runs repeat, and a copy goes on alike."""
    host = machine(kernel, policy, name="dbench-2vm")
    for _ in range(40):
        host.run_until(host.now_ns + MSEC)
        accounts = host.world["pvsched_vcpu"]
        assert (accounts["debt_ns"] <= 2 * MSEC + 50_000).all()
        assert (accounts["debt_ns"][:, 0] == accounts["debt_ns"][:, 1]).all()  # so the larger budget never decides
        boosted = accounts["boosted"] == 1
        assert not (boosted & (accounts["throttled"][:, 0] == 1) & (accounts["in_guest"] == 0)).any()
    found = sums(host)
    assert found["boosts"] > 50 and found["notices"] > 20
    copy = host.fork()
    for each in (host, copy):
        each.run_until(50 * MSEC)
    assert host.counters() == copy.counters()
    again = machine(kernel, policy, name="dbench-2vm")
    again.run_until(50 * MSEC)
    assert again.counters() == host.counters()


@KERNELS
def test_real_time_threads_are_not_boosted(kernel):
    vm = {"vcpus": 2, "workload": "dbench", "boot_ns": 0}
    vms = [vm | {"name": "fifo", "vcpusched": [{"scheduler": "fifo", "priority": 1}]}, vm | {"name": "fair"}]
    host = Machine(Scenario(name="classes", host={"cpus": 4, "kernel": kernel}, vms=vms), "pvsched-preempt-off", 1)
    host.run_until(host.scenario.policy_from_ns + 60 * MSEC)
    boosts = host.world["pvsched_vcpu"]["boosts"]
    assert boosts[:2].sum() == 0 and boosts[2:].sum() > 0


@KERNELS
def test_a_budget_that_is_used_up_cuts_spinners_off(kernel):
    """With a budget of 50 us waiting for a lock or a cross-call is longer than that."""
    host = machine(kernel, "pvsched-preempt-off")
    host.world["pvsched"]["cs_budget_ns"] = 50_000
    host.run_until(60 * MSEC)
    found = sums(host)
    assert found["cutoffs"] > 5 and found["throttles"] >= found["cutoffs"]
    assert (host.world["pvsched_vcpu"]["debt_ns"] < 100_000).all()


@KERNELS
def test_an_interrupt_brings_a_waiting_vcpu_to_its_cpu(kernel):
    """Cross-calls to vCPUs that wait for a CPU are answered sooner than on a host without hints."""
    latency = {}
    for policy in ("stock", "pvsched"):
        host = machine(kernel, policy)
        host.run_until(100 * MSEC)
        apics = host.world["lapic"]
        latency[policy] = apics["ipi_latency_ns"].sum() / apics["ipis"].sum()
    assert latency["pvsched"] < latency["stock"] / 4


@KERNELS
def test_a_lock_holder_keeps_its_cpu(kernel):
    """Under a spin lock no vCPU is switched out while its budget lasts."""
    host = machine(kernel, "pvsched-preempt-off", name="dbench-2vm")
    host.world["pvsched"]["cs_budget_ns"] = 10**15
    for _ in range(400):
        host.run_until(host.now_ns + 100_000)
        vcpus = host.world["kvm_vcpu"]
        for v in range(len(vcpus)):
            if vcpus["preempted"][v]:
                assert cs_state(host.world.handle, v) == 0, v
