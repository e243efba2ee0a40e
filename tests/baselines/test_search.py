"""The adapters for searches: the evaluator's metrics, the search without a model, the configuration."""

import importlib.util
import json
import sys

import pytest

from baselines.policies import choose_policies
from tests.helpers.paths import ROOT
from vcpu_env.policy.named import POLICIES

SEARCH = ROOT / "examples" / "search"
TEXT = (SEARCH / "initial_program.py").read_text()


@pytest.fixture(scope="module")
def evaluator():
    return imported("evaluator")


@pytest.fixture
def search(evaluator):
    return imported("search")


def imported(name):
    spec = importlib.util.spec_from_file_location(name, SEARCH / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # search imports evaluator by this name
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["initial_program", "found"])
def test_the_programs_are_rules_and_no_oracles(name):
    policy = choose_policies([str(SEARCH / f"{name}.py")], POLICIES)[-1]
    assert (policy.label, policy.kind, policy.oracle) == (name, "rule", False)
    text = (SEARCH / f"{name}.py").read_text()
    assert text.count("# EVOLVE-BLOCK-START\n") == text.count("# EVOLVE-BLOCK-END\n") == 1


def test_constants_are_read_and_replaced(search):
    constants = search.constants_of(TEXT)
    assert constants == {"LEAST_WAIT_NS": 50_000, "LARGEST_DEBT_NS": 4_000_000, "LEAST_SPIN_NS": 0}
    other = constants | {"LEAST_SPIN_NS": 7}
    assert search.constants_of(search.with_constants(TEXT, other)) == other
    assert search.with_constants(TEXT, other).count("\n") == TEXT.count("\n")


def climbed(search, tmp_path, monkeypatch, steps):
    """A search whose score falls with the distance of the spin's bound from 200 us."""
    tried = []

    def evaluate(path, suite):
        constants = search.constants_of((tmp_path / path).read_text())
        tried.append(tuple(constants.values()))
        return {"combined_score": -abs(constants["LEAST_SPIN_NS"] - 200_000) / 1000}

    monkeypatch.setattr(search, "evaluate", evaluate)
    return search.climb(TEXT, steps, tmp_path), tried


def test_a_climb_is_the_same_every_time_and_gets_better(search, tmp_path, monkeypatch):
    ranked, tried = climbed(search, tmp_path, monkeypatch, 30)
    again, others = climbed(search, tmp_path, monkeypatch, 30)
    assert (ranked, tried) == (again, others)
    assert len(set(tried)) == len(tried) == 31
    assert ranked[0][0] > -60 and ranked[0][0] == max(score for score, _ in ranked)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(lines) == 62 and {line["suite"] for line in lines} == {"quick"}


def test_the_test_suite_is_no_target(evaluator, monkeypatch):
    monkeypatch.setenv("BENCH_SUITE", "hidden")
    for suite in ("full", ""):
        with pytest.raises(ValueError, match=r"allowed: quick, train or validation"):
            evaluator.evaluate("mine.py", suite)


def test_a_program_that_cannot_be_run_scores_worst_and_says_why(evaluator, tmp_path):
    (tmp_path / "bad.py").write_text("import os\ndef choose_target(view):\n    return 1\n")
    metrics = evaluator.evaluate(str(tmp_path / "bad.py"))
    assert metrics["combined_score"] == evaluator.FAILED
    assert metrics["error"].startswith("error: policy: ") and "imports 'os'" in metrics["error"]


def test_a_program_that_hangs_scores_worst(evaluator, monkeypatch):
    monkeypatch.setattr(evaluator, "TIMEOUT_S", 0.01)
    assert evaluator.evaluate("mine.py") == {"combined_score": evaluator.FAILED, "error": "not done after 0.01 s"}


def test_the_configuration_raises_what_the_evaluator_returns():
    yaml = pytest.importorskip("yaml")
    config = yaml.safe_load((SEARCH / "config.yaml").read_text())
    assert config["early_stopping_metric"] == "combined_score"
    assert config["evaluator"]["cascade_evaluation"] is False
    assert set(config["database"]["feature_dimensions"]) == {"complexity", "harmed_cases"}
