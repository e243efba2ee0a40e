"""The mask as a part of the observation, ids that take any candidate, what is not there."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from tests.helpers.small_env import (
    CANDIDATE_CHOICE,
    CHOOSING,
    HOST_TUNER,
    PENALTY_SCALE,
    SHORT,
    SMALL,
    answer,
    make,
    same,
)
from vcpu_env import MaskInObservation
from vcpu_env.envs.register import LENIENT, id_of


@pytest.mark.parametrize("env_id", CHOOSING)
def test_the_mask_is_in_the_observation(env_id):
    env, plain = MaskInObservation(make(env_id)), make(env_id)
    rng = np.random.default_rng(1)
    (both, info), (observation, _) = env.reset(seed=3), plain.reset(seed=3)
    for _ in range(30):
        assert env.observation_space.contains(both)
        assert same(both, {"observation": observation, "action_mask": info["action_mask"]})
        action = answer(plain, rng, both["action_mask"])
        (both, reward, _, over, info), (observation, expected, *_) = env.step(action), plain.step(action)
        assert reward == expected
        if over:
            (both, info), (observation, _) = env.reset(), plain.reset()
    assert both["action_mask"] is not info["action_mask"]


def test_keys_can_be_named_and_spaces_stay_gymnasium_s():
    env = MaskInObservation(make(CANDIDATE_CHOICE, strict=False), "obs", "mask")
    assert set(env.reset(seed=1)[0]) == {"obs", "mask"}
    with pytest.warns(UserWarning, match="different from the unwrapped version"):
        check_env(env, skip_render_check=True)
    made = MaskInObservation(gymnasium.make(CANDIDATE_CHOICE, scenario="dedup-2vm"), mask="legal")
    assert gymnasium.make(made.spec).observation_space == made.observation_space


@pytest.mark.parametrize("env_id", [PENALTY_SCALE, HOST_TUNER])
def test_no_mask_no_wrapper(env_id):
    with pytest.raises(ValueError, match=r"env: \w+Env has no masks \(allowed: one whose agent chooses\)"):
        MaskInObservation(make(env_id))
    with pytest.raises(ValueError, match=r"mask: value 'x' \(allowed: another key than the observation's\)"):
        MaskInObservation(make(CANDIDATE_CHOICE), "x", "x")


@pytest.mark.parametrize("name", LENIENT)
def test_a_lenient_id_takes_any_candidate(name):
    lenient = gymnasium.make("vcpu_env:" + id_of(name, "Lenient"), scenario=SMALL, **SHORT[id_of(name)])
    lenient.reset(seed=1)
    lenient.action_space.seed(1)
    for _ in range(20):
        *_, over, info = lenient.step(lenient.action_space.sample())
        if over:
            break
    assert info["episode_totals"]["illegal"] > 0
    batch = gymnasium.make_vec(id_of(name, "Lenient"), 2, scenario=SMALL, **SHORT[id_of(name)])
    assert not batch.config.strict


def test_keywords_that_are_not_there_are_refused_as_python_refuses_them():
    """TorchRL tries ``frame_skip`` and looks for these words in a TypeError."""
    for make_one in (gymnasium.make, gymnasium.make_vec):
        with pytest.raises(TypeError, match="unexpected keyword argument 'frameskip'") as caught:
            make_one(CANDIDATE_CHOICE, frameskip=4)
        assert isinstance(caught.value, ValueError) and "\n" not in str(caught.value)
