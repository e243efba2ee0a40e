"""Quotas, cpu.idle and changes of a whole machine: from the scenario to what the VMs get, and what a reader is told."""

import numpy as np
import pytest

from tests.helpers.at_once import at_once
from tests.helpers.invariants import assert_invariants, next_event_ns
from tests.helpers.run_hash import run_hash_elsewhere
from tests.helpers.small_env import CANDIDATE_CHOICE, answer, make, play, same
from tests.helpers.smp_driver import Host
from vcpu_env.base.jit import NIL, call
from vcpu_env.build.blueprint import cgroup_tree
from vcpu_env.kernel.balance_trigger import get_sd_balance_interval
from vcpu_env.kernel.bandwidth import RUNTIME_INF, Bandwidth
from vcpu_env.kernel.build import Group, Task
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.entry_points import yield_to_begin
from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario

MSEC = 1_000_000
STAT = ("nr_periods", "nr_throttled", "throttled_usec", "nr_bursts", "burst_usec")


def host(cgroups: str = "per_vm", vms: int = 2, workload: str = "dedup", changes=(), groups=(), **vm) -> Scenario:
    """Two CPUs and VMs of two vCPUs."""
    return at_once(
        Scenario(
            name="small",
            host={"cpus": 2, "cgroups": cgroups},
            groups=groups,
            vms=[{"name": "vm", "count": vms, "vcpus": 2, "workload": workload} | vm],
            changes=changes,
        )
    )


LIMITED = {
    "vm": host(quota_us=2000, period_us=5000, burst_us=1000),
    "vcpu": host("libvirt", vcpu_quota_us=1000, period_us=4000),
    "both": host("libvirt", quota_us=3000, vcpu_quota_us=1000, period_us=4000, workload="vips"),
    "group": host("flat", groups=[{"name": "all", "quota_us": 5000, "period_us": 5000}], group="all"),
}


def in_limbo(machine: Machine) -> list[int]:
    tasks = machine.world["task_struct"]
    return np.flatnonzero((tasks["on_rq"] != 0) & (machine.world["sched_entity"]["on_rq"][: len(tasks)] == 0)).tolist()


def at_a_throttled_moment(scenario: Scenario, policy: str = "series-v2") -> Machine:
    machine = Machine(scenario, policy, 3)
    while not in_limbo(machine):
        machine.run_until(next_event_ns(machine))
    return machine


def steps(machine: Machine) -> dict[str, dict[str, int]]:
    return {row["name"]: row for row in machine.counters()["cgroups"]}


@pytest.mark.core
@pytest.mark.parametrize("name", LIMITED)
def test_invariants_after_every_event(name):
    machine, seen = Machine(LIMITED[name], "series-v2", 5), 0
    for _ in range(1500):
        machine.run_until(next_event_ns(machine))
        if machine.world["machine_clock"]["events"][0] % 7:
            continue
        assert_invariants(machine)
        seen += len(in_limbo(machine)) > 0
    assert seen > 0


@pytest.mark.core
def test_a_throttled_vcpu_looks_preempted_and_cannot_be_yielded_to():
    """KVM sees a candidate like any other; yield_to() refuses it, also when its CPU has nothing else to run."""
    machine = at_a_throttled_moment(LIMITED["vcpu"])
    world = machine.world
    target = in_limbo(machine)[0]
    vcpu = world["kvm_vcpu"][target]
    assert vcpu["preempted"] and vcpu["ready"] and not vcpu["blocking"]
    assert world["lapic"]["cpu"][target] == NIL
    home = int(world["task_struct"]["cpu"][target])
    for cpu in (home, 1 - home):
        update_rq_clock(world.handle, cpu, machine.now_ns)
        world["rq"]["nr_running"][cpu] += 2
        assert call(yield_to_begin, world.handle, cpu, target) == 0
    assert (world["cfs_rq"]["next"] != target).all()


@pytest.mark.core
def test_without_quotas_there_is_nothing():
    machine = Machine(host(), "stock", 0)
    assert "cfs_bandwidth" not in machine.world.arrays
    assert "cgroups" not in machine.counters()
    assert not machine.world["cfs_rq"]["runtime_enabled"].any()


@pytest.mark.core
def test_limits_reach_their_groups():
    scenario = host("libvirt", vms=1, quota_us=5000, burst_us=70, vcpu_quota_us=2000, period_us=7000, idle=True)
    groups, places, _ = cgroup_tree(scenario)
    assert [group.owner for group in groups] == [
        ("", ""),
        ("vm", "vm"),
        ("", ""),
        ("vcpu", "vm/vcpu0"),
        ("vcpu", "vm/vcpu1"),
    ]
    own, vcpu = Bandwidth(5_000_000, 7_000_000, 70_000), Bandwidth(2_000_000, 7_000_000, 0)
    assert [groups[i].bandwidth for i in (1, 3, 4)] == [own, vcpu, vcpu]
    assert [group.bandwidth.quota_ns for group in (groups[0], groups[2])] == [RUNTIME_INF] * 2
    assert [group.idle for group in groups] == [False, True, False, False, False]
    assert groups[1].shares == 3 << 10
    assert places == [[4, 5]]


