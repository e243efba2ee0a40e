"""rt-app files: what they become, what they do on the host and in a guest, and what is refused where."""

import pytest

from tests.helpers.at_once import at_once
from tests.helpers.rtapp_files import in_guest, written
from tests.helpers.samples import VIDEO
from vcpu_env.machine import Machine
from vcpu_env.scenario import apply_overrides, load_rtapp
from vcpu_env.trace.sched_events import SWITCH, WAKEUP, pids, simulate_tasks

pytestmark = pytest.mark.core

MSEC = 1_000_000

FREE = "host.costs={task_switch_ns=0, task_yield_ns=0, task_syscall_ns=0, task_tick_ns=0, task_ipi_ns=0, wake_ns=0}"


def test_what_a_file_becomes(tmp_path):
    scenario = load_rtapp(
        written(tmp_path, VIDEO.replace('"display",', '"display" ,').replace('suspend" : ""', 'suspend":""'))
    )
    decoder, display = scenario.host_tasks
    assert scenario.name == "use-case" and scenario.run.duration_ns == 2_000_000_000 and scenario.run.warmup_ns == 0
    assert [(group.name, group.parent) for group in scenario.groups] == [("media", None), ("media.video", "media")]
    assert (decoder.nice, decoder.cpus, decoder.group, decoder.slice_ns) == (-5, (0, 1), "media.video", 3 * MSEC)
    assert [step.model_dump(exclude_unset=True) for step in decoder.program] == [
        {"run_ns": 2 * MSEC},
        {"lock": "display"},
        {"signal": "display", "lossy": True, "to_all": True},
        {"unlock": "display"},
        {"run_ns": 1 * MSEC},
        {"timer_ns": 16 * MSEC, "timer": 0, "relative": False},
    ]
    assert (display.count, display.start_ns, display.policy) == (2, 5 * MSEC, "batch")
    turn, end = display.program
    assert end.exit and turn.repeat == 3
    assert [step.action for step in turn.steps] == ["lock", "wait", "unlock", "repeat"]
    assert turn.steps[1].wait == turn.steps[1].mutex == "display"
    assert [step.action for step in turn.steps[3].steps] == ["run_ns", "sched_yield"] and turn.steps[3].repeat == 4
    assert not decoder.program[-1].relative


def test_two_periodic_tasks_of_the_tutorial(tmp_path):
    """Task A runs 5 and sleeps 10, so its period grows when it is preempted; task B's timer of 19 stays."""
    text = """{"tasks": {"A": {"run": 5000, "sleep": 10000},
                         "B": {"run": 5000, "timer": {"ref": "unique", "period": 19000}}}}"""
    scenario = load_rtapp(written(tmp_path, text))
    scenario = apply_overrides(scenario, ["host.cpus=1", FREE, "host_tasks.*.timer_slack_ns=0"])
    events = simulate_tasks(scenario, 100 * MSEC)
    woken = events[(events["event"] == WAKEUP) & (events["next_pid"] == pids(scenario).index("B"))]
    assert woken["time_ns"].tolist() == [0, 19 * MSEC, 38 * MSEC, 57 * MSEC, 76 * MSEC, 95 * MSEC]


LOCKS = """{"tasks": {
    "taker": {"instance": 2, "cpus": [0], "lock": "m", "run": 1000, "unlock": "m", "sleep": 100},
    "waiter": {"lock": "k", "wait": {"ref": "c", "mutex": "k"}, "unlock": "k", "run": 50},
    "sender": {"sleep": 5000, "lock": "k", "signal": "c", "unlock": "k"},
    "left": {"run": 10, "barrier": "b"},
    "right": {"sleep": 2000, "barrier": "b"},
    "one": {"run": 100, "sync": {"ref": "d", "mutex": "n"}},
    "two": {"sleep": 300, "lock": "n", "sync": {"ref": "d", "mutex": "n"}, "unlock": "n"}
}}"""


