"""What a player earns more than the rule: nothing for the rule itself, the difference of two returns for others."""

import gymnasium
import numpy as np
import pytest

import vcpu_env
from tests.helpers.small_env import CANDIDATE_CHOICE, SMALL
from vcpu_env.envs.config import EnvConfigError

ARGUMENTS = {"scenario": SMALL, "warm_starts": 1, "horizon_ns": 400_000, "threads": 1}


def first(observations, info):
    return np.where(info["action_mask"][:, 2], 2, 1)


def test_the_rule_gains_nothing():
    gain = vcpu_env.gain_over_rule(CANDIDATE_CHOICE, lambda seen, _: np.ones(len(seen), int), 3, **ARGUMENTS)
    assert np.abs(gain.gains).max() < 1e-9 and (gain.decisions > 0).all()
    assert str(gain).endswith("over the rule, standard error 0.0000, 3 episodes")


def test_it_is_the_difference_of_two_returns():
    gain = vcpu_env.gain_over_rule(CANDIDATE_CHOICE, first, 3, seed=7, **ARGUMENTS)
    env = gymnasium.make(CANDIDATE_CHOICE, **{k: v for k, v in ARGUMENTS.items() if k != "threads"})
    for i in range(3):
        returns, steps = [], []
        for player in (first, lambda seen, _: np.ones(len(seen), int)):
            observation, info = env.reset(seed=7 + i)
            total, count, over = 0.0, 0, False
            while not over:
                action = player(observation[None], {"action_mask": info["action_mask"][None]})
                observation, reward, _, over, info = env.step(int(action[0]))
                total, count = total + reward, count + 1
            returns.append(total)
            steps.append(count)
        assert gain.gains[i] == pytest.approx(returns[0] - returns[1], abs=1e-9) and gain.decisions[i] == steps[0]
    assert gain.mean == pytest.approx(gain.gains.mean()) and gain.error == pytest.approx(
        np.std(gain.gains, ddof=1) / 3**0.5
    )


def test_one_episode_has_no_error():
    with pytest.raises(EnvConfigError, match=r"episodes: value 1 \(allowed: 2\.\."):
        vcpu_env.gain_over_rule(CANDIDATE_CHOICE, first, 1)
