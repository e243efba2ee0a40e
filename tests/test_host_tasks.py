"""Tasks of the host that are no vCPUs: schedules calculated by hand, their programs, and what is refused.

Scenario numbers (T06 ...) are those of `test_scenarios_worked`: there the scheduler is called by hand, here the whole
machine runs, with all costs zero. Times are in ms.
"""

import numpy as np
import pytest

from vcpu_env.host.program import HostProgram
from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario, ScenarioError
from vcpu_env.sched_trace import SWITCH, WAKEUP, pids, simulate_tasks

pytestmark = pytest.mark.core

MSEC = 1_000_000
FREE = dict.fromkeys(
    ("task_switch_ns", "task_yield_ns", "task_syscall_ns", "task_tick_ns", "task_ipi_ns", "wake_ns"), 0
)
EPOCH = 12
"""When the tasks of a worked example begin (ms): all are forked at 0 and sleep until then, so that V starts at 0."""


def ns(ms: float) -> int:
    return round(ms * MSEC)


def run(ms: float) -> dict:
    return {"run_ns": ns(ms)}


def sleep(ms: float) -> dict:
    return {"sleep_ns": ns(ms)}


FOREVER = run(1_000_000)


def task(name: str, *program: dict, **more) -> dict:
    return {"name": name, "timer_slack_ns": 0, "program": [sleep(EPOCH), *program, FOREVER], **more}


def host(*tasks: dict, **more) -> Scenario:
    settings = {"cpus": 1, "base_slice_ns": 2_800_000, "costs": FREE} | more
    return Scenario(name="worked", host=settings, host_tasks=tasks)


def switches(scenario: Scenario, ms: float) -> list[tuple[float, str]]:
    """(time, who runs then) of every switch from EPOCH on, times counted from there; "" is idle."""
    names = [*pids(scenario), ""]
    events = simulate_tasks(scenario, ns(EPOCH + ms))
    chosen = events[(events["event"] == SWITCH) & (events["time_ns"] >= ns(EPOCH))]
    return [(int(event["time_ns"] - ns(EPOCH)) / MSEC, names[event["next_pid"]]) for event in chosen]


def shares(scenario: Scenario, ms: float) -> dict[str, float]:
    """How long every task had the CPU (ms) from EPOCH on."""
    ran: dict[str, float] = {}
    changes = [*switches(scenario, ms), (ms, "")]
    for (begin, name), (end, _) in zip(changes, changes[1:]):
        ran[name] = ran.get(name, 0) + end - begin
    return {name: round(time, 6) for name, time in ran.items()}


# Worked examples


def test_t06_two_hogs_alternate():
    hogs = host(task("A"), task("B"))
    assert switches(hogs, 10) == [(0, "A"), (3, "B"), (6, "A"), (9, "B")]
    assert switches(host(task("A"), task("B"), hz=250), 10) == [(0, "A"), (4, "B"), (8, "A")]


def test_t07_three_hogs_take_turns():
    hogs = host(task("A"), task("B"), task("C"))
    assert switches(hogs, 10) == [(0, "A"), (3, "B"), (6, "C"), (9, "A")]


def test_t08_weights_one_to_two():
    hogs = host(task("B", weight=2048), task("A", weight=1024))
    assert switches(hogs, 25) == [(0, "B"), (3, "A"), (6, "B"), (10, "A"), (13, "B"), (19, "A"), (22, "B")]
    assert shares(hogs, 3000) == {"A": 1001, "B": 1999}


def test_t09_weights_one_to_eight():
    hogs = host(task("B", weight=512), task("A", weight=64))
    assert [time for time, name in switches(hogs, 90) if name == "A"][1:] == [28, 55, 82]


def test_t10_a_short_slice_alternates_every_tick():
    hogs = host(task("B", slice_ns=500_000), task("A"))
    assert switches(hogs, 6) == [(0, "B"), (1, "A"), (2, "B"), (3, "A"), (4, "B"), (5, "A"), (6, "B")]


def test_t12_a_yielder_that_is_ahead_gives_way():
    tasks = host(task("A", run(0.5), {"sched_yield": True}), task("B"))
    assert switches(tasks, 7) == [(0, "A"), (0.5, "B"), (4, "A"), (7, "B")]


