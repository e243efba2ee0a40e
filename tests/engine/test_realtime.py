"""vCPU threads of the real-time class, on whole machines."""

import numpy as np
import pytest

from tests.helpers.at_once import at_once
from vcpu_env.kernel.types import SCHED_BATCH, SCHED_FIFO, SCHED_NORMAL, SCHED_RR
from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario, ScenarioError

MSEC = 1_000_000
FIFO = {"scheduler": "fifo", "priority": 1}
HOG = {"summary": "", "threads": [{"name": "hog", "count": 1, "program": "user 10ms\nwork"}]}


def two_hogs(**host) -> Scenario:
    """A CPU with a FIFO vCPU and a fair one, each of a VM that only computes."""
    vms = [
        {"name": "a", "vcpus": 1, "workload": "hog", "boot_ns": 0, "vcpusched": [FIFO]},
        {"name": "b", "vcpus": 1, "workload": "hog", "boot_ns": 0},
    ]
    return at_once(Scenario(name="rt", host={"cpus": 1} | host, workloads={"hog": HOG}, vms=vms))


def cpu_ms(machine: Machine) -> list[int]:
    return [round(vm["cpu_ns"] / MSEC) for vm in machine.counters()["vms"]]


@pytest.mark.core
@pytest.mark.parametrize("kernel", ["6.19", "7.3"])
def test_a_fifo_vcpu_leaves_the_others_what_the_fair_server_keeps(kernel):
    machine = Machine(two_hogs(kernel=kernel), "stock", 1)
    machine.run_until(949 * MSEC)
    assert cpu_ms(machine) == [949, 0]
    machine.run_until(1049 * MSEC)
    assert cpu_ms(machine) == [950, 99]
    machine.run_until(1990 * MSEC)
    own, others = cpu_ms(machine)
    assert others in (100, 101) and own + others == 1990
    for vm in machine.counters()["vms"]:
        assert vm["cpu_ns"] + vm["ready_ns"] + vm["halted_ns"] == vm["alive_ns"] == 1990 * MSEC


@pytest.mark.core
def test_without_a_server_they_get_nothing():
    machine = Machine(two_hogs(fair_server_runtime_ns=0), "stock", 1)
    machine.run_until(1500 * MSEC)
    assert cpu_ms(machine) == [1500, 0]


@pytest.mark.core
def test_a_quota_does_not_stop_them():
    scenario = two_hogs()
    capped = scenario.vms[0].model_copy(update={"quota_us": 10_000})
    machine = Machine(scenario.model_copy(update={"vms": (capped, scenario.vms[1])}), "stock", 1)
    machine.run_until(300 * MSEC)
    assert cpu_ms(machine) == [300, 0]


def mixed(**host) -> Scenario:
    """A launched host of four CPUs: a FIFO guest, one with two round-robin vCPUs of four, a fair one, RT emulators."""
    vms = [
        {"name": "rt", "vcpus": 4, "workload": "dedup", "vcpusched": [FIFO], "emulatorsched": FIFO},
        {
            "name": "partly", "vcpus": 4, "workload": "dbench", "iothreads": 1, "vhost_ns": 8000,
            "vcpusched": [{"scheduler": "rr", "priority": 2, "vcpus": [1, 2]}, {"scheduler": "batch", "vcpus": [3]}],
            "iothreadsched": {"scheduler": "fifo", "priority": 3},
        },
        {"name": "fair", "vcpus": 4, "workload": "vips"},
    ]  # fmt: skip
    return Scenario(name="mixed", host={"cpus": 4} | host, vms=vms)


@pytest.mark.parametrize("kernel", ["6.19", "7.3"])
def test_time_adds_up_and_a_fork_has_the_same_future(kernel):
    machine = Machine(mixed(kernel=kernel), "series-v2", 3)
    policies = machine.world["task_struct"]["policy"][:12].tolist()
    assert policies == [SCHED_FIFO] * 4 + [SCHED_NORMAL, SCHED_RR, SCHED_RR, SCHED_BATCH] + [SCHED_NORMAL] * 4
    machine.run_until(140 * MSEC + 1)
    fork = machine.fork()
    for each in (machine, fork):
        each.run_until(160 * MSEC)
    assert np.array_equal(machine.world.words, fork.world.words)
    for vm, vcpus in zip(machine.counters()["vms"], (4, 4, 4), strict=True):
        assert vm["cpu_ns"] + vm["ready_ns"] + vm["halted_ns"] == vcpus * vm["alive_ns"]
    assert machine.counters()["vms"][0]["run_ns"] > 10 * MSEC


