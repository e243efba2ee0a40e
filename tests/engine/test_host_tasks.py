"""Tasks of the host that are no vCPUs: their programs, and the machine with them."""

import numpy as np
import pytest

from tests.helpers.at_once import AT_ONCE, at_once
from tests.helpers.free_host import FREE, MSEC, count, host, ns, run, sleep, switches, wakeups
from tests.helpers.invariants import assert_invariants, next_event_ns
from vcpu_env.engine.host_tasks.program import HostProgram
from vcpu_env.envs.drawing.gantt import COMPUTE, HOST, SPIN, UNSEEN, Gantt
from vcpu_env.kvm.pcpu import IDLE, POLL
from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario
from vcpu_env.trace.sched_events import SWITCH, WAKEUP, pids, simulate_tasks

pytestmark = pytest.mark.core


# Programs


@pytest.mark.parametrize(("relative", "times"), [(False, [0, 4, 8, 20]), (True, [0, 4, 8, 21])])
def test_a_timer_that_was_missed(relative, times):
    """rt-app's two modes: the third activation takes 9 ms of a period of 4."""
    timer = {"timer_ns": ns(4), "relative": relative}
    program = [step for ms in (1, 1, 9, 1, 1) for step in (run(ms), timer)]
    assert wakeups(host({"name": "A", "timer_slack_ns": 0, "program": program}), "A", 21.5) == times


def test_timers_of_a_task_are_independent():
    program = [{"timer_ns": ns(3)}, {"timer_ns": ns(7), "timer": 1}]
    tasks = host({"name": "A", "timer_slack_ns": 0, "program": program})
    assert wakeups(tasks, "A", 29) == [0, 3, 7, 14, 21, 28]


def test_slack_ends_at_the_cpus_next_tick():
    """An idle CPU has no tick: the timer is late by all its slack. A busy one's tick finds it expired."""
    sleeper = {"name": "A", "timer_slack_ns": 600_000, "program": [sleep(2.7)]}
    idle = simulate_tasks(host(sleeper), ns(5))
    assert (idle["time_ns"][idle["event"] == WAKEUP] == [0, ns(3.3)]).all()
    busy = simulate_tasks(host(sleeper, {"name": "B"}), ns(5))
    woken = busy["time_ns"][(busy["event"] == WAKEUP) & (busy["next_pid"] == 0)]
    assert woken.tolist() == [0, ns(3)]


def test_loops_in_loops():
    inner = {"repeat": 3, "steps": [run(0.1)]}
    program = [{"repeat": 2, "steps": [inner, {"sched_yield": True}]}, {"exit": True}]
    alone = host({"name": "A", "program": program})
    counted = count(alone, 5, "A")
    assert (counted["run_ns"], counted["yields"]) == (ns(0.6), 2)
    assert switches(alone, 5) == []


def test_ping_pong_over_two_pipes():
    ping = {"name": "ping", "program": [run(0.1), {"signal": "to"}, {"wait": "from"}]}
    pong = {"name": "pong", "program": [{"wait": "to"}, run(0.2), {"signal": "from"}]}
    pair = host(ping, pong)
    assert switches(pair, 0.6) == [(0, "ping"), (0.1, "pong"), (0.3, "ping"), (0.4, "pong"), (0.6, "ping")]
    assert count(pair, 12, "pong")["wakeups"] > 30


def test_a_signal_to_nobody_is_kept_unless_lossy():
    late = {"name": "late", "program": [sleep(1), {"wait": "s"}, run(1000)]}
    sender = [{"signal": "s"}, sleep(1_000_000)]
    lossy = [{"signal": "s", "lossy": True}, sleep(1_000_000)]
    assert count(host(late, {"name": "sender", "program": sender}), 5, "late")["run_ns"] == ns(3.95)  # 0.05 of slack
    assert count(host(late, {"name": "sender", "program": lossy}), 5, "late")["run_ns"] == 0


@pytest.mark.parametrize(("to_all", "awake"), [(True, 3), (False, 1)])
def test_a_signal_wakes_one_or_all(to_all, awake):
    waiters = {"name": "waiter", "count": 3, "program": [{"wait": "s"}, run(0.1), {"exit": True}]}
    sender = {"name": "sender", "program": [sleep(1), {"signal": "s", "to_all": to_all}, {"exit": True}]}
    machine = Machine(host(waiters, sender))
    machine.run_until(ns(5))
    assert sum(counted["run_ns"] == ns(0.1) for counted in machine.counters()["host_tasks"]) == awake


def test_a_barrier_holds_until_all_have_come():
    fast = {"name": "fast", "cpus": [0], "program": [run(0.1), {"barrier": "b"}]}
    slow = {"name": "slow", "cpus": [1], "program": [run(1), {"barrier": "b"}]}
    tasks = host(fast, slow, cpus=2)
    assert count(tasks, 10.05, "fast")["run_ns"] == ns(1.05)
    assert count(tasks, 10.05, "slow")["run_ns"] == ns(10.05)


