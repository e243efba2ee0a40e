"""CPU Ready: the time that a vCPU's thread was runnable without a CPU, beside the rest of its life."""

import numpy as np
import pytest

from tests.helpers.at_once import at_once
from vcpu_env.base.jit import NIL
from vcpu_env.counters import measure
from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario, apply_overrides
from vcpu_env.trace.sched_events import SWITCH, pids, simulate_tasks

MSEC = 1_000_000


def hogs(vms: int, **host) -> Scenario:
    program = {"summary": "", "threads": [{"name": "hog", "count": 2, "program": "user 10ms\nwork"}]}
    vm = {"name": "vm", "count": vms, "vcpus": 2, "workload": "hogs"}
    return at_once(Scenario(name="hogs", host={"cpus": 2} | host, workloads={"hogs": program}, vms=[vm]))


@pytest.mark.core
def test_two_hogs_a_cpu_are_ready_half_the_time():
    scenario = apply_overrides(hogs(2), ["run.warmup_ns=10_000_000", "run.duration_ns=84_000_000"])
    counted = measure(Machine(scenario, "stock", 1), scenario.run)
    for vm in counted["vms"]:
        wall_ns = 2 * vm["alive_ns"]
        assert wall_ns == 2 * 84 * MSEC
        assert vm["ready_ns"] / wall_ns == pytest.approx(0.5, abs=0.02) and vm["halted_ns"] == 0
        assert vm["ready_ns"] + vm["cpu_ns"] + vm["halted_ns"] == wall_ns


@pytest.mark.core
def test_alone_nobody_waits():
    scenario = apply_overrides(hogs(1), ["run.warmup_ns=10_000_000", "run.duration_ns=40_000_000"])
    (vm,) = measure(Machine(scenario, "stock", 1), scenario.run)["vms"]
    assert vm["ready_ns"] < 0.001 * vm["alive_ns"] and vm["cpu_ns"] > 1.999 * vm["alive_ns"]


@pytest.mark.core
@pytest.mark.parametrize("placement", ["launched", "one_per_cpu"])
@pytest.mark.parametrize("end_ns", [7 * MSEC, 11 * MSEC + 137])
def test_it_is_what_the_trace_says(placement, end_ns):
    """By every switch and wake-up of the same run, and by the CPUs' own books; at any moment."""
    vms = [
        {"name": "a", "vcpus": 3, "workload": "dbench"},
        {"name": "b", "vcpus": 2, "workload": "dedup", "boot_ns": 0},
    ]
    host = {"cpus": 2, "placement": placement, "launch_gap_ns": 1 * MSEC, "noise": "none"}
    scenario = Scenario(name="s", host=host, vms=vms)
    machine = Machine(scenario, "stock", 4)
    machine.run_until(end_ns)
    counted = machine.counters()
    traced = by_trace(scenario, end_ns)
    for vm, first, count in ((counted["vms"][0], 0, 3), (counted["vms"][1], 3, 2)):
        own = traced[first : first + count].sum(axis=0)
        assert vm["cpu_ns"] == own[0]
        assert vm["cpu_ns"] + vm["ready_ns"] + vm["halted_ns"] == count * vm["alive_ns"]
        if placement == "one_per_cpu":  # of an idle CPU the trace takes an old clock for the time of a wake-up
            assert vm["ready_ns"] == pytest.approx(own[1], rel=0.01)
            assert vm["halted_ns"] == pytest.approx(own[2], abs=0.01 * own[1])
    if placement == "one_per_cpu":
        assert sum(vm["cpu_ns"] for vm in counted["vms"]) + counted["host"]["idle_ns"] == 2 * end_ns


def by_trace(scenario: Scenario, end_ns: int) -> np.ndarray:
    """Time on a CPU, runnable without one, and neither, of each vCPU: (vCPUs, 3)."""
    names = pids(scenario)
    first = len(names) - sum(vm.vcpus for vm in scenario.vms)
    spent = np.zeros((len(names), 3), np.int64)
    state, since = np.full(len(names), 2), np.zeros(len(names), np.int64)

    def becomes(task: int, new: int, now_ns: int) -> None:
        spent[task, state[task]] += now_ns - since[task]
        state[task], since[task] = new, now_ns

    for event in simulate_tasks(scenario, end_ns, 4):
        now_ns = int(event["time_ns"])
        if event["event"] != SWITCH:
            becomes(event["next_pid"], 1, now_ns)
            continue
        if event["prev_pid"] != NIL:
            becomes(event["prev_pid"], 1 if event["prev_state"] == 0 else 2, now_ns)
        if event["next_pid"] != NIL:
            becomes(event["next_pid"], 0, now_ns)
    for task in range(len(names)):
        becomes(task, state[task], end_ns)
    return spent[first:]


@pytest.mark.parametrize("workload", ["blackscholes", "dbench"])
def test_at_one_to_one_a_vm_loses_nothing_but_the_hosts_overhead(workload):
    """Two VMs of two vCPUs on four CPUs, launched: each does what it does alone, within what the noise takes."""
    vm = {"vcpus": 2, "workload": workload}
    run = {"warmup_ns": 300 * MSEC, "duration_ns": 400 * MSEC}
    done = []
    for names in ("a", "ab"):
        scenario = Scenario(name="s", host={"cpus": 4}, vms=[vm | {"name": name} for name in names], run=run)
        done.append([measure(Machine(scenario, "stock", seed), scenario.run)["vms"][0] for seed in range(4)])
    alone, beside = (sum(vm["work_units"] for vm in vms) for vms in done)
    assert beside / alone == pytest.approx(1, abs=0.005)
    for vm in done[1]:
        assert vm["ready_ns"] < 0.005 * 2 * vm["alive_ns"]
