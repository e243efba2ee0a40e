"""Tasks that change where and how they are scheduled while they are queued or running."""

import pytest

from tests.helpers.free_host import FOREVER, FREE, MSEC, count, host, ns, run, sleep, switches
from tests.helpers.invariants import assert_scheduler, check_counts, next_event_ns
from tests.helpers.smp_driver import Host, reschedule_kicked
from vcpu_env.base.jit import NIL
from vcpu_env.kernel.affinity import set_cpus_allowed
from vcpu_env.kernel.build import Group, Task
from vcpu_env.kernel.core import migration_cpu_stop, set_user_nice
from vcpu_env.kernel.sched_change import sched_move_task, sched_setscheduler
from vcpu_env.kernel.types import SCHED_IDLE, SCHED_NORMAL
from vcpu_env.kernel.v6_19.entity import avg_vruntime
from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario, ScenarioError, parse_scenario

pytestmark = pytest.mark.core


def allow(kernel: Host, p: int, mask: int, by: int = 0) -> int:
    return int(set_cpus_allowed(kernel.w, p, mask, 0, 0, 0, by))


def crowded(nr_cpus: int, nr_tasks: int, groups=()) -> Host:
    """All tasks on CPU 0, after some ticks; the first of `groups` has them if there is one."""
    kernel = Host(nr_cpus, [Task(group=int(bool(groups))) for _ in range(nr_tasks)], groups)
    for p in range(nr_tasks):
        kernel.pin(p, 0)
    kernel.start(*range(nr_tasks))
    kernel.run(50)
    return kernel


def lag(kernel: Host, p: int) -> int:
    se = kernel["sched_entity"][p]
    return int(avg_vruntime(kernel.w, int(se["cfs_rq"]))) - int(se["vruntime"])


# Affinity


def test_where_a_task_goes_that_may_not_stay():
    """Each call of a CPU goes on after the CPU that the call before it chose, also if that task could stay."""
    kernel = crowded(4, 3)
    running = int(kernel["rq"]["curr"][0])
    one, two = (p for p in range(3) if p != running)
    assert allow(kernel, one, 0b1111) == NIL  # it stays; CPU 1 was chosen
    assert allow(kernel, one, 0b1110) == 2
    assert allow(kernel, two, 0b1010) == 3
    assert allow(kernel, two, 0b1010) == NIL  # nothing changes, nothing is chosen
    assert allow(kernel, running, 0b0110) == 1
    assert allow(kernel, running, 0b1110, by=3) == 1  # another CPU chooses on its own


def test_a_running_task_is_pushed_away():
    kernel = crowded(2, 2)
    p = int(kernel["rq"]["curr"][0])
    before = int(kernel["task_struct"]["nivcsw"][p])
    assert allow(kernel, p, 0b10) == 1
    following = int(migration_cpu_stop(kernel.w, 0, 1))
    assert following == 1 - p == kernel["rq"]["curr"][0] and kernel["task_struct"]["cpu"][p] == 1
    reschedule_kicked(kernel.w, kernel.now_ns)
    assert kernel["rq"]["curr"][1] == p and kernel["task_struct"]["nivcsw"][p] == before + 1


def test_changes_keep_the_lag():
    """What a waiting task is owed it is owed afterwards, in proportion to its weight if that changes."""
    kernel = crowded(2, 3)
    waiting = next(p for p in range(3) if p != kernel["rq"]["curr"][0])
    owed = lag(kernel, waiting)
    assert abs(owed) > 100_000
    allow(kernel, waiting, 0b11)
    assert lag(kernel, waiting) == pytest.approx(owed, abs=3)
    set_user_nice(kernel.w, waiting, 5)
    assert kernel["sched_entity"]["weight"][waiting] == 335 << 10
    assert lag(kernel, waiting) == pytest.approx(owed * 1024 / 335, rel=0.01)


def test_policies():
    kernel = crowded(1, 3)
    sched_setscheduler(kernel.w, 0, SCHED_IDLE)
    assert kernel["sched_entity"]["weight"][0] == 3 << 10 and kernel["cfs_rq"]["h_nr_idle"][0] == 1
    kernel.run(100)
    assert_scheduler(kernel.world)
    ran = kernel["sched_entity"]["sum_exec_runtime_ns"].copy()
    kernel.run(1000)
    more = kernel["sched_entity"]["sum_exec_runtime_ns"] - ran
    assert more[0] < 5 * MSEC and more[1] == pytest.approx(500 * MSEC, rel=0.01)
    sched_setscheduler(kernel.w, 0, SCHED_NORMAL)
    assert kernel["sched_entity"]["weight"][0] == 1024 << 10 and kernel["cfs_rq"]["h_nr_idle"][0] == 0