def test_a_late_start_is_a_fork_then():
    tasks = host({"name": "A"}, {"name": "B", "start_ns": ns(5)})
    events = simulate_tasks(tasks, ns(6))
    forks = events[events["event"] == WAKEUP]
    assert list(zip(forks["time_ns"].tolist(), forks["next_pid"].tolist(), strict=True)) == [(0, 0), (ns(5), 1)]


def test_affinity_is_kept():
    tasks = host({"name": "A", "count": 3, "cpus": [1, 2]}, {"name": "B"}, cpus=4)
    events = simulate_tasks(tasks, ns(100))
    mine = events[(events["next_pid"] >= 0) & (events["next_pid"] < 3)]
    assert set(mine["cpu"].tolist()) == {1, 2}


def test_groups_share_by_weight():
    groups = [{"name": "big", "weight": 300}, {"name": "small", "weight": 100}]
    tasks = [{"name": "B", "count": 2, "group": "big"}, {"name": "S", "group": "small"}]
    scenario = Scenario(name="groups", host={"cpus": 1, "costs": FREE}, groups=groups, host_tasks=tasks)
    machine = Machine(scenario)
    machine.run_until(ns(2000))
    ran = {counted["name"]: counted["run_ns"] / ns(2000) for counted in machine.counters()["host_tasks"]}
    assert ran == pytest.approx({"B-1": 0.375, "B-2": 0.375, "S": 0.25}, abs=0.01)


def test_costs_are_paid():
    """Two that only yield: each yield is 1.1 us, and 1.8 us more if it switches."""
    yielder = {"name": "Y", "count": 2, "program": [{"repeat": 1000, "steps": [{"sched_yield": True}]}, run(0.001)]}
    machine = Machine(Scenario(name="yielders", host={"cpus": 1, "costs": {"task_tick_ns": 0}}, host_tasks=[yielder]))
    machine.run_until(ns(20))
    counted = machine.counters()
    yields = sum(each["yields"] for each in counted["host_tasks"])
    switched = sum(each["nvcsw"] + each["nivcsw"] for each in counted["host_tasks"])
    assert yields * 1100 + switched * 1800 == pytest.approx(ns(20), rel=0.01)


def test_programs_refuse_what_they_cannot_hold():
    with pytest.raises(ValueError, match=r"timer: number 4 \(allowed: 0..3\)"):
        HostProgram().timer(1000, 4)
    with pytest.raises(ValueError, match=r"repeat: nested 5 deep \(allowed: up to 4\)"):
        HostProgram().repeat(2, 0, 4)


# The machine


MIXED = Scenario(
    name="mixed",
    host=AT_ONCE | {"cpus": 2, "noise": "heavy", "cgroups": "libvirt"},
    vms=[{"name": "vm", "count": 2, "vcpus": 2, "workload": "dbench", "emulator_threads": 1, "vhost_ns": 5000}],
    host_tasks=[{"name": "hog", "nice": 10}],
)


def words(machine: Machine) -> bytes:
    return machine.world.words.tobytes()


def test_the_same_seed_gives_the_same_run_and_another_seed_another():
    runs = [Machine(MIXED, "series-v2", seed) for seed in (3, 3, 4)]
    for machine in runs:
        machine.run_until(3 * MSEC)
    assert words(runs[0]) == words(runs[1]) != words(runs[2])


def test_a_fork_has_the_same_future():
    machine = Machine(MIXED, "series-v2", 3)
    machine.run_until(2 * MSEC)
    other = machine.fork()
    machine.run_until(4 * MSEC)
    other.run_until(4 * MSEC)
    assert words(machine) == words(other)


def test_time_adds_up():
    machine = Machine(MIXED, "stock", 1)
    machine.run_until(5 * MSEC)
    counted = machine.counters()
    times = counted["host"]
    assert sum(times.values()) == 2 * 5 * MSEC
    assert sum(task["run_ns"] for task in counted["host_tasks"]) == times["task_ns"]


def test_recording_changes_nothing():
    plain, traced = Machine(MIXED, "stock", 1), Machine(MIXED, "stock", 1, trace_events=16)
    for machine in (plain, traced):
        machine.run_until(5 * MSEC)
    assert plain.counters() == traced.counters()
    assert int(traced.world["trace_ring"]["written"][0]) > 16


def test_ticks_of_idle_cpus_change_nothing():
    quiet = Scenario(name="quiet", host={"cpus": 4, "noise": "heavy"}, host_tasks=[{"name": "hog"}])
    exact = quiet.model_copy(update={"host": quiet.host.model_copy(update={"exact_ticks": True})})
    traces = [simulate_tasks(scenario, 30 * MSEC, 2) for scenario in (quiet, exact)]
    assert (traces[0] == traces[1]).all() and len(traces[0]) > 100


def test_switches_chain_and_pids_are_places():
    events = simulate_tasks(MIXED, 5 * MSEC, 1)
    assert (np.diff(events["time_ns"]) >= 0).all()
    assert set(events["next_pid"].tolist()) | {-1} == set(range(-1, len(pids(MIXED))))
    assert pids(MIXED)[0] == "hog" and pids(MIXED)[-1] == "vm-2/1"
    for cpu in range(2):
        here = events[(events["cpu"] == cpu) & (events["event"] == SWITCH)]
        assert (here["prev_pid"][1:] == here["next_pid"][:-1]).all()


