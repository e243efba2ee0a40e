"""Experiments as data: files, variants, grids, and rules in a user's file."""

import math
import re

import pytest

from baselines import experiment, policies
from baselines.cells import Cell
from tests.helpers.evaluation import ROOT, launch, make_plan, run, table
from vcpu_env.policy.named import POLICIES, Policy
from vcpu_env.scenario import ScenarioError, load_scenario

SMALL = 'scenarios = ["dbench-2vm"]\npolicies = ["ipi"]\n'
RULES = '''"""Mine.

More.
"""
from dataclasses import replace

from vcpu_env.policy.named import POLICIES


def nobody(view):
    """Never yields."""
    return 0


def choose_penalty(view):
    return 2 * view.series_penalty_ns


def choose_target(view):
    return 1


eager = replace(POLICIES["series-v2"], name="eager", target_rule=nobody)
again = replace(POLICIES["series-v2"], target_rule=nobody)
typo = lambda view: view.waited
two = lambda view, more: 0
number = 5
'''


def plan_from(text, **changes):
    return experiment.make_plan(experiment.parse_experiment(text, "mine"), POLICIES, **changes)


@pytest.fixture
def rules(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules.py").write_text(RULES)
    return tmp_path / "rules.py"


@pytest.mark.parametrize("name", experiment.list_experiments())
def test_shipped_experiments_are_sound(name):
    plan = experiment.make_plan(experiment.load_experiment(name), POLICIES)
    assert plan.title.endswith("?") or name == "published"
    assert plan.policies[0].label == "stock"
    assert len(plan.cells()) == len(plan.cases) * len(plan.policies) * len(plan.seeds)


def test_the_default_is_what_was_published():
    plan = experiment.make_plan(experiment.load_experiment("published"), POLICIES)
    assert [str(case) for case in plan.cases] == [f"{w}-{n}vm" for w in ("dbench", "dedup", "vips") for n in (2, 3, 4)]
    assert all(case.scenario == load_scenario(case.scenario.name) for case in plan.cases)
    assert [policy.label for policy in plan.policies] == ["stock", "debooster", "ipi", "series-v2"]
    assert plan.seeds == range(16)


def test_variants_and_grid_multiply():
    text = SMALL + (
        'set = ["host.hz=300", "kvm.apicv=apicv"]\nfirst_seed = 100\nseeds = 2\n'
        '[[variants]]\nname = "flat"\nset = ["host.cgroups=flat"]\n[[variants]]\nname = "plain"\n'
        '[grid]\n"host.hz" = [250, 1000]\n"vms.*.lock" = ["pvqspinlock", "fifo"]\n'
    )
    plan = plan_from(text, overrides=["run.duration_ns=5_000_000"])
    assert [case.variant for case in plan.cases] == [
        f"{name}, host.hz={hz}, vms.*.lock={lock}"
        for name in ("flat", "plain")
        for hz in (250, 1000)
        for lock in ("pvqspinlock", "fifo")
    ]
    scenario = plan.cases[3].scenario
    assert (scenario.host.cgroups, scenario.host.hz, scenario.vms[0].lock) == ("flat", 1000, "fifo")
    assert (scenario.kvm.apicv, scenario.run.duration_ns) == ("apicv", 5_000_000)
    assert plan.seeds == range(100, 102)
    assert plan.cases[3].layout == f"{plan.cases[3].variant}: launched, flat cgroups, fifo locks, Linux 6.19"


def test_paths_start_at_the_experiment(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here/rules.py").write_text(RULES)
    (tmp_path / "here/small.toml").write_text('[[vms]]\nname = "a"\nvcpus = 2\nworkload = "vips"\n')
    (tmp_path / "here/mine.toml").write_text('scenarios = ["small.toml"]\npolicies = ["rules.py:nobody", "ipi"]\n')
    monkeypatch.chdir(tmp_path)
    plan = experiment.make_plan(experiment.load_experiment("here/mine.toml"), POLICIES)
    assert (plan.name, str(plan.cases[0])) == ("mine", "small")
    assert [policy.label for policy in plan.policies] == ["stock", "nobody", "ipi"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('policies = ["ipi"]', "scenarios: missing"),
        ('scenarios = []\npolicies = ["ipi"]', "scenarios: empty (allowed: at least one)"),
        (SMALL + "seeds = 0", "seeds: value 0 (allowed: integer 1..1000000)"),
        (SMALL + "seeds = -3", "seeds: value -3 (allowed: integer 1..1000000)"),
        (SMALL + 'seeds = "many"', "seeds: value 'many' (allowed: integer 1..1000000)"),
        (SMALL + "seed = 3", "seed: unknown field (did you mean 'seeds'?)"),
        (SMALL + "title = 3", "title: value 3 (allowed: a line of text)"),
        (SMALL + 'set = "host.hz=100"', "set: value 'host.hz=100' (allowed: a list of strings)"),
        (SMALL + "[grid]\n'host.hz' = []", "grid.host.hz: value [] (allowed: a list of values, at least one)"),
        (SMALL + "[[variants]]\nset = []", "variants.0.name: missing"),
        (SMALL + "[", "experiment: value 'mine' (allowed: a TOML file;"),
    ],
)
def test_a_wrong_experiment_is_refused(text, line):
    with pytest.raises(experiment.ExperimentError, match=re.escape(line)):
        plan_from(text)


@pytest.mark.parametrize(
    ("text", "error", "line"),
    [
        (SMALL.replace("ipi", "ipj"), policies.PolicyError, "policy: value 'ipj' (did you mean 'ipi'?"),
        (SMALL.replace("2vm", "9vm"), ScenarioError, "scenario: value 'dbench-9vm'"),
        (SMALL + '[grid]\n"host.hz" = [7]', ScenarioError, "host.hz: value 7 (allowed: 100, 250, 300, 1000)"),
        (
            SMALL + '[[variants]]\nname = "a"\n[[variants]]\nname = "b"\nset = ["host.cgroups=per_vm"]',
            experiment.ExperimentError,
            "variants: 'dbench-2vm [b]' is the same as 'dbench-2vm [a]' (allowed: ones that differ)",
        ),
        (
            SMALL.replace("ipi", "proportional-yield") + 'set = ["host.kernel=7.3"]',
            experiment.ExperimentError,
            "policies: value 'proportional-yield' (allowed on host.kernel 6.19 only; dbench-2vm has 7.3)",
        ),
    ],
)
def test_a_plan_that_cannot_be_is_refused(text, error, line):
    with pytest.raises(error, match=re.escape(line)):
        plan_from(text)


def test_files_that_are_not_there():
    with pytest.raises(experiment.ExperimentError, match="did you mean 'published'"):
        experiment.load_experiment("publish")
    with pytest.raises(experiment.ExperimentError, match="No such file"):
        experiment.load_experiment("none.toml")


def test_rules_of_a_users_file(rules):
    names = ["rules.py:nobody", "rules.py:choose_penalty", "rules.py:eager", "rules.py"]
    sources = policies.choose_policies(names, POLICIES)
    assert [source.label for source in sources] == ["stock", "nobody", "choose_penalty", "eager", "rules"]
    assert [source.summary for source in sources[1:2] + sources[4:]] == ["Never yields", "Mine"]
    nobody, penalty, eager, both = (source.load() for source in sources[1:])
    assert all(isinstance(policy, Policy) for policy in (nobody, penalty, eager, both))
    assert nobody.target_rule.__name__ == "nobody"
    assert (nobody.patches, nobody.penalty_rule) == (frozenset(), None)
    assert penalty.penalty_rule is not None
    assert (penalty.target_rule, 5 in penalty.patches) == (None, True)
    assert eager.patches == POLICIES["series-v2"].patches
    assert None not in (both.target_rule, both.penalty_rule)


def test_the_content_of_a_file_is_in_the_key(rules):
    def key():
        (source,) = policies.choose_policies(["rules.py:nobody"], POLICIES)[1:]
        return Cell(load_scenario("dbench-2vm"), source, 0).key

    before = key()
    assert key() == before
    (loaded,) = policies.choose_policies(["rules.py:nobody"], POLICIES)[1:]
    rules.write_text(RULES.replace("return 0", "return 1"))
    assert key() != before
    assert loaded.load().target_rule(None) == 0, "a worker runs what was hashed"


def test_fingerprints_show_parameters_of_any_kind():
    import numpy as np

    def weighted(weights):
        def rule(view):
            return weights[0]

        return rule

    base = Policy("a", "")
    different = [
        base,
        Policy("a", "", settings={("kvm_params", "ipi_window_ns"): 1}),
        Policy("a", "", frozenset({5})),
        Policy("a", "", target_rule=weighted((1, 2))),
        Policy("a", "", target_rule=weighted((1, 3))),
        Policy("a", "", target_rule=weighted(np.array([1.0]))),
        Policy("a", "", target_rule=weighted(np.array([2.0]))),
    ]
    assert len({policies.fingerprint(policy) for policy in different}) == len(different)
    assert policies.fingerprint(Policy("a", "", target_rule=weighted((1, 2)))) == policies.fingerprint(different[3])


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("rules.py:nobodi", r"policy: rules\.py has no 'nobodi' \(did you mean 'nobody'\?\)"),
        ("rules.py:number", r"policy: rules\.py:number is of type int \(allowed: a Policy, a function of the view\)"),
        (
            "rules.py:typo",
            r"policy: rules\.py, line 25: rule <lambda>: the view has no field 'waited' \(did you",
        ),
        (
            "rules.py:two",
            r"policy: rules\.py, line 26: rule <lambda>: not allowed; allowed: a plain function of one argument",
        ),
        ("rules.py:again", r"policy: rules\.py: name 'series-v2' is taken"),
        ("missing.py:x", r"policy: value 'missing\.py:x' \(allowed: a file that can be read; No such file"),
        ("broken.py:x", r"policy: broken\.py, line 2: SyntaxError: "),
        ("raises.py:x", r"policy: raises\.py, line 2: ZeroDivisionError: division by zero"),
        ("empty.py", r"policy: empty\.py has neither choose_target nor choose_penalty"),
        ("outside.py:x", r"policy: value 'outside\.py:x' is answered from outside"),
    ],
)
def test_errors_in_a_users_file_are_its_own(rules, name, line):
    (rules.parent / "broken.py").write_text("x = 1\ndef\n")
    (rules.parent / "raises.py").write_text("x = 1\ny = x / 0\n")
    (rules.parent / "empty.py").write_text("")
    (rules.parent / "outside.py").write_text(
        "from vcpu_env.policy.named import Policy\nx = Policy('x', '', target_rule='external')\n"
    )
    with pytest.raises(policies.PolicyError, match=line) as error:
        policies.choose_policies([name], POLICIES)
    assert "\n" not in str(error.value)