def counted(scenario, ms):
    machine = Machine(scenario)
    machine.run_until(ms * MSEC)
    return {task["name"]: task for task in machine.counters()["host_tasks"]}


def test_locks_conditions_and_barriers(tmp_path):
    scenario = apply_overrides(load_rtapp(written(tmp_path, LOCKS)), ["host.cpus=4", "host_tasks.*.timer_slack_ns=0"])
    tasks = counted(scenario, 40)
    taken = tasks["taker-1"]["run_ns"] + tasks["taker-2"]["run_ns"]
    assert 38 * MSEC < taken <= 40 * MSEC  # one holder at a time, hardly a gap between them
    assert tasks["waiter"]["run_ns"] == 7 * 50_000
    assert tasks["left"]["run_ns"] == 200_000  # a turn takes 2 ms: the barrier holds the faster one back
    assert tasks["one"]["run_ns"] > 40 * 100_000


def test_a_mutex_excludes_also_who_was_just_woken(tmp_path):
    text = '{"tasks": {"t": {"instance": 3, "lock": "m", "run": 700, "unlock": "m", "run1": 300}}}'
    tasks = counted(apply_overrides(load_rtapp(written(tmp_path, text)), ["host.cpus=3", FREE]), 21)
    # at most one of three in its 0.7 ms at any time: 30 turns of 1 ms in all
    assert 28 * MSEC <= sum(task["run_ns"] for task in tasks.values()) <= 31 * MSEC


ALTERNATE = """{"tasks": {
    "left":  {"loop": -1, "run": 10000, "resume": "right", "suspend": "left"},
    "right": {"loop": -1, "run": 10000, "resume": "left", "suspend": "right"}
}}"""


@pytest.mark.parametrize("cpus", [1, 2, 4])
def test_two_that_resume_each_other_alternate(tmp_path, cpus):
    """Both get to their resume at one instant, and one of them is the first: it sleeps already for the other's."""
    scenario = apply_overrides(load_rtapp(written(tmp_path, ALTERNATE)), [f"host.cpus={cpus}"])
    machine = Machine(scenario, "stock", 1)
    machine.run_until(100 * MSEC)
    before = [task["run_ns"] for task in machine.counters()["host_tasks"]]
    machine.run_until(500 * MSEC)
    left, right = (task["run_ns"] - ns for task, ns in zip(machine.counters()["host_tasks"], before, strict=True))
    assert left == pytest.approx(200 * MSEC, abs=11 * MSEC) and right == pytest.approx(200 * MSEC, abs=11 * MSEC)
    assert left + right == pytest.approx(400 * MSEC, rel=0.005)


def test_a_sync_resumes_who_is_suspended_by_the_same_name(tmp_path):
    """rt-app's video example: the driver's sync and its looper's suspend are one condition variable."""
    condition = '{"ref": "driver", "mutex": "driver"}'
    text = f"""{{"tasks": {{
        "player": {{"sleep": 5000, "run": 100, "sync": {condition}, "run1": 50}},
        "looper": {{"suspend": "driver", "run": 200, "resume": "driver"}}
    }}}}"""
    tasks = counted(apply_overrides(load_rtapp(written(tmp_path, text)), ["host.cpus=2"]), 99)
    turns = tasks["looper"]["run_ns"] // 200_000
    assert turns == 18 and tasks["player"]["run_ns"] == turns * 150_000


def test_a_ring_of_three(tmp_path):
    ring = {f"t{i}": f'"run": 1000, "resume": "t{(i + 1) % 3}", "suspend": ""' for i in range(3)}
    text = ", ".join(f'"{name}": {{{events}}}' for name, events in ring.items())
    tasks = counted(apply_overrides(load_rtapp(written(tmp_path, f'{{"tasks": {{{text}}}}}')), ["host.cpus=3"]), 300)
    ran = [task["run_ns"] for task in tasks.values()]
    assert sum(ran) > 290 * MSEC and max(ran) - min(ran) <= 2 * MSEC


