"""VMs launched as on a host: VMMs fork vCPUs one after another, guests boot, placement is the scheduler's own."""

import numpy as np
import pytest

from tests.helpers.invariants import assert_invariants
from vcpu_env.build.blueprint import launch_times
from vcpu_env.kernel.types import TASK_DEAD, TASK_NEW
from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario, apply_overrides
from vcpu_env.validate.cells import cells, scenario_of

MSEC = 1_000_000


def hogs(cpus: int = 4, vms: int = 2, vcpus: int = 4, host: dict | None = None, **vm) -> Scenario:
    return Scenario(
        name="hogs",
        host={"cpus": cpus} | (host or {}),
        workloads={"hogs": {"summary": "", "threads": [{"name": "hog", "count": vcpus, "program": "user 10ms\nwork"}]}},
        vms=[{"name": "vm", "count": vms, "vcpus": vcpus, "workload": "hogs", "boot_ns": 0} | vm],
    )


def started(machine: Machine) -> np.ndarray:
    states = machine.world["task_struct"]["state"][: len(machine.world["kvm_vcpu"])]
    return states != TASK_NEW


def test_vms_are_launched_in_turn():
    scenario = hogs(vms=3, host={"launch_gap_ns": 10 * MSEC})
    first, second, third = launch_times(scenario, 0)
    assert 0 <= first < 10 * MSEC <= second < 20 * MSEC <= third < 30 * MSEC
    assert launch_times(scenario, 1) != [first, second, third]
    late = hogs(vms=1, start_ns=50 * MSEC)
    assert 50 * MSEC <= launch_times(late, 0)[0] < 60 * MSEC
    assert launch_times(hogs(host={"placement": "one_per_cpu"}), 0) == [0, 0]


@pytest.mark.core
def test_vcpus_are_created_one_after_another():
    machine = Machine(hogs(cpus=2, vms=1, vcpus=3, host={"launch_gap_ns": 0}), "stock", 1)
    machine.run_until(50_000)
    assert not started(machine).any()  # the VMM works first
    begun = []
    for end_ns in range(100_000, 8 * MSEC, 50_000):
        machine.run_until(end_ns)
        begun.append(int(started(machine).sum()))
    assert begun[-1] == 3 and begun == sorted(begun) and 1 in begun and 2 in begun
    assert_invariants(machine)


def test_the_vmm_sleeps_and_its_load_decays():
    """It lies in the VM's group: whose weight leans to the CPU where the VMM slept, with a half-life of 32 ms."""
    machine = Machine(hogs(cpus=2, vms=1, vcpus=2, host={"launch_gap_ns": 0, "noise": "none"}), "stock", 0)
    nr_tasks = len(machine.world["task_struct"])
    leaning = []
    for end_ms in (20, 52, 84, 300):
        machine.run_until(end_ms * MSEC)
        weights = machine.world["sched_entity"]["weight"][nr_tasks : nr_tasks + 2] >> 10
        leaning.append(abs(int(weights[0]) - int(weights[1])))
    assert leaning[0] > 100
    assert leaning[1] == pytest.approx(leaning[0] / 2, rel=0.25)
    assert leaning[2] == pytest.approx(leaning[1] / 2, rel=0.25)
    assert leaning[3] <= 4
    assert machine.counters()["host_tasks"][0]["run_ns"] == 200_000


def test_a_booting_guest_sleeps():
    machine = Machine(hogs(vms=1, host={"launch_gap_ns": 0}, boot_ns=50 * MSEC), "stock", 2)
    machine.run_until(20 * MSEC)
    vm = machine.counters()["vms"][0]
    assert 0 < vm["run_ns"] < 0.4 * 4 * 20 * MSEC
    machine.run_until(200 * MSEC)
    before = machine.counters()["vms"][0]["run_ns"]
    machine.run_until(210 * MSEC)
    assert machine.counters()["vms"][0]["run_ns"] - before > 0.95 * 4 * 10 * MSEC


def test_siblings_share_cpus_about_as_often_as_at_random():
    """A real host: 47 % of vCPUs on 4 CPUs (60 of 128); of pairs of equal counts at random 43 %."""
    stacked = ticks = 0
    for seed in range(20):
        machine = Machine(hogs(4, 2, 4, boot_ns=50 * MSEC), "stock", seed)
        machine.run_until(150 * MSEC)
        before = machine.counters()["alignment"]
        machine.run_until(200 * MSEC)
        after = machine.counters()["alignment"]
        stacked += after["stacked_ticks"] - before["stacked_ticks"]
        ticks += after["vcpu_ticks"] - before["vcpu_ticks"]
    assert 0.35 < stacked / ticks < 0.65