def test_without_host_tasks_there_is_nothing_of_them():
    machine = Machine(MIXED.model_copy(update={"host_tasks": (), "vms": (), "host": MIXED.host}))
    assert machine.counters()["vms"] == []
    plain = at_once(Scenario(name="plain", host={"cpus": 2}, vms=[{"name": "vm", "vcpus": 2, "workload": "dbench"}]))
    machine = Machine(plain)
    assert "host_task" not in machine.world.arrays and "trace_record" not in machine.world.arrays
    assert "host_tasks" not in machine.counters()


@pytest.mark.parametrize("policy", ["series-v2", "gang", "relaxed-co-scheduling"])
def test_invariants_after_every_event(policy):
    machine = Machine(MIXED, policy, 5)
    machine.run_until(2 * MSEC)
    for _ in range(150):
        machine.run_until(next_event_ns(machine))
        assert_invariants(machine)


def test_a_chart_shows_host_tasks_as_host():
    machine, chart = Machine(MIXED, "stock", 1), Gantt()
    assert chart.follow(machine, 5 * MSEC)
    samples = chart.window()
    seen = samples.activity[samples.vm >= 0]
    assert set(np.unique(samples.activity).tolist()) <= {IDLE, HOST, POLL, COMPUTE, SPIN, UNSEEN}
    assert (samples.activity[samples.vm < 0] != COMPUTE).all() and (seen != IDLE).all()
    assert ((samples.activity == HOST) & (samples.vm < 0)).any()


def test_a_vcpu_after_a_host_task_is_cold_and_pays_no_ibpb():
    """The vCPU's own state is still loaded: the switch costs, the barrier between VMs does not."""
    vm = {"name": "vm", "vcpus": 1, "workload": "blackscholes", "params": {"threads": 1}}
    hog = [{"name": "hog"}]
    lost = []
    for tasks, ibpb_ns in (((), 0), (hog, 0), (hog, 500_000)):
        costs = {"cold_cache_ns": 30_000, "ibpb_ns": ibpb_ns}
        machine = Machine(at_once(Scenario(name="one", host={"cpus": 1, "costs": costs}, vms=[vm], host_tasks=tasks)))
        machine.run_until(30 * MSEC)
        lost.append((machine.counters()["vms"][0]["cold_lost_ns"], machine.counters()["host"]["guest_ns"]))
    assert lost[0][0] == 30_000 < lost[1][0]  # only when it began
    assert lost[1] == lost[2]


# VMs' own threads


IO = {"name": "vm", "vcpus": 1, "workload": "dbench", "params": {"block_per_s": 20_000}, "vhost_ns": 20_000}


def test_a_vhost_worker_takes_time_and_delays_the_guest():
    with_vhost = at_once(Scenario(name="io", host={"cpus": 1, "cgroups": "libvirt"}, vms=[IO]))
    machine = Machine(with_vhost)
    machine.run_until(10 * MSEC)
    counted = machine.counters()
    (vhost,) = counted["host_tasks"]
    assert vhost["name"] == "vm-vhost"
    left_ns = max(0, int(machine.world["host_task"]["remaining_ns"][0])) if vhost["run_ns"] % 20_000 else 0
    booked_ns = int(machine.world["host_task"]["run_ns"][0])
    assert vhost["run_ns"] > 100 * 20_000 and (booked_ns + left_ns) % 20_000 == 0
    without = Machine(at_once(Scenario(name="io", host={"cpus": 1, "cgroups": "libvirt"}, vms=[IO | {"vhost_ns": 0}])))
    without.run_until(10 * MSEC)
    assert without.counters()["vms"][0]["work_units"] > counted["vms"][0]["work_units"]


@pytest.mark.parametrize(("cgroups", "path"), [("flat", [1]), ("per_vm", [2, 1]), ("libvirt", [1, 100, 100])])
def test_where_emulator_threads_lie(cgroups, path):
    """The emulator's group is beside those of the vCPUs; without these it is the VM's own, or the root."""
    vm = {"name": "vm", "vcpus": 1, "workload": "dbench", "emulator_threads": 1}
    world = Machine(at_once(Scenario(name="groups", host={"cpus": 1, "cgroups": cgroups}, vms=[vm]))).world
    vcpu, emulator = world["task_struct"]["tg"].tolist()
    parents = world["task_group"]["parent"]
    if cgroups == "libvirt":
        assert emulator != vcpu and parents[emulator] == parents[vcpu] and len(path) == 3
    else:
        assert emulator == vcpu


def test_a_vm_may_end_while_its_worker_serves_it():
    machine = Machine(at_once(Scenario(name="io", host={"cpus": 1}, vms=[IO | {"stop_ns": 5 * MSEC}])))
    machine.run_until(5 * MSEC)
    served = machine.counters()["host_tasks"][0]["run_ns"]
    machine.run_until(8 * MSEC)
    assert 0 < served <= machine.counters()["host_tasks"][0]["run_ns"] <= served + 20_000
