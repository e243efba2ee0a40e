"""Inputs that crashed, hung or were accepted: each ends in one line that names field, value and what is allowed."""

import json
import sys

import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded

from tests.helpers.worlds import timeline
from vcpu_env.base.errors import InputError, one_line, shown
from vcpu_env.base.timeline import (
    EVENTS_BETWEEN_LOOKS,
    MOST_EVENTS_AT_ONCE,
    MOST_STEPS_AT_ONCE,
    NEVER,
    note_stall,
    time_stands_still,
)
from vcpu_env.scenario import Scenario, ScenarioError, load_rtapp, load_scenario, parse_scenario
from vcpu_env.scenario.bounds import LARGEST_COST_NS, LONGEST_NS, MOST_FREE_STEPS
from vcpu_env.scenario.free_steps import FREE, TAKES_TIME, after, either, repeated, stretch_of

pytestmark = pytest.mark.core

TASK = '[host]\ncpus = 1\n{costs}[[host_tasks]]\nname = "a"\ncount = 2\nprogram = [{program}, {{ run_ns = 1 }}]\n'
GUEST = (
    '[host]\ncpus = 1\n[[vms]]\nname = "vm"\nvcpus = 1\nworkload = "threads"\n'
    '[[vms.threads]]\nname = "a"\nprogram = [{program}, {{ run_ns = 1 }}]\n'
    '[[vms.threads]]\nname = "b"\nprogram = [{{ wait = "m" }}, {{ run_ns = 1 }}]\n'
)
TEXT = (
    '[host]\ncpus = 2\n[workloads.x.queues.q]\n[[workloads.x.threads]]\nname = "a"\n'
    'program = """\nuser 1us\nrepeat {times}\nput q\nget q\nend\n"""\n[[vms]]\nname = "vm"\nvcpus = 2\nworkload = "x"\n'
)
NO_COSTS = "[host.costs]\ntask_yield_ns = 0\ntask_switch_ns = 0\ntask_syscall_ns = 0\n"
COST = '[host]\ncpus = 2\n[host.costs]\n{cost}\n[[vms]]\nname = "vm"\nvcpus = 2\nworkload = "dbench"\n'
MANY = 1_000_000_000


def repeat(step: str, times: int = MANY) -> str:
    return f"{{ repeat = {times}, steps = [{step}] }}"


def refusal(text: str) -> str:
    with pytest.raises(ScenarioError) as error:
        parse_scenario(text, "case")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GUEST.format(program=repeat('{ signal = "m" }')), "vms.0.threads.0.program.0.repeat: value 1000000000 ("),
        (
            TASK.format(costs="", program=repeat(repeat('{ lock = "m" }, { unlock = "m" }'))),
            "host_tasks.0.program.0.steps.0.repeat: value 1000000000 (",
        ),
        (
            TASK.format(costs=NO_COSTS, program=repeat("{ sched_yield = true }")),
            "host_tasks.0.program.0.repeat: value 1000000000 (",
        ),
        (TEXT.format(times=1_000_000), "workloads.x.threads.0.program (a): line 2: repeat: times 1000000 ("),
    ],
    ids=["guest-signal", "host-lock", "host-yield", "workload-repeat"],
)
def test_a_loop_without_time_is_refused(text, message):
    assert refusal(text).startswith(message)


def test_loops_that_take_time_are_accepted():
    yields = parse_scenario(TASK.format(costs="", program=repeat("{ sched_yield = true }")), "case")
    assert yields.host_tasks[0].program[0].repeat == MANY
    few = MOST_FREE_STEPS // 3
    assert MOST_FREE_STEPS <= MOST_STEPS_AT_ONCE
    parse_scenario(TEXT.format(times=few - 1), "case")
    assert "line 2" in refusal(TEXT.format(times=few + 1))


def test_stretches_of_free_steps():
    """The longest run of free steps: within a part, across the border of two, and across the turns of a loop."""
    assert stretch_of([FREE, FREE, TAKES_TIME, FREE]).most == 2
    assert repeated(5, FREE).most == 10  # a step of the loop's own each turn
    half = stretch_of([FREE, TAKES_TIME, FREE, FREE])
    assert (half.through, half.head, half.tail, half.most) == (None, 1, 2, 2)
    assert repeated(9, half).most == 4  # two, the loop's, one of the next turn
    way = either(TAKES_TIME, stretch_of([FREE, FREE]))
    assert (way.through, after(FREE, way).most) == (2, 3)
    assert repeated(3, after(way, TAKES_TIME)).most == 3


