"""rt-app files: what they become, what they do on the host and in a guest, and what is refused where."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from vcpu_env.cli import app
from vcpu_env.machine import Machine
from vcpu_env.scenario import ScenarioError, apply_overrides, load_rtapp, load_scenario
from vcpu_env.sched_trace import WAKEUP, pids, simulate_tasks

pytestmark = pytest.mark.core

DOCS = Path(__file__).parent.parent / "docs"
MSEC = 1_000_000
FREE = "host.costs={task_switch_ns=0, task_yield_ns=0, task_syscall_ns=0, task_tick_ns=0, task_ipi_ns=0, wake_ns=0}"

VIDEO = """{
	/* two threads: one resumes the other */
	"tasks" : {
		"decoder" : {
			"priority" : -5, "cpus" : [0, 1], "taskgroup" : "/media/video", "dl-runtime" : 3000,
			"run1" : 2000, // a run
			"resume" : "display",
			"run2" : 1000,
			"timer" : { "ref" : "unique", "period" : 16000, "mode" : "absolute" },
		},
		"display" : {
			"instance" : 2, "delay" : 5000, "policy" : "SCHED_BATCH", "loop" : 3,
			"phases" : {
				"wait" : { "suspend" : "" },
				"draw" : { "loop" : 4, "run" : 500, "yield" : "" }
			}
		},
		"absent" : { "instance" : 0, "run" : 10 }
	},
	"global" : { "duration" : 2, "calibration" : "CPU0", "gnuplot" : true, }
}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "use-case.json"
    path.write_text(text)
    return path


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
        {"signal": "suspend.display", "lossy": True, "to_all": True},
        {"run_ns": 1 * MSEC},
        {"timer_ns": 16 * MSEC, "timer": 0, "relative": False},
    ]
    assert (display.count, display.start_ns, display.policy) == (2, 5 * MSEC, "batch")
    turn, end = display.program
    assert end.exit and turn.repeat == 3
    assert turn.steps[0].wait == "suspend.display"
    assert [step.action for step in turn.steps[1].steps] == ["run_ns", "sched_yield"] and turn.steps[1].repeat == 4
    assert not decoder.program[3].relative


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


GUEST = """
[host]
cpus = 2
[[vms]]
name = "vm"
vcpus = 2
workload = "use-case.json"
"""
PIPELINE = """{"tasks": {
    "feed": {"run": 200, "lock": "m", "run1": 50, "unlock": "m", "barrier": "b"},
    "work": {"instance": 2, "phases": {"a": {"loop": 3, "run": 100}, "b": {"sleep": 100, "barrier": "b"}}}
}}"""


def in_guest(tmp_path, text):
    written(tmp_path, text)
    toml = tmp_path / "guest.toml"
    toml.write_text(GUEST)
    return load_scenario(toml)


def test_as_a_guests_workload(tmp_path):
    scenario = in_guest(tmp_path, PIPELINE)
    assert scenario.vms[0].workload == "threads" and scenario == apply_overrides(scenario, [])
    machine = Machine(scenario)
    machine.run_until(50 * MSEC)
    (vm,) = machine.counters()["vms"]
    turns = vm["work_units"] / 3
    assert turns > 50
    assert vm["user_ns"] == pytest.approx(turns * (250_000 + 2 * 300_000), rel=0.05)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ('"timer": {"ref": "unique", "period": 5}', "vms.0.threads.0.program: timer_ns (allowed in a guest: run_ns, "),
        ('"yield": ""', "vms.0.threads.0.program: sched_yield (allowed in a guest: run_ns, "),
        ('"priority": 5', "use-case.json: priority of a (allowed in a guest: instance, loop, phases and events)"),
        ('"loop": 2', "vms.0.threads.0.program: exit (allowed in a guest: run_ns, "),
        ('"lock": "m"', "vms.0.threads.0.program: lock 'm' is never let go (allowed in a guest: an unlock)"),
        (
            '"lock": "m", "lock1": "n", "unlock": "m", "unlock1": "n"',
            "vms.0.threads.0.program: unlock 'm' (allowed in a guest: the lock taken last)",
        ),
    ],
)
def test_what_a_guest_refuses(tmp_path, event, line):
    with pytest.raises(ScenarioError) as error:
        in_guest(tmp_path, f'{{"tasks": {{"a": {{"run": 2000, {event}}}}}}}')
    assert line in str(error.value)