# Groups


@pytest.mark.parametrize("who", ["running", "waiting"])
def test_a_task_takes_its_load_to_another_group(who):
    kernel = crowded(2, 3, [Group(), Group(), Group(parent=2)])
    curr = int(kernel["rq"]["curr"][0])
    p = curr if who == "running" else next(p for p in range(3) if p != curr)
    load, old = int(kernel["sched_entity"]["load_avg"][p]), int(kernel["cfs_rq"]["load_avg"][2])
    sched_move_task(kernel.w, p, 3)
    se, q = kernel["sched_entity"][p], 3 * 2
    assert se["cfs_rq"] == q and se["depth"] == 2 and se["parent"] == kernel["cfs_rq"]["se"][q]
    assert kernel["cfs_rq"]["load_avg"][2] == pytest.approx(old - load, abs=2)
    assert kernel["cfs_rq"]["load_avg"][q] == se["load_avg"] == load
    # What the task is worth shows at once in the entities of both groups above it.
    for tg in (2, 3):
        assert kernel["sched_entity"]["load_avg"][kernel["cfs_rq"]["se"][2 * tg]] > 0
    assert kernel["cfs_rq"]["curr"][q] == (p if who == "running" else NIL)
    assert bool(kernel["rq"]["need_resched"][0]) == (who == "running")
    sched_move_task(kernel.w, p, 0)
    assert kernel["sched_entity"]["parent"][p] == NIL and kernel["cfs_rq"]["nr_queued"][q] == 0
    assert kernel["cfs_rq"]["load_avg"][0] > 0 and kernel["sched_entity"]["depth"][p] == 0
    kernel.run(20)
    assert_scheduler(kernel.world)


def test_a_sleeper_moves_its_load_too():
    kernel = crowded(2, 2, [Group(), Group()])
    p = int(kernel["rq"]["curr"][0])
    kernel.sleep(p)
    kernel.run(3)
    load = int(kernel["sched_entity"]["load_avg"][p])
    sched_move_task(kernel.w, p, 2)
    assert not kernel["sched_entity"]["on_rq"][p]
    assert kernel["cfs_rq"]["load_avg"][4] == pytest.approx(load, rel=0.1) and load > 500
    assert kernel["cfs_rq"]["nr_queued"][4] == 0


# Programs


def test_a_program_moves_over_cpus():
    mover = {"name": "A", "timer_slack_ns": 0, "program": [{"cpus": [1]}, run(2), {"cpus": [0, 2]}, run(3)]}
    hog = {"name": "B", "cpus": [1]}
    machine = Machine(host(mover, hog, cpus=3), "stock", 0)
    machine.run_until(ns(40))
    counted = {task["name"]: task["run_ns"] for task in machine.counters()["host_tasks"]}
    assert counted["A"] + counted["B"] > ns(52)  # CPU 1 is never idle, and A is elsewhere for 3 ms of 5 to 7
    assert ns(22) < counted["A"] < ns(30)


def test_a_nice_program():
    """It gives way while it is nice: weights 1024 and 110 share 10 ms as 9.03 and 0.97."""
    polite = {"name": "A", "program": [run(500), {"nice": 10}, run(50), {"nice": 0}, {"exit": True}]}
    scenario = host(polite, {"name": "B"}, base_slice_ns=1_000_000)
    assert count(scenario, 1000, "A")["run_ns"] == pytest.approx(ns(500), rel=0.01)
    assert count(scenario, 1300, "A")["run_ns"] == pytest.approx(ns(500 + 300 * 110 / 1134), rel=0.01)