@pytest.mark.parametrize("value", [2**63 - 1, 2**62, 2**63, 10**30, LARGEST_COST_NS + 1])
@pytest.mark.parametrize("name", ["context_switch_ns", "tick_ns", "ipi_ns"])
def test_costs_are_bounded(name, value):
    assert refusal(COST.format(cost=f"{name} = {value}")).startswith(f"host.costs.{name}: value {value} (allowed: int")


def test_the_longest_draw_fits():
    from vcpu_env.base.random import DISTRIBUTIONS, QUANTILES, QUANTILES_Q16, sample
    from vcpu_env.guest.shapes import POINTS, shape_quantiles
    from vcpu_env.scenario.program_text import MAX_NS

    for kind in DISTRIBUTIONS.values():
        table = QUANTILES_Q16[kind * QUANTILES : (kind + 1) * QUANTILES]
        assert 0 < LONGEST_NS * int(table.max()) < 2**62
        with np.errstate(over="raise"):
            sample(kind, np.int64(LONGEST_NS), np.int64(2**32 - 1))
    spike = shape_quantiles("spike", [(0.0, 0.0), (1 - 1 / POINTS, 0.0), (1.0, 1e11)])
    assert MAX_NS * int(spike.max()) < 2**62


def test_the_clock_is_looked_at():
    """Time stands still after so many events at one instant, or where a program was seen to take none."""
    world = timeline(4)
    clock = world["machine_clock"]
    assert clock["check_events"][0] == EVENTS_BETWEEN_LOOKS
    clock["events"], clock["now_ns"] = 7, 5
    assert not time_stands_still(world.handle, 1)
    assert clock["check_events"][0] == 7 + EVENTS_BETWEEN_LOOKS
    clock["events"] = 6 + MOST_EVENTS_AT_ONCE
    assert not time_stands_still(world.handle, 1)
    clock["events"] = 7 + MOST_EVENTS_AT_ONCE
    assert time_stands_still(world.handle, 2)
    assert clock["stalled_slot"][0] == 2
    world = timeline(4)
    note_stall(world.handle)
    assert world["machine_clock"]["checked_ns"][0] == NEVER
    assert time_stands_still(world.handle, 3)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ('workloads = 5\n[[vms]]\nname = "vm"\nvcpus = 2\nworkload = "x.toml"\n', "workloads: value 5 (allowed:"),
        ("a = " + "[" * 1500 + "]" * 1500, "scenario: value 'case' (allowed: a TOML file; too many brackets"),
        ("a = " + "9" * 5000, "scenario: value 'case' (allowed: a TOML file; "),
        ('"a\\nb" = 5', "a\\nb: unknown field"),
        ('name = "x\\ny"', "name: value 'x\\ny' (allowed: name of letters"),
        ("host = 5", "host: value 5 (allowed: a table)"),
    ],
)
def test_wrong_text_is_one_line(toml, message):
    with pytest.raises(ScenarioError) as error:
        parse_scenario(toml, "case")
    assert any(line.startswith(message) for line in str(error.value).split("\n")), str(error.value)
    assert str(error.value).isprintable() or "\n" in str(error.value)


@pytest.mark.parametrize("name", ["x" * 300, "a\nb\x1b[31m"])
def test_a_wrong_name_is_one_line(name):
    with pytest.raises(ScenarioError) as error:
        load_scenario(name)
    assert str(error.value).startswith("scenario: value ")
    assert str(error.value).isprintable()


def test_lines_and_values_are_cut_and_plain():
    assert one_line("a\nb\t\x1b") == "a\\nb\\t\\x1b"
    assert len(one_line("x" * 10_000)) == 2000
    assert shown(10**5000) == "an integer of thousands of digits"
    assert str(InputError(["a\nb", "c"])) == "a\\nb\nc"


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ('{"loop": 2000000000, "run": 10}', "repeat: value 2000000000 (allowed: integer 1..1000000000)"),
        ('{"policy": [], "run": 10}', "policy: value [] (allowed: SCHED_OTHER"),
        ('{"run": ' + "9" * 5000 + "}", "a number of thousands of digits"),
        ('{"a":' * 3000 + "1" + "}" * 3000, "too many brackets"),
    ],
)
def test_wrong_rtapp_files_are_one_line(tmp_path, task, message):
    path = tmp_path / "a.json"
    path.write_text(f'{{"tasks": {{"a": {task}}}}}')
    with pytest.raises(ScenarioError) as error:
        load_rtapp(path)
    assert f"a.json:1: {message}" in str(error.value)
    assert str(error.value).isprintable()


