"""Wrong arguments of what is called from Python: each is refused in one line, and nothing has changed."""

import numpy as np
import pytest

from baselines.experiment import ExperimentError, checked_experiment, make_plan
from tests.helpers.small_env import CANDIDATE_CHOICE, SMALL, make, make_vec
from vcpu_env.base.errors import InputError, shown, whole_number
from vcpu_env.envs.config import EnvConfigError
from vcpu_env.executors.base import ExecutorError
from vcpu_env.executors.make import make_executor
from vcpu_env.machine import Machine
from vcpu_env.policy.named import POLICIES
from vcpu_env.policy.policy import Policy
from vcpu_env.policy.rules import EXTERNAL

pytestmark = pytest.mark.core


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError


def test_values_are_shown_on_one_line():
    deep: list = []
    for _ in range(10_000):
        deep = [deep]
    assert shown("a\nb\x00") == "'a\\nb\\x00'"
    assert shown(np.zeros((2, 2), int)) == "[[0 0]\\n [0 0]]"
    assert shown(deep) == "brackets in brackets"
    assert shown(Unprintable()) == "of type Unprintable"
    assert len(shown("x" * 100)) == 60


def test_whole_numbers():
    assert whole_number("n", np.int8(5), 0, 5) == 5
    for wrong in (True, 5.0, "5", None, 6, -1, np.nan, np.zeros(2)):
        with pytest.raises(InputError, match=r"n: value .+ \(allowed: 0\.\.5\)"):
            whole_number("n", wrong, 0, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scenario": "dedup-2vm"}, r"scenario: value 'dedup-2vm' \(allowed: a Scenario; load_scenario\(\) makes one"),
        ({"policy": None}, r"policy: value None \(allowed: a Policy, the name of one, or FILE.py\)"),
        ({"seed": 0.5}, r"seed: value 0.5 \(allowed: 0\.\.2147483647\)"),
        ({"seed": True}, r"seed: value True \(allowed: 0\.\."),
        ({"trace_events": "8"}, r"trace_events: value '8' \(allowed: 0\.\."),
    ],
)
def test_machines(arguments, message):
    with pytest.raises(InputError, match=message):
        Machine(**{"scenario": SMALL} | arguments)


def test_calls_of_a_machine():
    outside = Policy("outside", "for tests", target_rule=EXTERNAL)
    machine = Machine(SMALL, outside, 3)
    machine.run_until(100_000_000)
    before = machine.world.words.copy()
    for call, arguments, message in (
        ("run_until", (1e6,), r"run_until: value 1000000.0 \(allowed: 0\.\."),
        ("answer_target", ("1",), r"answer_target: value '1' \(allowed: 0\.\."),
        ("answer_target", (1, 0.5), r"boost: value 0.5 \(allowed: 0\.\.10\)"),
        ("answer_target", (1, 0, "x"), r"penalty_scale: value 'x' \(allowed: 0\.\.1024\)"),
        ("answer_penalty", (5,), r"answer_penalty: called where the machine does not wait"),
        ("set_control", (["ipi_window_ns"], 5), r"control: value \['ipi_window_ns'\] \(allowed: vcpu_deb"),
        ("set_control", ("ipi_window_ns", 0.5), r"ipi_window_ns: value 0.5 \(allowed: 0\.\."),
    ):
        with pytest.raises(InputError, match=message):
            getattr(machine, call)(*arguments)
    assert (machine.world.words == before).all()