@pytest.mark.core
def test_phases_come_from_the_seed():
    ends = [Machine(LIMITED["vm"], "stock", seed).world["cfs_bandwidth"]["period_expires_ns"][1:] for seed in (1, 1, 2)]
    assert (ends[0] == ends[1]).all() and (ends[0] != ends[2]).any()
    assert all((end >= 0).all() and (end < 5 * MSEC).all() for end in ends)


def test_long_run_average_is_the_quota():
    """dbench always has something to do; 2 ms in 5 ms of each VM are 40 % of a CPU, less what unthrottling costs."""
    machine = Machine(host(quota_us=2000, period_us=5000, workload="dbench"), "stock", 0)
    machine.run_until(100 * MSEC)
    before, stat = machine.counters(), steps(machine)
    machine.run_until(1100 * MSEC)
    after, later = machine.counters(), steps(machine)
    for vm, was in zip(after["vms"], before["vms"], strict=True):
        assert (vm["run_ns"] - was["run_ns"]) / 1e9 == pytest.approx(0.395, rel=0.015)
        row, earlier = later[vm["name"]], stat[vm["name"]]
        assert row["nr_periods"] - earlier["nr_periods"] == 200
        assert row["nr_throttled"] - earlier["nr_throttled"] == pytest.approx(200, abs=3)
        assert row["throttled_usec"] > earlier["throttled_usec"]
        assert vm["steal_ns"] > was["steal_ns"]


def test_throttled_time_is_steal_time():
    """Alone on two CPUs, what the VM loses it loses to its quota."""
    free, limited = (
        Machine(host(vms=1, workload="dbench", **limit), "stock", 0)
        for limit in ({}, {"quota_us": 5000, "period_us": 10_000})
    )
    for machine in (free, limited):
        machine.run_until(200 * MSEC)
    lost, none = limited.counters()["vms"][0]["steal_ns"], free.counters()["vms"][0]["steal_ns"]
    assert none < 5 * MSEC
    assert lost > 250 * MSEC


@pytest.mark.parametrize("name", LIMITED)
def test_a_fork_with_throttled_tasks_has_the_same_future(name):
    run = at_a_throttled_moment(LIMITED[name])
    fork, unread = run.fork(), Machine(LIMITED[name], "series-v2", 3)
    run.counters()
    for machine in (run, fork, unread):
        machine.run_until(40 * MSEC)
    assert (run.world.words == fork.world.words).all()
    assert (run.world.words == unread.world.words).all()
    assert run.counters()["cgroups"] == fork.counters()["cgroups"]


def test_an_environment_with_throttled_tasks_can_be_snapshot_and_forked():
    arguments = {"scenario": LIMITED["vm"], "horizon_ns": 8 * MSEC}
    env, other = make(CANDIDATE_CHOICE, **arguments), make(CANDIDATE_CHOICE, **arguments)
    rng = np.random.default_rng(2)
    env.reset(seed=1)
    for _ in range(4000):
        if env.lane.over:
            env.reset()
        elif in_limbo(env.machine):
            break
        else:
            env.step(answer(env, rng))
    assert in_limbo(env.machine)
    snapshot, fork = env.snapshot(), env.fork()
    first = play(env, np.random.default_rng(5), 20)
    other.restore(snapshot)
    assert same(play(other, np.random.default_rng(5), 20), first)
    assert same(play(fork, np.random.default_rng(5), 20), first)


SCENARIO = """
host = { cpus = 2, cgroups = "libvirt" }
groups = [{ name = "g", quota_us = 3000, period_us = 4000, burst_us = 500 }]
changes = [
    { at_ns = 4_000_000, vm = "vm-1", weight = 300 },
    { at_ns = 5_000_000, vm = "vm", quota_us = 2000, period_us = 3000 },
    { at_ns = 9_000_000, group = "g", quota_us = -1, burst_us = 0 },
    { at_ns = 11_000_000, vm = "vm-2", idle = true },
]
vms = [{ name = "vm", count = 2, vcpus = 2, workload = "dedup", group = "g", vcpu_quota_us = 1500, period_us = 3000 }]
"""


def test_compiled_and_uncompiled_runs_are_equal(tmp_path):
    file = tmp_path / "limited.toml"
    file.write_text(SCENARIO)
    run = (str(file), "series-v2", 3, 15 * MSEC)
    compiled = run_hash_elsewhere(*run, NUMBA_DISABLE_JIT="0")
    assert run_hash_elsewhere(*run, NUMBA_DISABLE_JIT="1") == compiled


def shares(machine: Machine, start_ms: int, end_ms: int) -> list[float]:
    """CPUs that each VM uses on average."""
    machine.run_until(start_ms * MSEC)
    before = machine.counters()["vms"]
    machine.run_until(end_ms * MSEC)
    after = machine.counters()["vms"]
    return [(vm["run_ns"] - was["run_ns"]) / MSEC / (end_ms - start_ms) for vm, was in zip(after, before, strict=True)]


