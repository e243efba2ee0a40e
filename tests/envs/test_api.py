"""The environments as Gymnasium and Stable-Baselines3 expect them: their own checkers, ids, specs, seeding."""

import json
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from tests.helpers.paths import ROOT
from tests.helpers.small_env import (
    CANDIDATE_CHOICE,
    CHOOSING,
    DIRECTED_YIELD,
    FLAT,
    HOST_TUNER,
    IDS,
    SHORT,
    SMALL,
    make,
    play,
    same,
    scenario_for,
)
from vcpu_env.envs.register import VERSIONS, id_of


@pytest.fixture(autouse=True)
def no_screen(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


@pytest.mark.parametrize("env_id", IDS)
def test_gymnasium_finds_nothing_to_complain_about(env_id):
    """Every render mode included; candidates are sampled without a mask."""
    check_env(make(env_id, strict=False))


@pytest.mark.parametrize("render_mode", ["ansi", "rgb_array", "human"])
def test_gymnasium_checks_an_environment_with_a_render_mode(render_mode):
    env = make(CANDIDATE_CHOICE, render_mode=render_mode, strict=False)
    check_env(env)
    env.close()
    env.close()


@pytest.mark.parametrize("env_id", [env_id for env_id in IDS if env_id != DIRECTED_YIELD])
def test_sb3_finds_nothing_to_complain_about(env_id):
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    checker.check_env(make(env_id, strict=False, render_mode="rgb_array"))


@pytest.mark.parametrize("env_id", IDS)
def test_a_package_prefix_imports_the_package(env_id):
    env = gymnasium.make(f"vcpu_env:{env_id}")
    assert env.spec.id == env_id
    assert env.spec.vector_entry_point is not None


@pytest.mark.parametrize("name", [name for name, version in VERSIONS.items() if version])
@pytest.mark.parametrize("make_one", [gymnasium.make, gymnasium.make_vec])
def test_an_old_id_is_refused_and_the_new_one_named(name, make_one):
    for old in range(VERSIONS[name]):
        with (
            pytest.warns(DeprecationWarning, match="out of date"),
            pytest.raises(gymnasium.error.DeprecatedEnv, match=f"Please use `{id_of(name)}` instead"),
        ):
            make_one(f"vcpu_env/{name}-v{old}")


@pytest.mark.parametrize("env_id", IDS)
def test_a_spec_survives_json(env_id):
    arguments = {"scenario": [["dedup-2vm", 2.0], "vips-2vm"], "rule": "stock", "penalty_levels": [0.0, 1.0]}
    env = gymnasium.make(env_id, **arguments)
    text = env.spec.to_json()
    spec = EnvSpec.from_json(text)
    assert json.loads(spec.to_json()) == json.loads(text)
    again = gymnasium.make(spec)
    assert again.spec.kwargs == env.spec.kwargs
    assert again.unwrapped.config == env.unwrapped.config
    assert again.unwrapped.mix == env.unwrapped.mix
    assert again.observation_space == env.observation_space
    assert again.action_space == env.action_space


def test_importing_the_package_is_light():
    code = "import sys, vcpu_env; print([name for name in ('numba', 'torch', 'pyarrow') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("env_id", IDS)
def test_time_limit_wrapper_truncates(env_id):
    arguments = SHORT[env_id] | {"horizon_ns": 100_000_000, "epoch_ns": 200_000, "strict": False}
    env = gymnasium.make(env_id, scenario=scenario_for(env_id), max_episode_steps=3, **arguments)
    env.reset(seed=3)
    env.action_space.seed(1)
    assert [env.step(env.action_space.sample())[3] for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("env_id", IDS)
def test_a_seed_decides_everything(env_id):
    """Two resets with a seed agree, one without goes on, another seed differs; the spaces' seeds do not matter."""
    env, other = make(env_id), make(env_id)
    other.action_space.seed(99)
    other.observation_space.seed(98)
    played = {}
    for name, machine, seed in (("first", env, 5), ("again", env, 5), ("other", other, 5), ("another", env, 6)):
        machine.reset(seed=seed)
        machine.lane.over = True  # let play() begin with a reset that goes on with the stream
        played[name] = play(machine, np.random.default_rng(1), 30)
    assert same(played["first"], played["again"])
    assert same(played["first"], played["other"])
    assert not same(played["first"], played["another"])


def test_reset_without_a_seed_goes_on():
    env = make(CANDIDATE_CHOICE)
    episodes = []
    for seed in (4, None, None, 4, None):
        observation, info = env.reset(seed=seed)
        episodes.append((observation, info))
    assert same(episodes[0], episodes[3]) and same(episodes[1], episodes[4])
    assert not same(episodes[0], episodes[1]) and not same(episodes[1], episodes[2])


def test_scenarios_are_drawn_with_their_weights():
    env = make(CANDIDATE_CHOICE, scenario=[(SMALL, 3.0), (FLAT, 1)], horizon_ns=1_000)
    env.reset(seed=0)
    names = []
    for _ in range(200):
        env.reset()
        names.append(env.machine.scenario.name)
    assert set(names) == {"small", "flat"}
    assert 120 < names.count("small") < 180  # 150 expected, 6 standard deviations of 5: never by chance


def test_the_scenario_of_an_episode_can_be_chosen():
    env = make(CANDIDATE_CHOICE)
    env.reset(seed=1, options={"scenario": FLAT})
    assert env.machine.scenario.name == "flat"
    env.reset()
    assert env.machine.scenario.name == "small"


@pytest.mark.parametrize("env_id", IDS)
def test_what_was_handed_out_stays(env_id):
    env = make(env_id)
    env.reset(seed=2)
    rng = np.random.default_rng(3)
    played = [play(env, rng, 1)[0] for _ in range(20)]
    kept = [
        (o.copy(), {k: v.copy() if hasattr(v, "copy") else v for k, v in info.items()}) for _, o, _, _, info in played
    ]
    play(env, rng, 20)
    assert all(same((step[1], step[4]), copy) for step, copy in zip(played, kept, strict=True))
    assert len({id(step[1]) for step in played}) == 20
    assert len({id(step[4]["reward_terms"]) for step in played}) == 20


@pytest.mark.parametrize("env_id", IDS)
def test_types_are_python_s(env_id):
    env = make(env_id)
    _, info = env.reset(seed=1)
    rng = np.random.default_rng(0)
    for _, _, reward, truncated, info in play(env, rng, 30):
        assert type(reward) is float and type(truncated) is bool
        assert type(info["time_ns"]) is int and type(info["elapsed_ns"]) is int
        assert all(type(value) is float for value in info["reward_terms"].values())
        assert ("action_mask" in info) == (env_id in CHOOSING)
        if truncated:
            assert {type(value) for value in info["episode_totals"].values()} == {float, int}


@pytest.mark.parametrize("env_id", IDS)
def test_masks_come_in_three_forms(env_id):
    env = make(env_id, privileged=True)
    _, info = env.reset(seed=1)
    if env_id not in CHOOSING:
        assert env.sample_masks() is None
        with pytest.raises(AttributeError, match="no discrete actions"):
            env.action_masks()
        return
    env.action_space.seed(0)
    for _ in range(50):
        flat = info["action_mask"]
        assert flat.dtype == np.int8 and env.action_masks().dtype == np.bool_
        assert (flat == env.action_masks()).all()
        action = env.action_space.sample(mask=env.sample_masks())
        *_, truncated, info = env.step(action)
        if truncated:
            _, info = env.reset()


def test_illegal_candidates_are_refused_or_taken_as_nobody():
    strict, lenient, silent = (make(CANDIDATE_CHOICE, strict=strict) for strict in (True, False, True))
    for env in (strict, lenient, silent):
        env.reset(seed=9)
    refused, steps = 0, 0
    while not silent.lane.over:
        illegal = int(np.flatnonzero(~silent.action_masks())[0])
        with pytest.raises(gymnasium.error.InvalidAction, match=rf"candidate: value {illegal} \(allowed now: 0, 1"):
            strict.step(illegal)
        refused += 1
        steps += 1
        results = [env.step(action) for env, action in ((strict, 0), (lenient, illegal), (silent, 0))]
        assert same(results[0], results[2])
        for i in range(4):
            assert same(results[1][i], results[2][i])
    totals = results[1][4].pop("episode_totals"), results[2][4].pop("episode_totals")
    assert same(results[1][4], results[2][4])
    assert totals[0].pop("illegal") == steps and totals[1].pop("illegal") == 0
    assert totals[0] == totals[1]


def test_a_watched_environment_behaves_as_any_other():
    for env_id in IDS:
        plain, watched = make(env_id), make(env_id, render_mode="ansi")
        results = []
        for env in (plain, watched):
            first = env.reset(seed=3)
            results.append((first, play(env, np.random.default_rng(4), 40)))
        assert same(*results), env_id
        assert "CPU  0" in watched.render()


def test_nothing_works_before_the_first_reset():
    env = make(CANDIDATE_CHOICE, render_mode="ansi")
    for call in (
        lambda: env.step(0),
        env.render,
        env.action_masks,
        env.sample_masks,
        env.snapshot,
        lambda: env.machine,
    ):
        with pytest.raises(ResetNeeded, match="reset"):
            call()


def test_no_step_after_the_end():
    env = make(HOST_TUNER, max_decisions=1)
    env.reset(seed=1)
    assert env.step(np.zeros(10, np.float32))[3]
    with pytest.raises(ResetNeeded, match="over"):
        env.step(np.zeros(10, np.float32))


def test_rendering_without_a_mode_warns():
    env = make(CANDIDATE_CHOICE)
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="without a render_mode"):
        assert env.render() is None
