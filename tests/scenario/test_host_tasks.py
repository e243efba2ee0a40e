"""Host tasks in a scenario: what is refused, and what a word stands for."""

from typing import get_args

import pytest

from baselines.experiment import Experiment, make_plan
from tests.helpers.free_host import host
from vcpu_env.base.random import DISTRIBUTIONS
from vcpu_env.envs.config import one_scenario
from vcpu_env.policy.named import POLICIES
from vcpu_env.scenario import Scenario, ScenarioError
from vcpu_env.scenario.host_tasks import Distribution
from vcpu_env.trace.sched_events import simulate_tasks

pytestmark = pytest.mark.core


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
    assert wrong_step(wait="s").startswith("host_tasks.0.program: wait 's' (allowed: names that some task signals")
    assert wrong_step(serve_ns=5).startswith("host_tasks.0.program: serve_ns given (allowed: only with emulator_of")
    assert wrong_task(program=[{"sched_yield": True}]).startswith("host_tasks.0.program: takes no time")
    assert "run_ns: value 5.5" in wrong_step(run_ns=5.5)


def test_environments_and_experiments_need_vms():
    with pytest.raises(ValueError, match=r"scenario: value 'host-tasks' \(allowed: one with VMs\)"):
        one_scenario("host-tasks")
    with pytest.raises(ValueError, match=r"scenarios: value 'host-tasks' \(allowed: those with VMs\)"):
        make_plan(Experiment(name="none", scenarios=["host-tasks"], policies=["stock"]), POLICIES)


def test_distributions_are_those_of_the_guests():
    assert set(get_args(Distribution)) == set(DISTRIBUTIONS)


def test_a_trace_of_negative_length_is_refused():
    with pytest.raises(ValueError, match=r"duration_ns: value -1 \(allowed: integer >= 0\)"):
        simulate_tasks(host({"name": "A"}), -1)


def test_mutexes_that_nobody_takes():
    assert "mutex 'm' (allowed: names that some task locks: none)" in wrong_step(unlock="m")
    assert "program.0.mutex: given with signal (allowed: with wait)" in wrong_step(signal="s", mutex="m")


def test_the_tasks_of_a_word():
    vm = {"name": "vm", "count": 2, "vcpus": 1, "workload": "dbench", "emulator_threads": 2, "vhost_ns": 5000}
    scenario = Scenario(name="words", host={"cpus": 2, "noise": "light"}, vms=[vm], host_tasks=[{"name": "mine"}])
    names = [task.name for task in scenario.expanded_host_tasks]
    threads = [f"vm-{i}-{kind}" for i in (1, 2) for kind in ("vmm", "emulator-1", "emulator-2", "vhost")]
    assert names == ["mine", *threads, "kworker-cpu0", "kworker-cpu1", "noise-daemon"]
    later = scenario.model_copy(update={"vms": (scenario.vms[0].model_copy(update={"start_ns": 5}),)})
    assert [task.start_ns for task in later.expanded_host_tasks] == [0, *[5] * 8, 0, 0, 0]
    assert [task.cpus for task in scenario.expanded_host_tasks[-3:]] == [(0,), (1,), None]


def test_threads_and_the_workload_of_that_name_belong_together():
    vm = {"name": "vm", "vcpus": 1, "workload": "threads"}
    assert wrong(vms=[vm]) == "vms.0.threads: 0 (allowed: with workload 'threads', and only there)"
    threads = [{"name": "t", "program": [{"run_ns": 5}]}]
    assert wrong(vms=[vm | {"workload": "dbench", "threads": threads}]).startswith("vms.0.threads: 1 (allowed: with")
    assert wrong(vms=[vm | {"threads": threads, "params": {"a": 1}}]).startswith("vms.0.params: given (allowed: with")
    nested = {"repeat": 2, "steps": [{"repeat": 2, "steps": [{"run_ns": 5}]}]}
    assert "repeat nested 2 deep" in wrong(vms=[vm | {"threads": [{"name": "t", "program": [nested]}]}])