CHANGES = [
    {"at_ns": 300 * MSEC, "vm": "vm-1", "weight": 300},
    {"at_ns": 600 * MSEC, "vm": "vm-1", "quota_us": 10_000, "period_us": 20_000},
    {"at_ns": 900 * MSEC, "vm": "vm-1", "quota_us": -1},
    {"at_ns": 900 * MSEC, "vm": "vm-2", "idle": True},
    {"at_ns": 1200 * MSEC, "vm": "vm-2", "idle": False},
    {"at_ns": 1200 * MSEC, "vm": "vm-1", "weight": 100},
]


def test_changes_take_effect_during_the_run():
    """Equal weights, 3:1, a quota of half a CPU, no quota against an idle group, and equal weights again."""
    machine = Machine(host(workload="dbench", changes=CHANGES), "stock", 1)
    assert shares(machine, 50, 300) == pytest.approx([1, 1], rel=0.1)
    assert shares(machine, 350, 600) == pytest.approx([1.5, 0.5], rel=0.1)
    assert shares(machine, 640, 900) == pytest.approx([0.5, 1.5], rel=0.1)
    assert shares(machine, 920, 1200)[0] == pytest.approx(2, rel=0.05)
    assert shares(machine, 1300, 1600) == pytest.approx([1, 1], rel=0.1)
    assert [row["name"] for row in machine.counters()["cgroups"]] == ["vm-1"]
    assert machine.counters()["cgroups"][0]["nr_throttled"] > 10


def test_changes_of_all_copies_happen_in_order():
    """Of changes at one time the last one stands."""
    late = [{"at_ns": MSEC, "vm": "vm", "weight": weight} for weight in (10, 1000, 200)]
    machine = Machine(host(changes=late), "stock", 1)
    machine.run_until(2 * MSEC)
    assert machine.world["task_group"]["shares"][1:].tolist() == [2048 << 10] * 2


@pytest.mark.core
def test_changes_after_the_run_change_nothing():
    plain, late = host(quota_us=5000), host(quota_us=5000, changes=[{"at_ns": 50 * MSEC, "vm": "vm", "idle": True}])
    machines = [Machine(scenario, "stock", 2) for scenario in (plain, late)]
    for machine in machines:
        machine.run_until(3 * MSEC)
    assert machines[0].counters() == machines[1].counters()


def check_idle_counts(machine: Machine) -> None:
    """h_nr_idle of a queue: the tasks below it that are in idle groups, itself not counted."""
    world = machine.world
    entities, idle = world["sched_entity"], world["cfs_rq"]["idle"]
    expected = np.zeros(len(world["cfs_rq"]), int)
    for p in np.flatnonzero(entities["on_rq"][: len(world["task_struct"])]):
        se, is_idle = int(p), False
        while se != NIL:
            q = int(entities["cfs_rq"][se])
            expected[q] += is_idle
            is_idle = is_idle or bool(idle[q])
            se = int(entities["parent"][se])
    assert world["cfs_rq"]["h_nr_idle"].tolist() == expected.tolist()


def test_idle_tasks_are_counted_before_and_after_a_change():
    toggled = [{"at_ns": at * MSEC, "vm": "vm-2", "idle": at % 2 == 1} for at in range(1, 20)]
    machine = Machine(host("libvirt", changes=toggled), "stock", 4)
    for at_us in range(500, 22_000, 500):
        machine.run_until(at_us * 1000)
        check_idle_counts(machine)


def test_an_idle_vm_gives_way_at_once():
    """Beside an idle VM another one runs as if it were alone; without cpu.idle each has one of the two CPUs."""
    vms = [{"name": name, "vcpus": 2, "workload": "dbench"} for name in ("one", "two")]
    for idle, expected in ((True, 2.0), (False, 1.0)):
        scenario = at_once(Scenario(name="idle", host={"cpus": 2}, vms=[vms[0], vms[1] | {"idle": idle}]))
        assert shares(Machine(scenario, "stock", 0), 50, 550)[0] == pytest.approx(expected, rel=0.05)


@pytest.mark.core
def test_a_cpu_left_with_idle_tasks_looks_for_others_soon():
    """dequeue_entities(): balance at the next tick, and not after the interval of a busy CPU."""
    idle = Group(shares=3 << 10, idle=True)
    kernel = Host(2, [Task(group=1, cpu=0), Task(cpu=0), Task(cpu=1), Task(cpu=1)], [idle])
    for p, cpu in enumerate((0, 0, 1, 1)):
        kernel.pin(p, cpu)
    kernel.start(0, 1, 2, 3)
    kernel.run(5)
    assert kernel.running()[0] == 1
    sd = int(kernel.world["rq"]["sd"][0])
    busy_ns = int(get_sd_balance_interval(kernel.w, sd, True))
    kernel["rq"]["next_balance_ns"] = 1 << 40
    kernel.sleep(1)
    kernel.run(1)
    assert kernel.running()[0] == 0
    assert kernel["rq"]["next_balance_ns"][0] < kernel.now_ns + busy_ns
    assert kernel["rq"]["next_balance_ns"][1] == 1 << 40