SEMAPHORES = """{"tasks": {
    "producer": {"run": 2000, "sem_post": "items", "timer": {"ref": "unique", "period": 10000}},
    "consumer": {"sem_wait": "items", "run": 3000}
}, "global": {"duration": 2}}"""


def test_semaphores(tmp_path):
    tasks = counted(apply_overrides(load_rtapp(written(tmp_path, SEMAPHORES)), ["host.cpus=2"]), 1000)
    assert tasks["producer"]["run_ns"] == 200 * MSEC and tasks["consumer"]["run_ns"] == 300 * MSEC


def test_posts_are_counted(tmp_path):
    """Five at once, while the consumer is still busy with the first."""
    burst = '"phases": {"five": {"loop": 5, "run": 1, "sem_post": "s"}, "pause": {"sleep": 50000}}'
    text = f'{{"tasks": {{"burst": {{{burst}}}, "eater": {{"sem_wait": "s", "run": 1000}}}}}}'
    tasks = counted(apply_overrides(load_rtapp(written(tmp_path, text)), ["host.cpus=2"]), 99)
    assert tasks["eater"]["run_ns"] == 10 * MSEC


PLACES = """{"tasks": {"mover": {"cpus": [2], "phases": {
    "first": {"loop": 2, "run": 1500, "cpus": [0]},
    "second": {"loop": 2, "run": 1500, "cpus": [1]},
    "third": {"run": 1500}
}}}}"""


def test_cpus_of_a_phase(tmp_path):
    """A phase without cpus has those of its thread."""
    scenario = apply_overrides(load_rtapp(written(tmp_path, PLACES)), ["host.cpus=3", FREE])
    mover = scenario.host_tasks[0]
    assert mover.cpus == (2,) and [step.cpus for step in mover.program] == [(0,), None, (1,), None, (2,), None]
    events = simulate_tasks(scenario, 15 * MSEC)
    arrivals = events[(events["event"] == SWITCH) & (events["next_pid"] == 0)]
    assert arrivals["cpu"].tolist() == [2, 0, 1, 2, 0, 1, 2, 0]
    assert (arrivals["time_ns"] / MSEC).tolist() == [0, 0, 3, 6, 7.5, 10.5, 13.5, 15]


def test_without_cpus_of_its_own_a_thread_may_go_anywhere(tmp_path):
    scenario = load_rtapp(written(tmp_path, PLACES.replace('"cpus": [2], ', "")))
    assert scenario.host_tasks[0].cpus is None and scenario.host_tasks[0].program[4].cpus == ()


def test_phases_at_their_cpus_mean(tmp_path):
    """10 ms of work in the first 100 ms, on CPU 0; 50 ms in the next, on CPU 1."""
    timer = '"timer": {"ref": "unique", "period": 10000}'
    phases = ", ".join(
        f'"p{cpu}": {{"loop": 10, "run": {run}, {timer}, "cpus": [{cpu}]}}' for cpu, run in ((0, 1000), (1, 5000))
    )
    scenario = load_rtapp(written(tmp_path, f'{{"tasks": {{"mover": {{"phases": {{{phases}}}}}}}}}'))
    scenario = apply_overrides(scenario, ["host.cpus=2", FREE])
    events = simulate_tasks(scenario, 400 * MSEC)
    ran, since = [0, 0], {}
    for event in events[events["event"] == SWITCH]:
        if event["prev_pid"] == 0:
            ran[event["cpu"]] += int(event["time_ns"]) - since.pop(int(event["cpu"]))
        if event["next_pid"] == 0:
            since[int(event["cpu"])] = int(event["time_ns"])
    assert ran == pytest.approx([20 * MSEC, 100 * MSEC], rel=0.01)


