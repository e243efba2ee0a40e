"""Whole machines on v7.3: its run queues hold together, slices end on time, runs repeat."""

import pytest

from tests.helpers.flat_invariants import check_flat
from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario, apply_overrides, load_scenario


def machine(*changes: str, policy: str = "stock", name: str = "dedup-2vm") -> Machine:
    small = ['host.kernel="7.3"', "host.cpus=2", "vms.*.vcpus=2", "vms.*.boot_ns=0", "run.policy_from_ns=0"]
    scenario = apply_overrides(load_scenario(name), [*small, "host.launch_gap_ns=100000", *changes])
    return Machine(scenario, policy, seed=1)


@pytest.mark.parametrize(
    ("policy", "changes"),
    [
        pytest.param("stock", [], marks=pytest.mark.core),
        ("series-v2", ['host.cgroups="libvirt"', 'host.cgroup_mode="tasks"']),
        ("stock-transfer", ['host.cgroups="flat"']),
        ("strict-borrow", ["vms.0.quota_us=60000"]),
        ("forfeit-quarter", ['host.preempt="full"', "host.features.HRTICK=false", "host.cpus=1"]),
    ],
)
def test_run_queues_hold_together(policy, changes):
    host = machine(*changes, policy=policy)
    for step in range(1, 61):
        host.run_until(step * 400_000)
        check_flat(host.world)
    assert host.counters()["sched"]["nr_switches"] > 20


@pytest.mark.core
def test_slices_end_on_time():
    """Two hogs of a CPU change places after a slice of 0.7 ms with HRTICK, else at ticks, here 10 ms apart."""
    switches = []
    for hrtick in (True, False):
        host = {"cpus": 1, "kernel": "7.3", "hz": 100, "features": {"HRTICK": hrtick}}
        hogs = Machine(Scenario(name="hogs", host=host, host_tasks=[{"name": "A"}, {"name": "B"}]))
        hogs.run_until(100_000_000)
        switches.append(hogs.counters()["sched"]["nr_switches"])
    assert 130 < switches[0] < 150
    assert switches[1] < 15


def test_a_copy_goes_on_alike():
    host = machine(policy="series-v2")
    host.run_until(10_000_000)
    copy = host.fork()
    host.run_until(15_000_000)
    copy.run_until(15_000_000)
    assert host.counters() == copy.counters()


def test_kernels_differ():
    on_7_3, on_6_19 = machine(), machine('host.kernel="6.19"')
    for host in (on_7_3, on_6_19):
        host.run_until(15_000_000)
    assert on_7_3.counters() != on_6_19.counters()