def test_a_vm_launched_beside_a_busy_one_spreads():
    """Every CPU has one vCPU of the first when the second comes: a fork goes where least is."""
    for seed in range(4):
        machine = Machine(hogs(4, 2, 4, {"launch_gap_ns": 50 * MSEC}), "stock", seed)
        machine.run_until(150 * MSEC)
        assert sorted(machine.world["task_struct"]["cpu"][4:8].tolist()) == [0, 1, 2, 3]


def test_one_per_cpu_has_no_stacked_sibling():
    machine = Machine(hogs(host={"placement": "one_per_cpu"}), "stock", 0)
    machine.run_until(50 * MSEC)
    counted = machine.counters()["alignment"]
    assert counted["vcpu_ticks"] > 0 and counted["stacked_ticks"] == 0


def test_pinned_vcpus_are_launched_where_they_belong():
    scenario = Scenario(
        name="pinned",
        host={"cpus": 2},
        vms=[
            {"name": f"vm{i}", "vcpus": 2, "workload": "blackscholes", "boot_ns": 0, "pinning": [i, i]}
            for i in range(2)
        ],
    )
    machine = Machine(scenario, "stock", 0)
    machine.run_until(60 * MSEC)
    assert machine.world["task_struct"]["cpu"][:4].tolist() == [0, 0, 1, 1]
    counted = machine.counters()["alignment"]
    assert counted["stacked_ticks"] > 0.9 * counted["vcpu_ticks"]
    assert counted["gang_ns"] == 0 < counted["busy_ns"]


@pytest.mark.core
@pytest.mark.parametrize("placement", ["launched", "one_per_cpu"])
def test_vcpus_pinned_to_sets_stay_within_them(placement):
    """Five hogs, three on CPUs 1 and 2, one on 0: nobody ever leaves its set, which is used up."""
    host = {"cpus": 4, "placement": placement, "noise": "none", "cgroups": "flat"}
    sets = [[1, 2], [1, 2], [2, 1], 0, [0, 1, 2, 3]]
    machine = Machine(hogs(vms=1, vcpus=5, host=host, pinning=sets), "stock", 3)
    machine.run_until(30 * MSEC)
    before = machine.world["guest_vcpu"]["run_ns"].copy()
    seen: list[set[int]] = [set() for _ in sets]
    for end_ms in range(31, 91):
        machine.run_until(end_ms * MSEC)
        for cpus, cpu in zip(seen, machine.world["task_struct"]["cpu"][:5].tolist(), strict=True):
            cpus.add(cpu)
    assert seen[0] | seen[1] | seen[2] == {1, 2} and seen[3] == {0} and seen[4] == {3}
    ran = machine.world["guest_vcpu"]["run_ns"] - before
    assert ran[:3].sum() == pytest.approx(2 * 60 * MSEC, rel=0.02) and ran[:3].min() > 0.4 * 60 * MSEC
    assert ran[3:].min() > 0.97 * 60 * MSEC


def test_emulator_and_iothreads_stay_where_they_are_pinned():
    """The VMM on CPU 3, two IOThreads on 2 and on 2 or 3; they serve the requests, within their quota."""
    vm = {"name": "vm", "vcpus": 2, "workload": "dbench", "params": {"block_per_s": 5000}, "pinning": [0, 1]}
    vm |= {"emulator_cpus": [3], "emulator_threads": 1, "vhost_ns": 20_000, "boot_ns": 0}
    vm |= {"iothreads": 2, "iothread_cpus": [2, [2, 3]], "iothread_quota_us": 1000, "iothread_period_us": 20_000}
    host = {"cpus": 4, "launch_gap_ns": 0, "noise": "none", "cgroups": "libvirt"}
    machine = Machine(Scenario(name="io", host=host, vms=[vm]), "stock", 0)
    seen: list[set[int]] = [set() for _ in range(4)]
    for end_ms in range(1, 61):
        machine.run_until(end_ms * MSEC)
        for cpus, cpu in zip(seen, machine.world["task_struct"]["cpu"][2:].tolist(), strict=True):
            cpus.add(cpu)
    assert seen[0] == seen[1] == {3} and seen[2] == {2} and seen[3] <= {2, 3}
    counted = machine.counters()
    tasks = {task["name"]: task for task in counted["host_tasks"]}
    assert list(tasks) == ["vm-vmm", "vm-emulator", "vm-iothread1", "vm-iothread2"]
    for name in ("vm-iothread1", "vm-iothread2"):
        assert 0.3 * MSEC < tasks[name]["run_ns"] < 3 * MSEC + 2 * MSEC
    groups = {group["name"]: group for group in counted["cgroups"]}
    assert set(groups) == {"vm/vm-iothread1", "vm/vm-iothread2"} and groups["vm/vm-iothread1"]["nr_throttled"] > 0