def test_resets_of_one_and_of_a_batch():
    single, batch = make(CANDIDATE_CHOICE), make_vec(CANDIDATE_CHOICE, 2)
    for env in (single, batch):
        for options, message in (
            (5, r"options: value 5 \(allowed: None, or a dict"),
            ({"x": 1}, "options: value 'x' "),
        ):
            with pytest.raises(EnvConfigError, match=message):
                env.reset(options=options)
    for arguments, message in (
        ({"seed": 0.5}, r"seed: value 0.5 \(allowed: an integer from 0, or 2 of them\)"),
        ({"seed": [1, 0.5]}, r"seed: value \[1, 0.5\] \(allowed: an integer from 0, or 2 of them\)"),
        ({"seed": [1]}, r"seed: value \[1\] \(allowed"),
        ({"options": {"reset_mask": [1, 0]}}, r"reset_mask: value \[1, 0\] \(allowed: 2 booleans, one of them true\)"),
        ({"options": {"reset_mask": [[True], []]}}, r"reset_mask: value \[\[True\], \[\]\] \(allowed: 2 booleans"),
    ):
        with pytest.raises(EnvConfigError, match=message):
            batch.reset(**arguments)
    with pytest.raises(EnvConfigError, match=r"render_mode: value \[0\. 0\.\] \(allowed: ansi, rgb_array\)"):
        make_vec(CANDIDATE_CHOICE, 2, render_mode=np.zeros(2))
    with pytest.raises(EnvConfigError, match=r"num_envs: value 1000000000 \(allowed: 1\.\.65536\)"):
        make_vec(CANDIDATE_CHOICE, 10**9)


def test_sizes_of_sweeps():
    with pytest.raises(ExecutorError, match=r"workers: value 1000000 \(allowed: 1\.\.1024\)"):
        make_executor("process", 10**6)
    asked = {"name": "large", "scenarios": ["dedup-2vm"], "policies": ["ipi"]}
    with pytest.raises(ExperimentError, match=r"experiment 'large': seeds: value 4294967296 \(allowed: integer 1\.\."):
        checked_experiment(asked | {"seeds": 2**32})
    many = checked_experiment(asked | {"grid": {f"host.costs.c{i}": list(range(10)) for i in range(9)}})
    with pytest.raises(ExperimentError, match=r"experiment large: 8,000,000,000 cells \(allowed: 1,000,000\)"):
        make_plan(many, POLICIES)
    with pytest.raises(ExperimentError, match=r"experiment 'none': scenarios: missing \(allowed: list of strings\)"):
        checked_experiment({"name": "none", "policies": ["ipi"]})


def test_a_model_s_name_is_a_name():
    from agents.card import MODELS
    from vcpu_env.nets.learned import LearnedPolicy

    model = LearnedPolicy.load(MODELS / "wide-es-0.npz")
    with pytest.raises(InputError, match=r"name: value '<script>alert\(1\)</script>' \(allowed: up to 64 letters"):
        LearnedPolicy(model.about.model_copy(update={"name": "<script>alert(1)</script>"}), model.weights)


def test_what_is_no_card_is_one_line(tmp_path):
    from agents.card import load_card
    from agents.config import ConfigError

    for content, message in ((b"5", "value 5 "), (b"[" * 9999, "value "), (b"\xff{}", "value ")):
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(ConfigError, match=rf"a\.json: {message}"):
            load_card(tmp_path / "a.json")
    with pytest.raises(ConfigError, match=r"b\.json: cannot be read \(No such file"):
        load_card(tmp_path / "b.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("vms.*.workload=dbensh", "workload: value 'dbensh' (allowed: "),
        ("vms.*.params.clients=0", "params.clients: value 0 (allowed: whole number 1..1000000)"),
        ("vms.*.params.clients=1_000_000", "the machine takes "),
    ],
)
def test_an_experiment_is_checked_before_anything_runs(monkeypatch, change, message):
    monkeypatch.setenv("VCPU_ENV_MAX_MIB", "64")
    from baselines.experiment import ExperimentError, make_plan, parse_experiment
    from vcpu_env.policy.named import POLICIES

    toml = f'scenarios = ["dbench-2vm"]\npolicies = ["stock"]\nset = ["{change}"]'
    with pytest.raises(ExperimentError, match="scenario dbench-2vm: ") as error:
        make_plan(parse_experiment(toml, "case"), POLICIES)
    assert message in str(error.value)
    with pytest.raises(ExperimentError, match=r"title: value 'a\\nb' \(allowed: a line of text\)"):
        parse_experiment(toml + '\ntitle = "a\\nb"', "case")
