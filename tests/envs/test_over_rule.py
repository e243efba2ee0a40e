"""The reward "more than the rule on the same seed": what it adds up to, and that it is nothing for the rule itself."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from tests.helpers.small_env import CANDIDATE_CHOICE, HOST_TUNER, IDS, JOINT_YIELD, answer, make, make_vec, same, stack


def episode(env, seed: int, choose) -> tuple[list, list]:
    """Rewards and infos of an episode."""
    rewards, infos = [], [env.reset(seed=seed)[1]]
    while not env.lane.over:
        _, reward, _, _, info = env.step(choose(env))
        rewards.append(reward)
        infos.append(info)
    return rewards, infos


def at_random(seed: int):
    rng = np.random.default_rng(seed)
    return lambda env: answer(env, rng)


def earned_by_the_rule(env, seed: int) -> float:
    """The return of an episode in which nobody but the rule decides."""
    env.reset(seed=seed)
    twin = env.fork()
    twin.lane.follow_rule()
    return float(twin.lane.machine.world["rule_curve"]["earned"][-1])


@pytest.mark.parametrize("env_id", IDS)
def test_it_adds_up_to_the_gain(env_id):
    plain, over = make(env_id), make(env_id, over_rule=True)
    for seed in (1, 2):
        earned, told = episode(plain, seed, at_random(seed))
        gained, also = episode(over, seed, at_random(seed))
        assert same(told, also) and len(earned) == len(gained)
        assert sum(gained) == pytest.approx(sum(earned) - earned_by_the_rule(plain, seed), abs=1e-9)


@pytest.mark.parametrize(
    ("env_id", "as_the_rule"), [(CANDIDATE_CHOICE, 1), (JOINT_YIELD, [1, 3]), (HOST_TUNER, np.zeros(10, np.float32))]
)
def test_the_rule_gains_nothing(env_id, as_the_rule):
    """Between the points of its curve a little is won and lost; in the end it is nothing."""
    plain, over = make(env_id), make(env_id, over_rule=True)
    for seed in range(3):
        earned, _ = episode(plain, seed, lambda env: as_the_rule)
        gained, _ = episode(over, seed, lambda env: as_the_rule)
        assert sum(gained) == pytest.approx(0.0, abs=1e-9)
        assert earned_by_the_rule(plain, seed) == pytest.approx(sum(earned), abs=1e-9)
        assert np.abs(np.cumsum(gained)).max() < 0.05 * sum(np.abs(earned))


@pytest.mark.parametrize("env_id", [CANDIDATE_CHOICE, HOST_TUNER])
def test_batches_and_copies_earn_the_same(env_id):
    arguments = {"over_rule": True, "horizon_ns": 400_000, "warm_starts": 1} | (
        {"epoch_ns": 100_000} if env_id == HOST_TUNER else {}
    )
    batch = make_vec(env_id, 3, **arguments)
    sync = SyncVectorEnv([lambda: make(env_id, **arguments)] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    assert same(batch.reset(seed=2), sync.reset(seed=2))
    rng, copies = np.random.default_rng(3), []
    for step in range(40):
        masks = batch.action_masks() if batch.actions.nr_candidates else [None] * 3
        actions = stack([answer(batch, rng, mask) for mask in masks])
        assert all(same(each.step(actions), result) for result in [batch.step(actions)] for each in (sync, *copies))
        if step == 5:
            copies.append(batch.fork())