@pytest.mark.parametrize("seed", range(4))
def test_gang_index_of_vms_that_take_turns(seed):
    """Two VMs with one vCPU on each CPU, all begun at once, that make calls: nearly always both CPUs run one VM."""
    cell = next(cell for cell in cells() if cell.id == "trpin-n2-ipi-2vm-stock")
    overrides = ["host.placement=one_per_cpu", "host.noise=none", "host_tasks=[]"]
    machine = Machine(apply_overrides(scenario_of(cell), overrides), "stock", seed)
    machine.run_until(100 * MSEC)
    counted = machine.counters()
    alignment = counted["alignment"]
    assert alignment["busy_ns"] > 0.9 * 100 * MSEC
    assert alignment["gang_ns"] > 0.9 * alignment["busy_ns"]
    assert alignment["unison_switches"] > 0.8 * alignment["vcpu_switches"] > 50
    together = [vm["together_ns"] for vm in counted["vms"]]
    assert sum(together) == pytest.approx(alignment["gang_ns"], rel=0.02)


def test_everything_of_a_vm_ends_with_it():
    scenario = hogs(2, 2, 2, {"launch_gap_ns": 0}, emulator_threads=1, vhost_ns=5000)
    vms = [vm.model_dump(exclude_unset=True) for vm in scenario.expanded_vms]
    vms[1]["stop_ns"] = 40 * MSEC
    machine = Machine(Scenario(**(scenario.model_dump(exclude_unset=True) | {"vms": vms})), "stock", 3)
    machine.run_until(41 * MSEC)
    names = [task["name"] for task in machine.counters()["host_tasks"]]
    states = machine.world["task_struct"]["state"][4:]
    dead = {name for name, state in zip(names, states, strict=True) if state == TASK_DEAD}
    assert dead == {name for name in names if name.startswith("vm-2")} != set()
    assert_invariants(machine)


def test_a_vm_that_ends_before_its_vcpus_are_there():
    scenario = hogs(2, 1, 4, {"launch_gap_ns": 0}, stop_ns=300_000)
    machine = Machine(scenario, "stock", 0)
    machine.run_until(20 * MSEC)
    vm = machine.counters()["vms"][0]
    assert vm["alive_ns"] == 300_000
    assert not machine.world["task_struct"]["on_rq"][:5].any()


def test_every_policy_begins_with_the_same_placement():
    scenario = hogs(4, 2, 4)
    stock, other = Machine(scenario, "stock", 5), Machine(scenario, "series-v2", 5)
    assert scenario.policy_from_ns == 300 * MSEC
    for machine in (stock, other):
        machine.run_until(299 * MSEC)
    assert (stock.world["task_struct"] == other.world["task_struct"]).all()
    assert other.world["deboost_params"]["deboost"][0] == 0
    other.run_until(300 * MSEC)
    assert other.world["deboost_params"]["deboost"][0] != 0
    at_once = Machine(hogs(host={"placement": "one_per_cpu"}), "series-v2", 5)
    assert at_once.world["deboost_params"]["deboost"][0] != 0


def test_skewed_ticks():
    """skew_tick=1: the ticks of 4 CPUs lie an eighth of a period apart."""
    machine = Machine(hogs(4, 1, 4, {"skew_tick": True, "noise": "none"}), "stock", 0)
    machine.run_until(100 * MSEC)
    due = machine.world["event"]["when_ns"][:4]
    assert (due % MSEC).tolist() == [0, 125_000, 250_000, 375_000]


def test_quiet_noise_is_the_default_beside_vms():
    names = [task.name for task in hogs(2, 1, 2).expanded_host_tasks]
    assert names == ["vm-vmm", "kworker-cpu0", "kworker-cpu1", "noise-rcu_preempt", "noise-kcompactd"]
    alone = Scenario(name="alone", host={"cpus": 2}, host_tasks=[{"name": "mine"}])
    assert [task.name for task in alone.expanded_host_tasks] == ["mine"]


def test_noise_has_the_recorded_rates():
    """Per second: 13 wake-ups of rcu_preempt, 2 of kcompactd, 3 of kworkers on 2 CPUs."""
    machine = Machine(hogs(2, 1, 2), "stock", 0)
    machine.run_until(10_000 * MSEC)
    woken = {task["name"]: task["wakeups"] for task in machine.counters()["host_tasks"]}
    assert 100 < woken["noise-rcu_preempt"] < 160
    assert 10 < woken["noise-kcompactd"] < 32
    assert 18 < woken["kworker-cpu0"] + woken["kworker-cpu1"] < 45
