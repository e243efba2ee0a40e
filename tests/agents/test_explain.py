"""What is said of a policy's decisions is what the records hold; the figure shows every weight."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("cmaes")

from agents.explain import weights_figure, what_it_does, whom_it_picks
from agents.linear import linear_policy, nr_parameters
from agents.records import SIBLING, SPINNER, Records
from vcpu_env.envs.action import Actions, boosts
from vcpu_env.envs.compiled.types import WIDE_YIELD
from vcpu_env.envs.config import EnvConfig
from vcpu_env.nets.learned import Description, LearnedPolicy


def records() -> Records:
    """Four decisions of three candidates each: nobody, the rule, the second, and the third, which is not there."""
    siblings = np.zeros((4, 3, len(SIBLING)), np.int64)
    siblings[2, 1, SIBLING.index("unserved")] = 1
    siblings[2, :, SIBLING.index("waited_ns")] = [5_000, 7_000, 9_000]
    counts, actions = np.array([3, 3, 3, 2]), np.array([[0, 0], [1, 6], [3, 6], [4, 6]])
    return Records(np.zeros((4, len(SPINNER)), np.int64), siblings, counts, actions)


def test_answers_are_counted():
    lines = what_it_does(records(), ["hint", "a", "b", "c", "d", "e", "credit"])
    assert lines[2:] == [
        "| nobody | 25.0% |",
        "| as the rule would | 25.0% |",
        "| a candidate of its own | 50.0% |",
        "| with `credit` | 75.0% |",
    ]


def test_those_picked_are_compared_with_all():
    lines = whom_it_picks(records())
    assert "| `unserved` | 100.0% | 33.3% |" in lines
    assert "| `waited_ns`, median, us | 7 | 7 |" in lines
    nobody = records()
    nobody.actions[:, 0] = 0
    assert whom_it_picks(nobody) == []


def test_the_figure_shows_every_weight(tmp_path):
    config = EnvConfig(nr_candidates=4, penalty_levels=(1.0,))
    actions, rng = Actions(WIDE_YIELD, config), np.random.default_rng(0)
    about = Description(name="linear", environment="vcpu_env/WideYield-v0", config=config)
    policies = [LearnedPolicy(about, linear_policy(rng.normal(size=nr_parameters(actions)), actions)) for _ in range(2)]
    for name in ("a.svg", "b.svg"):
        weights_figure(policies, tmp_path / name)
    drawn = (tmp_path / "a.svg").read_text()
    for name, _, _ in boosts(WIDE_YIELD, config.penalty_levels):
        assert f"<!-- {name} -->" in drawn
    assert drawn.count("<use ") >= 2 * nr_parameters(actions)
