"""Everything at once: threads and nodes, quotas, VMs that come and go, paravirtual guests, tasks that are no vCPUs."""

import pytest

from tests.helpers.at_once import AT_ONCE
from tests.helpers.invariants import assert_invariants, next_event_ns
from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario

MSEC = 1_000_000
STOP_NS = 15 * MSEC

FULL = Scenario(
    name="full",
    host=AT_ONCE | {"topology": "2s2c2t", "cpus": 8, "cgroups": "libvirt", "noise": "light"},
    groups=[{"name": "batch", "quota_us": 1_000, "period_us": 5_000}],
    vms=[
        {
            "name": "short",
            "vcpus": 8,
            "workload": "dedup",
            "stop_ns": STOP_NS,
            "vcpu_quota_us": 1_000,
            "period_us": 4_000,
            "steal_time": "reported",
            "pv_tlb_flush": True,
            "pv_sched_yield": True,
        },
        {"name": "late", "vcpus": 8, "workload": "dbench", "start_ns": 5 * MSEC, "lock": "pvqspinlock"},
        {
            "name": "files",
            "vcpus": 4,
            "workload": "dbench",
            "params": {"block_per_s": 5000},
            "emulator_threads": 1,
            "vhost_ns": 8_000,
            "balance": "periodic",
            "ipi_mode": "cluster",
        },
    ],
    host_tasks=[
        {"name": "hog", "count": 3, "group": "batch"},
        {"name": "sleeper", "program": [{"run_ns": 200_000}, {"sleep_ns": 300_000}]},
    ],
    changes=[{"at_ns": 10 * MSEC, "group": "batch", "weight": 300}],
)


def run(policy: str, *ends_ns: int) -> Machine:
    machine = Machine(FULL, policy, 2)
    for end_ns in ends_ns:
        machine.run_until(end_ns)
    return machine


def test_the_parts_of_the_scenario_act():
    counted = run("series-v2", 30 * MSEC).counters()
    short, late, files = counted["vms"]
    assert short["run_ns"] > 0 and late["work_units"] > 0 and files["work_units"] > 0
    limited = {group["name"]: group for group in counted["cgroups"]}
    assert limited["batch"]["nr_throttled"] > 0
    assert limited["short/vcpu0"]["nr_throttled"] > 0
    assert short["smt_lost_ns"] > 0
    tasks = {task["name"]: task for task in counted["host_tasks"]}
    assert 5 * MSEC <= sum(tasks[f"hog-{i + 1}"]["run_ns"] for i in range(3)) <= 12 * MSEC  # 1 ms in 5, ticks overrun
    assert tasks["sleeper"]["wakeups"] > 20


def test_a_vm_that_ends_while_it_is_throttled_leaves_nothing_behind():
    """Some of its vCPUs are in limbo at that moment, and never come back from it."""
    machine = run("stock", STOP_NS - 1)
    tasks, entities = machine.world["task_struct"][:8], machine.world["sched_entity"][:8]
    assert any(tasks["on_rq"] > entities["on_rq"])
    machine.run_until(STOP_NS)
    before = machine.counters()["vms"][0]
    machine.run_until(2 * STOP_NS)
    assert not machine.world["task_struct"][:8]["on_rq"].any()
    assert not set(range(8)) & set(machine.world["rq"]["curr"].tolist())
    after = machine.counters()["vms"][0]
    assert {name: after[name] for name in ("run_ns", "steal_ns", "idle_ns", "work_units")} == {
        name: before[name] for name in ("run_ns", "steal_ns", "idle_ns", "work_units")
    }


@pytest.mark.parametrize("policy", ["stock", "series-v2", "series-v2-numa", "unserved-credit"])
def test_the_same_in_parts_and_in_a_fork(policy):
    whole = run(policy, 20 * MSEC)
    half = run(policy, 5 * MSEC, 12 * MSEC)
    fork = half.fork()
    for machine in (half, fork):
        machine.run_until(20 * MSEC)
    assert half.counters() == fork.counters() == whole.counters()


def test_invariants_after_every_event():
    machine = run("series-v2", STOP_NS - 150_000)
    for _ in range(400):
        machine.run_until(next_event_ns(machine))
        assert_invariants(machine)
    assert machine.now_ns > STOP_NS
