"""Probes as data: what is shipped, what is refused, what the C program and the simulator are told."""

from pathlib import Path

import pytest

from tests.helpers.realism_probes import FACTS, TASKS, probe
from vcpu_env.realism.cgroups import settings
from vcpu_env.realism.probe import Group, find_probes, parse_probes, shipped_probes
from vcpu_env.realism.record import specification
from vcpu_env.realism.simulated import scenario_of, started_at
from vcpu_env.scenario.errors import ScenarioError


def refusal(**fields) -> str:
    with pytest.raises(ScenarioError) as error:
        probe(**fields)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_shipped_probes_are_scenarios():
    probes = shipped_probes()
    assert {"hogs-2", "nested", "yielders", "sleepers", "waker", "ping-pong", "quota", "slices"} <= set(probes)
    for one in probes.values():
        scenario = scenario_of(one, FACTS)
        assert [task.name for task in scenario.expanded_host_tasks][: len(one.tasks)] == [
            task.name for task in one.tasks
        ]
        assert (scenario.host.hz, scenario.host.cpus, scenario.host.base_slice_ns) == (250, one.cpus, 1_400_000)
        assert (scenario.host.preempt, scenario.host.lag_clamp) == ("full", "6.19.9")
        assert scenario.groups[0].parent is None and all(group.parent for group in scenario.groups[1:])


def test_overrides_and_phase():
    scenario = scenario_of(shipped_probes()["hogs-2"], FACTS, ["host.hz=1000"])
    assert scenario.host.hz == 1000
    starts = [started_at(scenario, seed).host_tasks[0].start_ns for seed in (1, 1, 2)]
    assert starts[0] == starts[1] != starts[2] and 0 < starts[0] < 1_000_000
    with pytest.raises(ScenarioError, match="host.hzz"):
        scenario_of(shipped_probes()["hogs-2"], FACTS, ["host.hzz=1000"])


def test_specification():
    program = [{"run_ns": 5}, {"sched_yield": True}, {"signal": "b", "sync": True}, {"wait": "a"}, {"sleep_ns": 7}]
    other = [{"signal": "a", "sync": True}, {"wait": "b"}, {"timer_ns": 9000, "relative": True}]
    tasks = [
        {
            "name": "t",
            "nice": 3,
            "policy": "batch",
            "cpus": [1],
            "start_ns": 4,
            "timer_slack_ns": 0,
            "program": program,
        },
        {"name": "u", "slice_ns": 100_000, "program": other},
    ]
    text = specification(probe(host_tasks=tasks, cpus=2), (6, 7), [Path("/a"), Path("/b")], 1000)
    assert text.splitlines() == [
        *("duration 1000", "pipes 2"),
        "task /a 3 3 0 1 4 1 7",
        *("run_ns 5", "sched_yield 1", "signal 0", "wait 1", "sleep_ns 7"),
        "task /b 0 0 100000 50000 0 0",
        *("signal 1", "wait 0", "timer_ns 9000"),
        "end",
    ]


def test_quota_of_an_ancestor_limits():
    groups = [{"name": "a", "quota_us": 20_000}, {"name": "b", "parent": "a"}, {"name": "c"}]
    tasks = [{"name": "t", "group": "b"}, {"name": "u", "group": "c"}]
    assert probe(groups=groups, host_tasks=tasks).limited == [True, False]


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"host_tasks": []}, "p: host_tasks: none given (allowed: at least one)"),
        ({"host_tasks": TASKS * 2}, "p: host_tasks: name 't' given 2 times (allowed: once, copies included)"),
        ({"host_tasks": [{"name": "t", "count": 300}]}, "p: host_tasks: 300 tasks (allowed: up to 256)"),
        ({"groups": [{"name": "g"}]}, "p: host_tasks.0.group: missing (allowed: g)"),
        ({"groups": [{"name": "g", "parent": "h"}]}, "p: groups.0.parent: value 'h' (allowed: a group listed before)"),
        ({"groups": [{"name": "g"}] * 2}, "p: groups.1.name: value 'g' (allowed: a name that is not taken)"),
        ({"host_tasks": [{"name": "t", "cpus": [1]}]}, "p: host_tasks.0.cpus: value 1 (allowed: CPUs 0..0)"),
        ({"host_tasks": [{"name": "t", "weight": 9}]}, "p: host_tasks.0.weight: value 9 (allowed in a probe: nice"),
        ({"sumary": "x"}, "p: sumary: unknown field (did you mean 'summary'?)"),
    ],
)
def test_refused(fields, said):
    assert refusal(**fields).startswith(said)


@pytest.mark.parametrize(
    "step, said",
    [
        ({"run_ns": 5, "dist": "uniform"}, "dist: value 'uniform' (allowed in a probe: fixed)"),
        ({"timer_ns": 5000}, "timer_ns: (allowed in a probe"),
        ({"signal": "a"}, "signal: (allowed in a probe: sync = true"),
        ({"exit": True}, "exit: given (allowed in a probe: run_ns"),
    ],
)
def test_step_that_the_program_cannot_do(step, said):
    assert refusal(host_tasks=[{"name": "t", "program": [{"run_ns": 1}, step]}]).startswith(
        f"p: host_tasks.0.program.1.{said}"
    )


def test_tasks_beside_groups():
    groups = [{"name": "g"}, {"name": "h", "parent": "g"}]
    assert refusal(groups=groups, host_tasks=[{"name": "t", "group": "g"}]).endswith("value 'g' (allowed: h)")


def test_files(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text('[[probes]]\nname = "mine"\nsummary = "mine"\nhost_tasks = [{ name = "t" }]\n')
    assert [one.name for one in find_probes([str(path), "nice"])] == ["mine", "nice"]
    for name in ("nise", str(tmp_path / "none.toml")):
        with pytest.raises(ScenarioError, match="^probe: value '"):
            find_probes([name])
    for text in ("probes = 3", "x = ", "a = 1\n[[probes]]\n"):
        with pytest.raises(ScenarioError, match="^probe: value 'f'"):
            parse_probes(text, "f")


def test_cgroup_files():
    plain, limited = Group(name="g", weight=300), Group(name="g", quota_us=20_000, period_us=50_000)
    assert settings(1, plain) == {"cpu.shares": "3072"}
    assert settings(2, plain) == {"cpu.weight": "300"}
    assert settings(1, limited) == {
        "cpu.shares": "1024",
        "cpu.cfs_period_us": "50000",
        "cpu.cfs_quota_us": "20000",
    }
    assert settings(2, limited) == {"cpu.weight": "100", "cpu.max": "20000 50000"}