def test_a_machine_that_is_too_large_is_refused_before_it_is_made(monkeypatch):
    from vcpu_env.build.blueprint import blueprint_of
    from vcpu_env.build.size import max_mib

    locks = "".join(f'[workloads.x.locks.l{i}]\nkind = "spin"\ncount = 100_000\n' for i in range(50))
    thread = '[[workloads.x.threads]]\nname = "a"\nprogram = "user 1us"\n'
    many = parse_scenario(f'{locks}{thread}[[vms]]\nname = "vm"\nvcpus = 2\ncount = 64\nworkload = "x"\n', "case")
    with pytest.raises(ValueError, match=r"scenario case: the machine takes .* for [0-9,]+ structs guest_lock \(allow"):
        blueprint_of(many, 0)
    monkeypatch.setenv("VCPU_ENV_MAX_MIB", "0")
    with pytest.raises(ValueError, match=r"VCPU_ENV_MAX_MIB: value '0' \(allowed: MiB, 1..999999999\)"):
        max_mib()
    monkeypatch.setenv("VCPU_ENV_MAX_MIB", "1")
    small = Scenario(name="s", vms=[{"name": "vm", "vcpus": 1, "workload": "dbench", "params": {"clients": 9000}}])
    with pytest.raises(ValueError, match=r"structs guest_thread \(allowed: 1 MiB; VCPU_ENV_MAX_MIB sets the limit\)"):
        blueprint_of(small, 0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("cloning=5", "cloning: value 5 (allowed: a table)"),
        ("stages=1", "stages: value 1 (allowed: a table, or a list of tables)"),
        ("net_arch=5", "net_arch: value 5 (allowed: list of integers)"),
        ("hyperparameters=3", "hyperparameters: value 3 (allowed: table of names, each with a value)"),
        ("cloning.teacher=5", "cloning.teacher: value 5 (allowed: text)"),
    ],
)
def test_wrong_trainings_are_one_line(override, message):
    from agents.config import ConfigError, load_config

    with pytest.raises(ConfigError) as error:
        load_config("wide-es", [override])
    assert message in str(error.value).split("\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reward": {}}, r"reward: value {} \(allowed: weights of .*, at least one\)"),
        ({"reward": {"useful": "1"}}, r"reward.useful: value '1' \(allowed: number\)"),
        ({"privileged": "yes"}, r"privileged: value 'yes' \(allowed: true or false\)"),
        ({"observe": "ipi"}, r"observe: value 'ipi' \(allowed: list of strings\)"),
        ({"penalty_levels": 3}, r"penalty_levels: value 3 \(allowed: list of numbers\)"),
        ({"max_penalty_scale": 0}, r"max_penalty_scale: value 0 \(allowed: number above 1.*, up to 1024\)"),
        (
            {"epoch_ns": 2_000_000, "horizon_ns": 1_000_000},
            r"epoch_ns: value 2000000 \(allowed: up to horizon_ns, 1000000",
        ),
        ({"horizon_ns": True}, r"horizon_ns: value True \(allowed: integer"),
    ],
)
def test_wrong_arguments_of_environments(arguments, message):
    from vcpu_env.envs.config import EnvConfigError, env_config

    with pytest.raises(EnvConfigError, match=message):
        env_config({}, arguments, ())


def test_wrong_actions():
    from vcpu_env.envs.action import Actions
    from vcpu_env.envs.compiled.types import CANDIDATE_CHOICE
    from vcpu_env.envs.config import EnvConfig, EnvConfigError, scenario_mix

    actions = Actions(CANDIDATE_CHOICE, EnvConfig())
    mask, out = np.ones(actions.mask_length, np.int8), np.zeros(4)
    with pytest.raises(InvalidAction, match=r"action: value True \(allowed: integers of shape \(1,\)\)"):
        actions.put(True, mask, out)
    with pytest.raises(InvalidAction, match=r"\(allowed: integers of shape \(4,\)\)"):
        actions.encode(np.zeros(3, np.int64), 4)
    with pytest.raises(EnvConfigError, match=r"scenario: value None \(allowed: a name,"):
        scenario_mix(None)


@pytest.mark.parametrize("name", ["", "../../x", "<script>alert(1)</script>", "=1+1", "a b", "x" * 65])
def test_policies_have_names(name):
    from vcpu_env.policy.policy import Policy

    with pytest.raises(ValueError, match=r"name: value .* \(allowed: up to 64 letters"):
        Policy(name, "")
    with pytest.raises(ValueError, match=r"summary: value .* \(allowed: one line of text\)"):
        Policy("a", "two\nlines")


def test_a_machine_refuses_what_no_run_has():
    from vcpu_env.machine import Machine
    from vcpu_env.scenario import HostTask

    scenario = Scenario(name="s", host={"cpus": 1}, host_tasks=[HostTask(name="a")])
    with pytest.raises(ValueError, match=r"trace_events: value -1 \(allowed: 0..67108864\)"):
        Machine(scenario, trace_events=-1)
    machine = Machine(scenario)
    for end_ns in (2**63, -1):
        with pytest.raises(ValueError, match=r"run_until: value .* \(allowed: 0..20000000000000\)"):
            machine.run_until(end_ns)