GROUPS = """{"tasks": {
    "mover": {"phases": {
        "in": {"loop": 100, "run": 1000, "taskgroup": "/tg1/tg11"},
        "still": {"loop": 100, "run": 1000},
        "out": {"loop": 100, "run": 1000, "taskgroup": "/"}
    }},
    "hog": {"run": 1000},
    "rival": {"run": 1000, "taskgroup": "/tg1"}
}}"""


def test_taskgroup_of_a_phase(tmp_path):
    """In /tg1/tg11 it has half of tg1's half, in the root a third; a phase without a taskgroup stays in the last."""
    scenario = apply_overrides(load_rtapp(written(tmp_path, GROUPS)), ["host.cpus=1", FREE])
    assert [group.name for group in scenario.groups] == ["tg1", "tg1.tg11"]
    assert [step.group for step in scenario.host_tasks[0].program] == ["tg1.tg11", None, None, "/", None]
    machine = Machine(scenario, "stock", 0)
    ran = []
    for ms in (400, 800, 1100):
        machine.run_until(ms * MSEC)
        ran.append(machine.counters()["host_tasks"][0]["run_ns"] / MSEC)
    assert ran == pytest.approx([100, 200, 300], rel=0.03)  # a quarter for 800 ms, then a third


def test_priority_and_policy_of_a_phase(tmp_path):
    phases = '"a": {"priority": -5, "run": 10}, "b": {"policy": "SCHED_IDLE", "run": 10}, '
    phases += '"c": {"policy": "SCHED_OTHER", "run": 10}'
    (task,) = load_rtapp(written(tmp_path, f'{{"tasks": {{"t": {{"phases": {{{phases}}}}}}}}}')).host_tasks
    assert [step.model_dump(exclude_unset=True) for step in task.program] == [
        {"nice": -5}, {"run_ns": 10_000}, {"policy": "idle"}, {"run_ns": 10_000},
        {"policy": "normal"}, {"nice": 0}, {"run_ns": 10_000},
    ]  # fmt: skip


def test_a_phase_for_ever_and_clamps(tmp_path):
    text = (
        '{"tasks": {"t": {"util_min": 5, "phases": {"a": {"run": 10, "util_max": 9}, "b": {"loop": -1, "run": 20}}}}}'
    )
    (task,) = load_rtapp(written(tmp_path, text)).host_tasks
    assert [step.action for step in task.program] == ["run_ns", "repeat"] and task.program[1].repeat == 10**9


@pytest.mark.parametrize("bare", ['"suspend",', '"suspend" ,', '/* */ "suspend" // so\n,', '"suspend1", '])
def test_a_bare_suspend_is_that_of_the_thread(tmp_path, bare):
    text = f'{{"tasks": {{\n"a": {{{bare} "run": 1500}}, "b": {{"resume": "a", "sleep": 100, "run": 1, "suspend"}},\n'
    text += '"c": {"resume": "b", "sleep": 10,}\n}}'
    scenario = load_rtapp(written(tmp_path, text))
    assert scenario.host_tasks[0].program[1].wait == "a"
    assert scenario.host_tasks[1].program[-2].wait == "b"


PIPELINE = """{"tasks": {
    "feed": {"run": 200, "lock": "m", "run1": 50, "unlock": "m", "barrier": "b"},
    "work": {"instance": 2, "phases": {"a": {"loop": 3, "run": 100}, "b": {"sleep": 100, "barrier": "b"}}}
}}"""


def test_as_a_guests_workload(tmp_path):
    scenario = in_guest(tmp_path, PIPELINE)
    assert scenario.vms[0].workload == "threads" and scenario == apply_overrides(scenario, [])
    machine = Machine(at_once(scenario))
    machine.run_until(50 * MSEC)
    (vm,) = machine.counters()["vms"]
    turns = vm["work_units"] / 3
    assert turns > 50
    assert vm["user_ns"] == pytest.approx(turns * (250_000 + 2 * 300_000), rel=0.05)
