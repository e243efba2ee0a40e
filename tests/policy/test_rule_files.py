"""Files of rules and of models wherever a policy is named: commands, environments, cells of an evaluation."""

import itertools
import json

import pytest

from baselines.cells import Cell, CellError, run_cell
from baselines.policies import choose_policies
from tests.helpers.at_once import at_once
from tests.helpers.command_line import call, refused
from tests.helpers.paths import ROOT
from vcpu_env.envs.config import EnvConfigError, rule_of
from vcpu_env.policy.in_file import policy_of
from vcpu_env.policy.named import policy_named
from vcpu_env.scenario import load_scenario

SCENARIO = at_once(load_scenario("dedup-2vm"))
SHORT = [
    *("--set", "run.warmup_ns=1_000_000"),
    *("--set", "run.duration_ns=2_000_000"),
    *("--set", "host.placement=one_per_cpu"),
]
MODELS = ROOT / "agents/models"
GOOD = '"""Mine."""\ndef choose_target(view):\n    return 1\n'
BAD = "def choose_target(view):\n    return view.candidate[view.nr_candidates]\n"


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "bad.py").write_text(BAD)


def test_a_cell_of_a_rule_that_fails_is_no_cell(files):
    (source,) = choose_policies(["bad.py"], {"stock": policy_named("stock")})[1:]
    with pytest.raises(
        CellError, match=r"dedup-2vm, bad, seed 0: policy bad: bad\.py, line 2: rule choose_target: Ind"
    ):
        run_cell(Cell(SCENARIO, source, 0))


def test_rules_and_models_wherever_a_policy_is_named(files):
    assert policy_of("good.py").summary == "Mine"
    assert rule_of("good.py:choose_target").name == "choose_target"
    assert rule_of("good.py").target_rule is policy_of("good.py").target_rule
    with pytest.raises(EnvConfigError, match=r"rule: policy: value 'none\.py' \(allowed: a file that can be read"):
        rule_of("none.py")
    code, out, errors = call("simulate", "dedup-2vm", "--policy", "good.py", "--json", *SHORT)
    assert (code, errors) == (0, [])
    stock = call("simulate", "dedup-2vm", "--json", *SHORT)[1]
    assert json.loads(out) == json.loads(stock)
    longer = [option.replace("=2_000", "=15_000") for option in SHORT]
    said = refused("simulate", "dedup-2vm", "--policy", "bad.py", *longer)
    assert said.startswith("policy bad: bad.py, line 2: rule choose_target: IndexError: index ")
    assert refused("simulate", "dedup-2vm", "--policy", "none.npz").startswith("policy: none.npz: cannot be read (No")


@pytest.mark.slow
def test_a_model_in_simulate(files):
    model = next(itertools.chain(MODELS.glob("*.npz")))
    code, out, errors = call("simulate", "dedup-2vm", "--policy", model, "--json", *SHORT)
    assert (code, errors) == (0, []) and json.loads(out)["time_ns"] == 2_000_000