def test_command_with_an_experiment(tmp_path):
    (tmp_path / "rules.py").write_text("def mine(view):\n    return 0\n")
    (tmp_path / "mine.toml").write_text(
        'scenarios = ["dbench-2vm", "vips-2vm"]\npolicies = ["rules.py:mine", "ipi"]\nseeds = 2\n'
        '[grid]\n"host.hz" = [250, 1000]\n'
    )
    code, output, errors = launch("--experiment", "mine.toml", "--executor", "inline", cwd=tmp_path)
    assert code == 0, errors
    assert "dbench-2vm (host.hz=250)" in output
    (directory,) = (tmp_path / "results").iterdir()
    assert directory.name.startswith("mine-")
    assert {row["policy"] for row in table(directory / "cells.csv")} == {"stock", "mine", "ipi"}
    assert len(table(directory / "cells.csv")) == 2 * 2 * 3 * 2


def test_a_ceiling_needs_an_oracle(tmp_path):
    with_oracle = make_plan(policies=("series-v2", "oracle"))
    assert [policy.oracle for policy in with_oracle.policies] == [False, False, True]
    _, scores = run(tmp_path / "with", with_oracle)
    gaps = {row["policy"]: row["gap_closed"] for row in scores}
    assert gaps["stock"] == 0
    assert gaps["oracle"] == 1
    assert 0.45 < gaps["series-v2"] < 0.55
    assert all(math.isnan(row["knob_gap_closed"]) for row in scores)
    _, scores = run(tmp_path / "without")
    assert all(math.isnan(row["gap_closed"]) for row in scores)


def test_the_ceiling_of_the_series_own_knobs(tmp_path):
    """An oracle of the series' knobs is a ceiling of these; one with other boosts lifts the other ceiling only."""
    _, scores = run(tmp_path / "out", make_plan(policies=("series-v2", "oracle", "oracle-hint")))
    gaps = {row["policy"]: (row["knob_gap_closed"], row["gap_closed"]) for row in scores}
    assert gaps["stock"] == (0, 0)
    assert gaps["oracle-hint"][0] == 1
    assert gaps["oracle"][0] > 1.4
    assert gaps["series-v2"][0] > 1.4 * gaps["series-v2"][1]


def test_the_page_on_evaluation_is_true(tmp_path):
    page = (ROOT / "docs/evaluation.md").read_text()
    (toml,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert experiment.parse_experiment(toml, "page").grid == {"host.hz": (250, 1000)}
    (rule,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    policy = policies.policy_in_file("longest.py", rule, "")
    assert (policy.name, policy.summary) == ("longest", "The candidate that has waited longest")
    named = set(re.findall(r"^\| `(\w+)` \| [A-Z]", page, re.MULTILINE))
    assert named == set(experiment.list_experiments())