def test_t14_in_steady_state_a_yielder_needs_two_yields():
    again = {"sched_yield": True}
    once, twice = (host(task("A"), task("B", run(0.5), *[again] * yields)) for yields in (1, 2))
    assert switches(once, 6) == [(0, "A"), (3, "B"), (4, "A")]  # picked again, but its slice is protected no more
    assert switches(twice, 5) == [(0, "A"), (3, "B"), (3.5, "A")]


def test_t16_a_yielder_alone_stays():
    alone = host(task("A", run(0.5), {"sched_yield": True}))
    assert switches(alone, 20) == [(0, "A")]
    assert count(alone, 20, "A")["yields"] == 1


def test_t30_a_sleeper_that_was_ahead_wakes_without_preempting():
    tasks = host(task("A", run(1.5), sleep(0.5)), task("B"))
    assert switches(tasks, 6) == [(0, "A"), (1.5, "B"), (5, "A")]


def test_t31_a_sleeper_that_was_drained_preempts_at_once():
    tasks = host(task("A", run(1.5), sleep(6.5)), task("B"))
    assert switches(tasks, 9) == [(0, "A"), (1.5, "B"), (8, "A")]


def test_t32_both_sleep_and_the_cpu_idles():
    tasks = host(task("A", run(1.5), sleep(6.5)), task("B", run(0.2), sleep(20)))
    assert switches(tasks, 2) == [(0, "A"), (1.5, "B"), (1.7, "")]


def test_t33_a_sleeper_with_credit_keeps_it():
    tasks = host(task("A"), task("B", run(0.5), sleep(16.9)))
    assert switches(tasks, 25) == [(0, "A"), (3, "B"), (3.5, "A"), (20.4, "B"), (24, "A")]


# Programs


def count(scenario: Scenario, ms: float, name: str, seed: int = 0) -> dict:
    machine = Machine(scenario, "stock", seed)
    machine.run_until(ns(ms))
    return next(counted for counted in machine.counters()["host_tasks"] if counted["name"] == name)


def wakeups(scenario: Scenario, name: str, ms: float) -> list[float]:
    events = simulate_tasks(scenario, ns(ms))
    mine = (events["event"] == WAKEUP) & (events["next_pid"] == pids(scenario).index(name))
    return [time / MSEC for time in events["time_ns"][mine].tolist()]


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
    assert list(zip(forks["time_ns"].tolist(), forks["next_pid"].tolist())) == [(0, 0), (ns(5), 1)]


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
    host={"cpus": 2, "noise": "heavy", "cgroups": "libvirt"},
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
    assert sum(times.values()) + counted["task_ns"] == 2 * 5 * MSEC
    assert sum(task["run_ns"] for task in counted["host_tasks"]) == counted["task_ns"]


def test_recording_changes_nothing():
    plain, traced = Machine(MIXED, "stock", 1), Machine(MIXED, "stock", 1, trace_events=16)
    for machine in (plain, traced):
        machine.run_until(5 * MSEC)
    assert plain.counters() == traced.counters()
    assert int(traced.world["rq_totals"]["nr_trace_events"][0]) > 16


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
    plain = Scenario(name="plain", host={"cpus": 2}, vms=[{"name": "vm", "vcpus": 2, "workload": "dbench"}])
    machine = Machine(plain)
    assert "host_task" not in machine.world.arrays and "sched_event" not in machine.world.arrays
    assert "host_tasks" not in machine.counters()


# VMs' own threads


IO = {"name": "vm", "vcpus": 1, "workload": "dbench", "params": {"block_per_s": 5000}, "vhost_ns": 20_000}


