"""rt-app files that are refused, with file and line, and what is said of those that are not whole."""

import json
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.helpers.paths import DOCS
from tests.helpers.rtapp_files import in_guest, written
from vcpu_env.cli import app
from vcpu_env.scenario import ScenarioError, load_rtapp
from vcpu_env.scenario.rtapp import EVENTS, THREAD_KEYS, UNSUPPORTED

pytestmark = pytest.mark.core

NAME_MISSING = "Expecting property name enclosed in double quotes"
TWO_COMMAS = "Illegal trailing comma before end of object" if sys.version_info >= (3, 13) else NAME_MISSING


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
        (
            '"run": 10,\n"mem": 10',
            4,
            "'mem', but no memory traffic of tasks is simulated: write its time as a run (allowed: lock, unlock, wait,",
        ),
        ('"run": 10,\n"iorun": 10', 4, "'iorun', but no devices of tasks are simulated: write its time as a run or"),
        ('"run": 10,\n"fork": "b"', 4, "'fork', but all threads are there from the beginning: write a thread with a d"),
        ('"run": 10, "membind_nodes": [0]', 3, "'membind_nodes', but no memory of NUMA nodes is simulated (allowed: "),
        ('"external_workload0": {}', 3, "'external_workload0', but no code of libraries is run: write its time as a r"),
        ('"exec": 10, "period": 20', 3, "'exec', but from before rt-app 1.0: write run, timer, lock and unlock (allow"),
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
        ('"run": 10, "dl-period": 20', 3, "'dl-period', but no deadline class is simulated (allowed: "),
        ('"run": 10, "sem_wait": 5', 3, "sem_wait: value 5 (allowed: string)"),
        ('"run",', 3, '"run" without a value (allowed: "run" : VALUE; only "suspend" needs none)'),
        ('"run": 10,\n"yield"', 4, '"yield" without a value (allowed: "yield" : VALUE; only "suspend" needs none)'),
        ('"run": 10, "cpus": ["0", "1", "2"]', 3, "cpus: value '0' (allowed: integer >= 0)"),
        ('"run": ' + "9" * 5000, 1, "a number of thousands of digits (allowed: JSON, with comments)"),
        ('"run": ' + "9" * 100, 3, f"run_ns: value {'9' * 50}"),
        ('"run": ' + '{"a":' * 3000, 1, "too many brackets in each other (allowed: tasks, phases and events)"),
        ('"run": 10, "phases": {}', 3, "'run' beside phases (allowed: events in the phases, or no phases)"),
        (
            '"phases": {"p": {"run": 1,\n"delay": 5}}',
            4,
            "'delay' in a phase (allowed: in the thread, outside its phases)",
        ),
        ('"phases": {"p": {"run": 1,\n"priority": 20}}', 4, "nice: value 20 (allowed: integer -20..19)"),
        ('"phases": {"p": {"run": 1,\n"cpus": []}}', 4, "cpus: none given (allowed: at least one CPU)"),
        ('"phases": {"p": {"run": 1,\n"cpus": 0}}', 4, "cpus: value 0 (allowed: list)"),
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
        ('"run": 10, "lock": "m", "resume": "m"', 3, "resume 'm', whose mutex is locked (allowed: one that is not)"),
        ('"run": 10, "lock": "a b"', 3, "lock: value 'a b' (allowed: name of letters,"),
        ('"run": 10 20 ', 3, "Expecting ',' delimiter (allowed: JSON, with comments)"),
        ('"run": 10,, ', 3, f"{TWO_COMMAS} (allowed: JSON, with comments)"),
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


@given(
    st.recursive(
        st.sampled_from(
            [0, 1, -1, 10**9, 10**30, 1.5, True, None, "", "a", "/", "/g/h", "unique", "\ud800", ":", '", "']
        )
        | st.lists(st.integers(-1, 20), max_size=3),
        lambda inner: st.dictionaries(
            st.sampled_from(
                (*EVENTS, *THREAD_KEYS, *UNSUPPORTED, "run2", "ref", "mutex", "mode", "period", '"', ":x", "\n")
            ),
            inner,
            max_size=5,
        ),
        max_leaves=12,
    ),
    st.sampled_from(["", ",", "}", "]", "/*", "//", '"', '"suspend",', '"run"', "\x00", "\\"]),
    st.integers(0, 60),
)
@settings(max_examples=300, deadline=None)
def test_any_file_is_read_or_refused_in_one_line(task, text, at):
    whole = json.dumps({"tasks": {"t": task, "u": {"run": 5}}})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzzed.json"
        path.write_text(whole[:at] + text + whole[at:])
        try:
            load_rtapp(path)
        except ScenarioError as error:
            line = str(error)
            assert "\n" not in line and "allowed: " in line or "did you mean" in line
            line.encode()


def test_names_that_nobody_answers(tmp_path):
    path = written(tmp_path, '{"tasks": {"a": {"run": 1, "suspend": "x"}}}')
    with pytest.raises(ScenarioError, match=r"host_tasks.0.program: wait 'x' \(allowed: names that some task"):
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