@pytest.mark.parametrize(
    ("task", "where", "message"),
    [
        ('"run": 10,\n"mem": 10', 4, "'mem' (allowed: lock, unlock, wait,"),
        ('"run": 10,\n"fork": "b"', 4, "'fork' ("),
        ('"runs": 10,\n"slep": 5', 4, "'slep' (did you mean 'sleep'?)"),
        ('"run": "10"', 3, "run: value '10' (allowed: integer >= 0)"),
        ('"run": -1', 3, "run: value -1 (allowed: integer >= 0)"),
        ('"run": true', 3, "run: value True (allowed: integer >= 0)"),
        (
            '"run": 10, "policy": "SCHED_FIFO"',
            3,
            "policy: value 'SCHED_FIFO' (allowed: SCHED_OTHER, SCHED_BATCH, SCHED_",
        ),
        ('"run": 10, "priority": 20', 2, "nice: value 20 (allowed: integer -20..19)"),
        ('"run": 10, "dl-period": 20', 3, "'dl-period' ("),
        ('"run": 10, "phases": {}', 3, "'run' beside phases (allowed: events in the phases, or no phases)"),
        (
            '"phases": {"p": {"run": 1,\n"cpus": [0]}}',
            4,
            "'cpus' in a phase (allowed: in the thread, outside its phases)",
        ),
        ('"loop": 0, "run": 1', 3, "loop: value 0 (allowed: integer >= 1)"),
        ('"yield": ""', 2, "program: takes no time (allowed: at least one run_ns"),
        ('"timer": {"period": 10}', 3, "no ref (allowed: ref, period, mode)"),
        (
            '"instance": 2, "timer": {"ref": "t", "period": 10}',
            3,
            "ref: value 't', a timer of several threads (allowed:",
        ),
        ('"timer": {"ref": "t", "period": 10, "mode": "x"}', 3, "mode: value 'x' (allowed: relative, absolute)"),
        ('"run": 10, "wait": {"ref": "c"}', 3, "no mutex (allowed: ref, mutex)"),
        ('"run": 10, "wait": {"ref": "c", "mutex": "m"}', 3, "mutex 'm', which is not locked (allowed: one that is)"),
        ('"run": 10, "lock": "m", "lock": "m"', 3, "lock 'm', which is locked (allowed: one that is not)"),
        ('"run": 10, "unlock": "m"', 3, "unlock 'm', which is not locked (allowed: one that is)"),
        ('"run": 10, "lock": "a b"', 3, "lock: value 'a b' (allowed: name of letters,"),
        ('"run": 10,, ', 3, "Expecting property name enclosed in double quotes (allowed: JSON, with comments)"),
    ],
)
def test_refused_with_file_and_line(tmp_path, task, where, message):
    path = written(tmp_path, '{"tasks": {\n"a": {\n' + task + "}}}")
    with pytest.raises(ScenarioError) as error:
        load_rtapp(path)
    assert str(error.value).startswith(f"{path}:{where}: {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"tasks": {}}', ":1: tasks: none given (allowed: at least one)"),
        ('{"task": {}}', ":1: 'task' (allowed: tasks, global, resources)"),
        ('{"global": {\n"durations": 1}}', ":2: global 'durations' (allowed: duration, default_policy, calibration,"),
        ("[]", ':1: no object (allowed: an object with "tasks")'),
    ],
)
def test_refused_files(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(ScenarioError) as error:
        load_rtapp(path)
    assert str(error.value).startswith(f"{path}{message}")


def test_names_that_nobody_answers(tmp_path):
    path = written(tmp_path, '{"tasks": {"a": {"run": 1, "suspend": "x"}}}')
    with pytest.raises(ScenarioError, match=r"host_tasks.0.program: wait 'suspend.x' \(allowed: names that some task"):
        load_rtapp(path)
    with pytest.raises(
        ScenarioError, match=r"rtapp: value '.*absent.json' \(allowed: a file that can be read; No such"
    ):
        load_rtapp(tmp_path / "absent.json")


def test_from_the_command_line(tmp_path):
    path = written(tmp_path, '{"tasks": {"a": {"run": 1000, "sleep": 1000}}, "global": {"duration": 1}}')
    run = CliRunner().invoke(
        app, ["simulate", "--rtapp", str(path), "--set", "host.cpus=1", "--set", "run.duration_ns=5_000_000"]
    )
    assert run.exit_code == 0 and "host_tasks" in run.output and "  a " in run.output
    for arguments in (["simulate"], ["simulate", "dedup-2vm", "--rtapp", str(path)]):
        run = CliRunner().invoke(app, arguments)
        assert run.exit_code == 2 and "error: SCENARIO: " in run.output


def test_the_page_names_every_key():
    from vcpu_env.scenario.rtapp import EVENTS, GLOBALS, IGNORED_GLOBALS, POLICIES, THREAD_KEYS

    page = (DOCS / "rt-app.md").read_text()
    for key in (*EVENTS, *GLOBALS, *IGNORED_GLOBALS, *POLICIES, *THREAD_KEYS):
        assert f"`{key}`" in page, key