def test_a_vhost_worker_takes_time_and_delays_the_guest():
    with_vhost = Scenario(name="io", host={"cpus": 1, "cgroups": "libvirt"}, vms=[IO])
    machine = Machine(with_vhost)
    machine.run_until(50 * MSEC)
    counted = machine.counters()
    (vhost,) = counted["host_tasks"]
    assert vhost["name"] == "vm-vhost"
    assert vhost["run_ns"] == 20_000 * (vhost["run_ns"] // 20_000) > 0
    without = Machine(Scenario(name="io", host={"cpus": 1, "cgroups": "libvirt"}, vms=[IO | {"vhost_ns": 0}]))
    without.run_until(50 * MSEC)
    assert without.counters()["vms"][0]["work_units"] > counted["vms"][0]["work_units"]


@pytest.mark.parametrize(("cgroups", "path"), [("flat", [1]), ("per_vm", [2, 1]), ("libvirt", [1, 100, 100])])
def test_where_emulator_threads_lie(cgroups, path):
    """The emulator's group is beside those of the vCPUs; without these it is the VM's own, or the root."""
    vm = {"name": "vm", "vcpus": 1, "workload": "dbench", "emulator_threads": 1}
    world = Machine(Scenario(name="groups", host={"cpus": 1, "cgroups": cgroups}, vms=[vm])).world
    vcpu, emulator = world["task_struct"]["tg"].tolist()
    parents = world["task_group"]["parent"]
    if cgroups == "libvirt":
        assert emulator != vcpu and parents[emulator] == parents[vcpu] and len(path) == 3
    else:
        assert emulator == vcpu


# What is refused


def wrong(**scenario) -> str:
    with pytest.raises(ScenarioError) as caught:
        Scenario(name="wrong", **scenario)
    return str(caught.value)


def wrong_task(**fields) -> str:
    return wrong(host={"cpus": 2}, host_tasks=[{"name": "A"} | fields])


def wrong_step(**step) -> str:
    return wrong_task(program=[step, {"run_ns": 5}])


def test_neither_vm_nor_host_task():
    assert wrong() == "vms: none given (allowed: at least one VM or host task)"


def test_refused_tasks():
    assert wrong_task(nice=20) == "host_tasks.0.nice: value 20 (allowed: integer -20..19)"
    assert wrong_task(cpus=[2]) == "host_tasks.0.cpus: value 2 (allowed: CPUs 0..1)"
    assert wrong_task(cpus=[]) == "host_tasks.0.cpus: none given (allowed: CPUs 0..1)"
    assert wrong_task(group="g") == "host_tasks.0.group: value 'g' (allowed: none is defined)"
    assert wrong_task(emulator_of="vm") == "host_tasks.0.emulator_of: value 'vm' (allowed: none is defined)"
    assert wrong_task(slice_ns=5) == "host_tasks.0.slice_ns: value 5 (allowed: 0, or 100000..100000000)"
    assert wrong_task(weigth=5) == "host_tasks.0.weigth: unknown field (did you mean 'weight'?)"
    assert wrong_task(weight=5, nice=1).startswith("host_tasks.0.weight: value 5 (allowed: only without nice")
    assert "given 2 times" in wrong(host_tasks=[{"name": "A"}, {"name": "A"}])
    assert "is that of a noise" in wrong(host={"noise": "light"}, host_tasks=[{"name": "kworker-cpu0"}])


def test_refused_programs():
    assert wrong_step().startswith("host_tasks.0.program.0: no action given (allowed: one of run_ns, sleep_ns,")
    assert wrong_step(run_ns=5, sleep_ns=5).startswith(
        "host_tasks.0.program.0: run_ns and sleep_ns given (allowed: one"
    )
    assert wrong_step(run_ns=0) == "host_tasks.0.program.0.run_ns: value 0 (allowed: integer 1..3600000000000)"
    assert wrong_step(run_ns=5, sync=True) == "host_tasks.0.program.0.sync: given with run_ns (allowed: with signal)"
    assert wrong_step(repeat=2) == "host_tasks.0.program.0.steps: none given (allowed: at least one step to repeat)"
    assert wrong_step(wait="s").startswith("host_tasks.0.program: wait for 's' (allowed: names that some task signals")
    assert wrong_step(serve_ns=5).startswith("host_tasks.0.program: serve_ns given (allowed: only with emulator_of")
    assert wrong_task(program=[{"sched_yield": True}]).startswith("host_tasks.0.program: takes no time")
    assert "run_ns: value 5.5" in wrong_step(run_ns=5.5)


def test_a_trace_of_negative_length_is_refused():
    with pytest.raises(ValueError, match=r"duration_ns: value -1 \(allowed: integer >= 0\)"):
        simulate_tasks(host({"name": "A"}), -1)
