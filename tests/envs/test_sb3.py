"""The batched environments under Stable-Baselines3 and sb3-contrib."""

import copy

import gymnasium
import numpy as np
import pytest

from tests.helpers.small_env import (
    CANDIDATE_CHOICE,
    HOST_TUNER,
    MSEC,
    PENALTY_SCALE,
    SHORT,
    SMALL,
    STACKED,
    WIDE_YIELD,
    make,
    make_vec,
    same,
    scenario_for,
)

sb3 = pytest.importorskip("stable_baselines3")
contrib = pytest.importorskip("sb3_contrib")

from sb3_contrib.common.maskable.evaluation import evaluate_policy  # noqa: E402
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported  # noqa: E402
from stable_baselines3.common.monitor import Monitor  # noqa: E402
from stable_baselines3.common.vec_env import VecNormalize  # noqa: E402

from vcpu_env.envs.sb3 import Sb3VecEnv, make_sb3  # noqa: E402

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks this small are slower on two, much so where other processes want a CPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


QUICK = {"n_steps": 16, "batch_size": 32, "n_epochs": 1, "seed": 1, "device": "cpu"}


def sb3_batch(env_id: str, count: int = 4, **arguments):
    return make_sb3(env_id, count, **{"scenario": scenario_for(env_id)} | SHORT[env_id] | arguments)


@pytest.mark.parametrize("env_id", [CANDIDATE_CHOICE, WIDE_YIELD])
def test_maskable_ppo_learns_from_it(env_id):
    environment = sb3_batch(env_id)
    assert is_masking_supported(environment)
    model = contrib.MaskablePPO("MlpPolicy", environment, **QUICK)
    model.learn(512)
    assert model.num_timesteps == 512 and len(model.ep_info_buffer) > 2
    assert model.ep_info_buffer[0]["l"] > 1
    mean, _ = evaluate_policy(model, environment, n_eval_episodes=3)
    assert np.isfinite(mean)


@pytest.mark.parametrize("env_id", [PENALTY_SCALE, HOST_TUNER])
def test_ppo_learns_from_it(env_id):
    model = sb3.PPO("MlpPolicy", VecNormalize(sb3_batch(env_id)), **QUICK)
    model.learn(256)
    assert model.num_timesteps == 256


def test_sac_learns_from_it():
    environment = sb3_batch(HOST_TUNER)
    model = sb3.SAC("MlpPolicy", environment, learning_starts=8, batch_size=8, buffer_size=200, seed=1, device="cpu")
    model.learn(40)
    assert model.num_timesteps == 40


def test_steps_are_those_of_the_batch():
    environment, batch = (
        sb3_batch(CANDIDATE_CHOICE, 3, horizon_ns=300_000),
        make_vec(CANDIDATE_CHOICE, 3, horizon_ns=300_000),
    )
    environment.seed(7)
    observations = environment.reset()
    expected, _ = batch.reset(seed=7)
    assert same(observations, expected)
    rng, ends, returns, lengths = np.random.default_rng(2), 0, np.zeros(3), np.zeros(3, int)
    for _ in range(60):
        masks = get_action_masks(environment)
        assert same(masks, batch.action_masks())
        actions = np.array([rng.choice(np.flatnonzero(mask)) for mask in masks])
        observations, rewards, dones, infos = environment.step(actions)
        expected = batch.step(actions)
        assert same(observations, expected[0]) and same(dones, expected[3])
        assert rewards.dtype == np.float32 and (rewards == expected[1].astype(np.float32)).all()
        returns += expected[1]
        lengths += 1
        for i, info in enumerate(infos):
            told = expected[4]["final_info"] if dones[i] else expected[4]
            assert info.get("time_ns") == told["time_ns"][i] and info.get("is_success") is None
            assert info["episode_totals"]["useful"] == told["episode_totals"]["useful"][i]
            assert same(info["action_mask"], told["action_mask"][i]) and ("episode" in info) == dones[i]
            more = {"terminal_observation", "TimeLimit.truncated", "episode"} if dones[i] else set()
            assert set(info) == more | {"time_ns", "elapsed_ns", "reward_terms", "episode_totals", "action_mask"}
            assert len(info) == len(dict(info)) == len(info.copy()) == len(copy.deepcopy(info)) == len(info.items())
            with pytest.raises(KeyError):
                info["is_success"]
            if dones[i]:
                ends += 1
                assert info["TimeLimit.truncated"] is True
                assert same(info["terminal_observation"], expected[4]["final_obs"][i])
                assert (info["episode"]["r"], info["episode"]["l"]) == (pytest.approx(returns[i], abs=1e-6), lengths[i])
                returns[i] = lengths[i] = 0
    assert ends > 3