def test_a_task_that_joins_a_limited_group_is_limited():
    groups = [{"name": "tenth", "quota_us": 10_000, "period_us": 100_000}]
    task = {"name": "A", "program": [run(100), {"group": "tenth"}, run(100), {"group": "/"}, run(100), {"exit": True}]}
    scenario = Scenario(name="limits", host={"cpus": 1, "costs": FREE}, groups=groups, host_tasks=[task])
    machine = Machine(scenario, "stock", 0)
    machine.run_until(ns(100))
    assert machine.counters()["host_tasks"][0]["run_ns"] == pytest.approx(ns(100), rel=1e-4)
    machine.run_until(ns(600))  # five periods of 10 ms, and what is left of the one under way
    assert ns(149) <= machine.counters()["host_tasks"][0]["run_ns"] <= ns(161)
    machine.run_until(ns(1220))
    assert machine.counters()["host_tasks"][0]["run_ns"] == ns(300)


CHANGES = [
    {"cpus": [0]}, run(0.3), {"group": "a"}, sleep(0.2), {"nice": 7}, run(0.5), {"group": "b.c"}, {"cpus": [1, 2]},
    run(0.7), {"policy": "idle"}, {"group": "/"}, run(0.2), {"cpus": []}, {"policy": "batch"}, sleep(0.1),
    {"nice": -3}, run(0.4), {"group": "b"}, run(0.3), {"policy": "normal"},
]  # fmt: skip


@pytest.mark.parametrize("cpus", [1, 3])
def test_invariants_while_tasks_change(cpus):
    groups = [{"name": "a"}, {"name": "b", "weight": 300}, {"name": "b.c", "parent": "b"}]
    program = [step for step in CHANGES if cpus > 1 or "cpus" not in step]
    tasks = [{"name": "t", "count": 5, "program": program}, {"name": "hog", "group": "a"}]
    scenario = Scenario(name="changes", host={"cpus": cpus}, groups=groups, host_tasks=tasks)
    machine = Machine(scenario, "stock", 0)
    for _ in range(600):
        machine.run_until(next_event_ns(machine))
        state = assert_scheduler(machine.world)
        if cpus == 1:
            check_counts(state)
        masks, where = machine.world["task_struct"]["cpus_allowed"][:, 0], machine.world["task_struct"]["cpu"]
        queued = machine.world["task_struct"]["on_rq"] != 0
        assert all(int(mask) >> int(cpu) & 1 for mask, cpu in zip(masks[queued], where[queued], strict=True))
    other = Machine(scenario, "stock", 0)
    other.run_until(machine.now_ns)
    assert machine.world.words.tobytes() == other.world.words.tobytes()


def test_a_switch_to_itself_costs_nothing():
    """Where it is already nobody has to be asked: no system call."""
    same = [{"cpus": [0]}, {"group": "/"}, {"nice": 0}, {"policy": "normal"}]
    scenario = host({"name": "A", "cpus": [0], "program": [*same, run(1)]}, costs={"task_syscall_ns": 1000})
    machine = Machine(scenario, "stock", 0)
    machine.run_until(ns(5))
    assert machine.counters()["host_tasks"][0]["run_ns"] == pytest.approx(ns(5), rel=0.01)
    assert switches(host({"name": "A", "program": [*same, FOREVER]}), 5) == []


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("program = [{ run_ns = 5 }, { cpus = [2] }]", "program: cpus: value 2 (allowed: CPUs 0..1)"),
        ("program = [{ run_ns = 5 }, { cpus = ['x'] }]", "program.1.cpus.0: value 'x' (allowed: integer)"),
        ("program = [{ run_ns = 5 }, { group = 'x' }]", "program: group: value 'x' (allowed: a, /)"),
        ("program = [{ run_ns = 5 }, { nice = 20 }]", "program.1.nice: value 20 (allowed: integer -20..19)"),
        (
            "program = [{ run_ns = 5 }, { policy = 'rt' }]",
            "program.1.policy: value 'rt' (allowed: normal, batch, idle)",
        ),
        (
            "weight = 5\nprogram = [{ run_ns = 5 }, { nice = 1 }]",
            "weight: value 5 (allowed: only without steps of nice",
        ),
        ("program = [{ cpus = [0], run_ns = 1 }]", "program.0: run_ns and cpus given (allowed: one of run_ns,"),
    ],
)
def test_refused(task, message):
    text = f'host.cpus = 2\n[[groups]]\nname = "a"\n[[host_tasks]]\nname = "t"\n{task}\n'
    with pytest.raises(ScenarioError) as error:
        parse_scenario(text, "refused")
    assert f"host_tasks.0.{message}" in str(error.value)