def test_too_many_events_at_one_instant_stop_the_machine():
    from vcpu_env.build.stall import StalledError
    from vcpu_env.machine import Machine
    from vcpu_env.scenario import HostTask

    scenario = Scenario(name="still", host={"cpus": 1}, host_tasks=[HostTask(name="a")])
    machine = Machine(scenario)
    machine.run_until(100_000)
    clock, next_ns = machine.world["machine_clock"], machine.next_event_ns
    clock["check_events"], clock["checked_ns"] = clock["events"] + 1, next_ns
    clock["checked_events"] = clock["events"] - MOST_EVENTS_AT_ONCE
    message = rf"scenario still: time stands still at {next_ns} ns, host task 'a' \(at \w+\) goes on and on there"
    with pytest.raises(StalledError, match=message):
        machine.run_until(100_000_000)
    with pytest.raises(StalledError):
        machine.check()


def test_a_program_without_time_stops_the_machine():
    """Parameters of a workload may leave nothing that takes time: its thread is named, with its step."""
    from vcpu_env.build.stall import StalledError
    from vcpu_env.machine import Machine

    nothing = {"threads": 1, "user_ns": 0, "hold_ns": 0}
    vm = {"name": "vm", "vcpus": 1, "workload": "micro-lhp", "params": nothing, "boot_ns": 0}
    scenario = Scenario(name="still", host={"cpus": 1, "noise": "none"}, vms=[vm])
    with pytest.raises(StalledError, match=r"time stands still at \d+ ns, thread 0 of VM 'vm' \(at \w+\) goes on"):
        Machine(scenario).run_until(100_000_000)


def test_a_closed_environment_is_over():
    from tests.helpers.small_env import CANDIDATE_CHOICE, make

    env = make(CANDIDATE_CHOICE)
    env.close()
    with pytest.raises(ResetNeeded):
        env.step(0)


def test_reports_hold_no_markup_of_names():
    from baselines.report.document import Document, Entry, Section, Table
    from baselines.report.render import to_html, to_markdown
    from baselines.store import _csv_value

    bad = "<script>alert(1)</script>"
    table = Table(["policy", bad], [[Entry(f"{bad}|x"), Entry("1", (bad,))], [Entry(bad)]], caption=bad, folded=bad)
    document = Document(f"{bad} ` {bad}", [f"`code <b>` {bad}"], [Section(bad, [bad, table])])
    for text in (to_markdown(document)[0], to_html(document)):
        assert "<script>alert" not in text
    assert "`code <b>`" in to_markdown(document)[0]
    assert [_csv_value(value) for value in ("=1+1", "@x", "-x", "a", -1, [1])] == [
        "'=1+1",
        "'@x",
        "'-x",
        "a",
        -1,
        "[1]",
    ]


def test_output_that_cannot_be_written(tmp_path, capsys, monkeypatch):
    import typer

    from vcpu_env.cli import with_output, write_records

    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", sys.stdout)
    with pytest.raises(SystemExit) as end:
        with_output(full)
    sys.stdout.close()
    monkeypatch.undo()
    assert end.value.code == 1
    assert capsys.readouterr().err == "error: output: cannot be written (No space left on device)\n"
    (tmp_path / "file").write_text("")
    with pytest.raises(typer.Exit):
        write_records(tmp_path / "file", tmp_path / "a.jsonl", [])
    assert capsys.readouterr().err.startswith(f"error: -o: value '{tmp_path / 'file'}' (allowed: a directory to write")


def test_damaged_traces(tmp_path):
    import gzip

    from vcpu_env.trace.replay import TraceError, read_lines

    path = tmp_path / "a.jsonl.gz"
    whole = gzip.compress(json.dumps({"fn": "x" * 500}).encode())
    path.write_bytes(whole[:20] + b"\xff\x00\xff\x13" + whole[24:])
    with pytest.raises(TraceError, match="cannot be read"):
        read_lines(path)
    (tmp_path / "b.jsonl").write_text('{"a":' * 5000)
    with pytest.raises(TraceError, match="line 1 is not JSON"):
        read_lines(tmp_path / "b.jsonl")


def test_fit_looks_at_its_output_first(tmp_path):
    from vcpu_env.fit.command import fit_and_compare
    from vcpu_env.fit.events import FitError

    with pytest.raises(FitError, match=r"-o: value .*/no/x.toml' \(allowed: a file in a directory to write to\)"):
        fit_and_compare(tmp_path / "no-trace", [], [], tmp_path / "no" / "x.toml", 0, False)