def test_masks_are_respected():
    """In strict mode a step with an illegal candidate would raise."""
    model = contrib.MaskablePPO("MlpPolicy", sb3_batch(WIDE_YIELD, 2, strict=True), **QUICK)
    model.learn(64)
    assert model.num_timesteps == 64


def test_a_seed_holds_for_one_reset():
    environment = sb3_batch(CANDIDATE_CHOICE, 2)
    environment.seed(3)
    first, second = environment.reset(), environment.reset()
    environment.seed(3)
    assert same(environment.reset(), first) and same(environment.reset(), second)
    assert not same(first, second)


def test_attributes_and_methods():
    environment = sb3_batch(CANDIDATE_CHOICE, 3)
    environment.reset()
    assert environment.num_envs == 3 and environment.get_attr("render_mode") == [None] * 3
    assert environment.get_attr("config", [1]) == [environment.environment.config]
    assert environment.has_attr("action_masks") and not environment.has_attr("nothing_of_the_kind")
    assert same(np.stack(environment.env_method("action_masks")), environment.action_masks())
    assert same(environment.env_method("action_masks", indices=1), [environment.action_masks()[1]])
    assert environment.env_is_wrapped(gymnasium.Wrapper) == [False] * 3
    environment.set_attr("note", 5)
    assert environment.get_attr("note") == [5] * 3
    environment.set_attr("note", 6, [0])
    assert environment.get_attr("note") == [6, 5, 5]
    with pytest.raises(ValueError, match=r"set_attr: value 'config' \(allowed: names of your own"):
        environment.set_attr("config", None, 1)
    assert environment.env_is_wrapped(Monitor) == [True] * 3
    assert Sb3VecEnv(environment.environment).env_is_wrapped(Monitor) == [False] * 3
    machines = environment.get_attr("machine", [1, 2])
    assert [machine.now_ns for machine in machines] == [
        lane.running.now_ns for lane in environment.environment.lanes[1:]
    ]
    assert not sb3_batch(PENALTY_SCALE, 2).has_attr("action_masks")
    environment.close()


def test_options_choose_the_scenario():
    environment = sb3_batch(CANDIDATE_CHOICE, 2)
    environment.set_options({"scenario": STACKED})
    environment.reset()
    assert environment.environment.lanes[1].running.scenario.name == "stacked"
    environment.reset()
    assert environment.environment.lanes[1].running.scenario.name == "small"


def test_pictures():
    environment = sb3_batch(CANDIDATE_CHOICE, 2, render_mode="rgb_array")
    environment.reset()
    images = environment.get_images()
    assert len(images) == 2 and images[0].ndim == 3
    assert environment.render().ndim == 3


def test_what_is_not_a_batch_of_this_package_is_refused():
    with pytest.raises(
        ValueError, match=r"environment: CandidateChoiceEnv \(allowed: a batched vcpu_env environment\)"
    ):
        Sb3VecEnv(make(CANDIDATE_CHOICE))
    with pytest.raises(ValueError, match=r"autoreset_mode: value NextStep \(allowed: SameStep, for SB3\)"):
        Sb3VecEnv(make_vec(CANDIDATE_CHOICE, 2, "NextStep"))


def test_a_single_environment_learns_too():
    arguments = {"scenario": SMALL, "horizon_ns": 1 * MSEC, "warm_starts": 1}
    model = contrib.MaskablePPO("MlpPolicy", gymnasium.make(CANDIDATE_CHOICE, **arguments).unwrapped, **QUICK)
    model.learn(32)
    assert model.num_timesteps == 32