def test_their_pause_exits_yield_to_nobody():
    """Three RT vCPUs of a VM on two CPUs spin for each other: yield_to() refuses all of them."""
    vm = {"name": "rt", "vcpus": 3, "workload": "micro-ipi", "boot_ns": 0}
    counted = []
    for scheduler in ({"scheduler": "normal"}, {"scheduler": "rr", "priority": 1}):
        scenario = Scenario(name="spin", host={"cpus": 2}, vms=[vm | {"vcpusched": [scheduler]}])
        machine = Machine(at_once(scenario), "series-v2", 3)
        machine.run_until(300 * MSEC)
        counted.append(machine.counters()["kvm"])
    fair, realtime = counted
    assert fair["ple_yield_ok"] > 0.5 * fair["ple_yield_attempt"] > 100
    assert realtime["pause_exits"] > 10 and realtime["ple_yield_attempt"] > 10 and realtime["ple_yield_ok"] == 0


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (
            {"vcpusched": [{"scheduler": "fifo"}]},
            "vms.0.vcpusched.0.scheduler: value 'fifo' (allowed: with priority, 1..99)",
        ),
        (
            {"vcpusched": [{"scheduler": "batch", "priority": 1}]},
            "vms.0.vcpusched.0.priority: value 1 (allowed: only with fifo or rr)",
        ),
        (
            {"vcpusched": [FIFO | {"priority": 100}]},
            "vms.0.vcpusched.0.priority: value 100 (allowed: integer 1..99)",
        ),
        ({"vcpusched": [FIFO | {"vcpus": [0, 2]}]}, "vms.0.vcpusched.0.vcpus: value 2 (allowed: 0..1)"),
        ({"vcpusched": [FIFO, FIFO | {"vcpus": [1]}]}, "vms.0.vcpusched.1.vcpus: value 1 (allowed: once)"),
        ({"vcpusched": [FIFO | {"vcpus": []}]}, "vms.0.vcpusched.0.vcpus: none given (allowed: at least one)"),
        ({"iothreadsched": FIFO}, "vms.0.iothreadsched: given (allowed: with iothreads)"),
        (
            {"vcpusched": [{"scheduler": "deadline"}]},
            "vms.0.vcpusched.0.scheduler: value 'deadline' (allowed: normal, batch, idle, fifo, rr)",
        ),
    ],
)  # fmt: skip
def test_refused(fields, line):
    with pytest.raises(ScenarioError) as error:
        Scenario(name="s", vms=[{"name": "vm", "vcpus": 2, "workload": "dbench"} | fields])
    assert str(error.value) == line


@pytest.mark.parametrize(
    ("task", "line"),
    [
        ({"policy": "fifo"}, "host_tasks.0.policy: value 'fifo' (allowed: with priority, 1..99)"),
        (
            {"policy": "rr", "priority": 1, "nice": 5},
            "host_tasks.0.nice: value 5 (allowed: only with policy normal, batch, idle)",
        ),
        (
            {"policy": "fifo", "priority": 1, "program": [{"run_ns": 5}, {"policy": "idle"}]},
            "host_tasks.0.program: policy given (allowed: only with policy normal, batch, idle)",
        ),
    ],
)
def test_refused_of_host_tasks(task, line):
    with pytest.raises(ScenarioError) as error:
        Scenario(name="s", host_tasks=[{"name": "t"} | task])
    assert str(error.value) == line


def test_refused_of_the_host():
    with pytest.raises(ScenarioError) as error:
        Scenario(name="s", host={"fair_server_period_ns": 1_000_000}, host_tasks=[{"name": "t"}])
    assert str(error.value) == (
        "host.fair_server_runtime_ns: value 50000000 (allowed: 0..fair_server_period_ns, 1000000)"
    )
