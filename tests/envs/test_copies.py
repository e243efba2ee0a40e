"""Copies of environments: by ``copy.deepcopy``, pickle and cloudpickle, running, wrapped, drawn, in other processes."""

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import cloudpickle
import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv
from gymnasium.wrappers import RecordEpisodeStatistics
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.small_env import (
    CANDIDATE_CHOICE,
    FLAT,
    HOST_TUNER,
    IDS,
    SHORT,
    SMALL,
    answer,
    make,
    make_vec,
    play,
    same,
    scenario_for,
    stack,
)
from vcpu_env import POLICIES, Machine, Policy, RuleError
from vcpu_env.envs.lookahead import Lookahead
from vcpu_env.policy.in_file import policy_of


def pickled(thing):
    return pickle.loads(pickle.dumps(thing))


def cloudpickled(thing):
    return pickle.loads(cloudpickle.dumps(thing))


LOOKAHEAD = next(name for name, policy in POLICIES.items() if policy.search)
WAYS = (copy.deepcopy, pickled, cloudpickled)


def future(env, steps: int = 25) -> list:
    return play(env, np.random.default_rng(5), steps)


def last_candidate(view):
    return 1 + view.nr_candidates


@settings(max_examples=25)
@given(
    env_id=st.sampled_from(IDS),
    way=st.sampled_from(WAYS),
    seed=st.integers(0, 10_000),
    steps=st.integers(0, 40),
    render_mode=st.sampled_from([None, "ansi", "rgb_array"]),
)
def test_a_copy_has_the_same_future_and_leaves_the_original_alone(env_id, way, seed, steps, render_mode):
    env, undisturbed = make(env_id, render_mode=render_mode), make(env_id)
    for each in (env, undisturbed):
        each.reset(seed=seed)
        play(each, np.random.default_rng(seed), steps)
    other = way(env)
    if render_mode:
        assert same(other.render(), env.render())
    seen = future(other)
    assert same(future(env), seen) and same(future(undisturbed), seen)
    if render_mode:
        assert same(other.render(), env.render())
    del env
    assert same(future(way(other)), future(other))


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_before_the_first_reset(way):
    for env in (make(CANDIDATE_CHOICE), make_vec(CANDIDATE_CHOICE, 2)):
        other = way(env)
        assert same(other.reset(), env.reset())


@pytest.mark.parametrize("way", WAYS)
def test_nothing_of_an_environment_is_shared(way):
    env = make(CANDIDATE_CHOICE)
    env.reset(seed=1)
    env.notes = [1]
    other = way(env)
    other.notes.append(2)
    other.action_space.seed(3)
    for name in ("action_space", "observation_space", "np_random", "notes", "lane"):
        assert getattr(env, name) is not getattr(other, name)
    assert env.notes == [1]
    assert not np.shares_memory(env.machine.world.words, other.machine.world.words)
    assert np.shares_memory(other.lane.observation, other.machine.world.words)
    assert other.actions.space is other.action_space


@pytest.mark.parametrize("way", WAYS)
def test_a_wrapped_environment_is_copied(way):
    env = RecordEpisodeStatistics(
        gymnasium.make(CANDIDATE_CHOICE, scenario=SMALL, max_episode_steps=12, **SHORT[CANDIDATE_CHOICE])
    )
    env.reset(seed=1)
    for _ in range(5):
        env.step(1)
    other = way(env)
    assert other.spec == env.spec
    for _ in range(7):
        results = [each.step(1) for each in (env, other)]
        for each in results:
            each[-1].get("episode", {}).pop("t", None)  # seconds
        assert same(*results)
    assert results[1][3] and results[1][4]["episode"]["l"] == 12


def test_a_window_does_not_travel(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = make(CANDIDATE_CHOICE, render_mode="human")
    env.reset(seed=1)
    assert env._window is not None
    for way in WAYS:
        other = way(env)
        assert other._window is None
        assert same(future(other, 5), future(env.fork(), 5))
        other.close()
    env.close()


# Batches


def drive(batch, steps: int = 30) -> list:
    rng, results = np.random.default_rng(5), []
    for _ in range(steps):
        masks = batch.action_masks() if batch.actions.nr_candidates else [None] * batch.num_envs
        results.append(batch.step(stack([answer(batch, rng, mask) for mask in masks])))
    return results


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
@pytest.mark.parametrize("env_id", IDS)
def test_a_batch_is_copied(env_id, mode):
    arguments = {"horizon_ns": 400_000, "warm_starts": 1} | ({"epoch_ns": 100_000} if env_id == HOST_TUNER else {})
    batch, undisturbed = (make_vec(env_id, 3, mode, scenario=[SMALL, FLAT], **arguments) for _ in range(2))
    for each in (batch, undisturbed):
        each.reset(seed=4)
        drive(each, 17)
    others = [way(batch) for way in WAYS]
    seen = drive(others[0])
    assert all(same(drive(each), seen) for each in (*others[1:], batch, undisturbed))


@pytest.mark.parametrize("way", WAYS)
def test_sb3_s_batch_is_copied(way):
    pytest.importorskip("stable_baselines3")
    from vcpu_env.envs.sb3 import make_sb3

    environment = make_sb3(CANDIDATE_CHOICE, 2, False, scenario=SMALL, horizon_ns=300_000, warm_starts=1)
    environment.seed(3)
    environment.reset()
    for _ in range(5):
        environment.step(np.ones(2, int))
    other = way(environment)
    ends = 0
    for _ in range(30):
        results = [each.step(np.ones(2, int)) for each in (environment, other)]
        assert same(*results)
        ends += results[0][2].sum()
    assert ends


# Addresses


@pytest.mark.parametrize("env_id", IDS)
def test_no_address_is_pickled(env_id):
    """Neither the world's nor that of a rule's code."""
    rule = Policy("last", "", frozenset(range(1, 10)), target_rule=last_candidate)
    for env in (make(env_id, rule=rule), make_vec(env_id, 2, rule=rule)):
        env.reset(seed=1)
        world = (env if hasattr(env, "machine") else env.lanes[1]).machine.world
        addresses = [world.words.ctypes.data, int(world["decision_rules"]["target_address"][0])]
        text = pickle.dumps(env)
        assert addresses[0].to_bytes(8, "little") not in text
        assert addresses[1] == 0 or addresses[1].to_bytes(8, "little") not in text  # 0: its number, uncompiled
        again = pickle.loads(text)
        lane = again.lanes[1] if hasattr(again, "lanes") else again.lane
        assert lane.running.world["decision_rules"]["target_address"][0] == addresses[1]


def test_a_world_alone_is_refused():
    world = Machine(SMALL).world
    with pytest.raises(TypeError, match=r"World: it holds addresses .*allowed: to pickle its Machine"):
        pickle.dumps(world)
    other = copy.deepcopy(world)
    assert (other.words == world.words).all() and other.handle != world.handle


# Machines


@pytest.mark.core
@pytest.mark.parametrize("policy", ["stock", "series-v2", "strict-credit", "gang", LOOKAHEAD])
@pytest.mark.parametrize("at_ns", [0, 3_000_000])
def test_a_machine_is_copied(policy, at_ns):
    """Also before its policy has taken over from stock."""
    machine = Machine(SMALL, policy, seed=2)
    machine.run_until(at_ns)
    others = [way(machine) for way in WAYS]
    for each in (machine, *others):
        each.run_until(18_000_000)
    for other in others:
        assert same(other.counters(), machine.counters())
        assert other.policy is machine.policy


RULE = '''"""A rule of a user's."""
FIRST = 2

def choose_target(view):
    return FIRST if view.nr_candidates else 1
'''


def rules(folder):
    """Policies whose rules are of a file, of this module, of the simulator's own in another setting."""
    path = folder / "mine.py"
    path.write_text(RULE)
    of_file = policy_of(str(path))
    yield of_file
    yield replace(of_file, name="mine-relaxed", settings={("kvm_params", "enable_relaxed_boost"): 0})
    yield Policy("last", "", frozenset(range(1, 10)), target_rule=last_candidate)
    yield replace(POLICIES["strict-credit"], name="strict-credit-2")


def run_on(machine) -> dict:
    """What comes of a machine; in a worker process."""
    machine.run_until(machine.now_ns + 10_000_000)
    return machine.counters()


def test_rules_travel(tmp_path):
    for policy in rules(tmp_path):
        machine = Machine(SMALL, policy, seed=2)
        machine.run_until(16_000_000)
        others = [pickled(machine), cloudpickled(machine)]
        results = [run_on(each) for each in (machine, *others)]
        assert all(same(result, results[0]) for result in results)
        assert same(future(pickled(prepared(policy)), 10), future(prepared(policy), 10))


def prepared(policy):
    env = make(CANDIDATE_CHOICE, rule=policy)
    env.reset(seed=3)
    return env


@pytest.mark.core
def test_a_rule_without_a_name_does_not_travel():
    """By pickle it has no name, by cloudpickle no source; a copy in this process has both."""
    machine = Machine(SMALL, Policy("nobody", "", target_rule=lambda view: 0), seed=2)
    machine.run_until(16_000_000)
    for way, message in ((pickled, "<lambda>"), (cloudpickled, "rule <lambda>: its source is not there")):
        with pytest.raises((pickle.PicklingError, AttributeError, RuleError), match=message) as caught:
            way(machine)
        assert "\n" not in str(caught.value)
    assert same(run_on(copy.deepcopy(machine)), run_on(machine))


@pytest.mark.core
def test_pickles_of_other_versions_are_refused():
    machine = Machine(SMALL, "series-v2", seed=2)
    state = machine.__getstate__()
    version, layout, arrays, words = state["pickled"]
    for changed, message in (
        (("0.0", layout, arrays, words), r"pickled machine: of version 0.0 \(allowed: "),
        ((version, "0" * 16, arrays, words), r"pickled machine: of layout 0000000000000000 \(allowed: "),
        ((version, layout, arrays, words[:-8]), r"world: \d+ words \(allowed: the layout's \d+\)"),
        ((version, layout, arrays[:-1], words), r"struct \w+: the world has "),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            Machine.__new__(Machine).__setstate__(state | {"pickled": changed})
        assert "\n" not in str(caught.value)


def test_a_search_is_copied():
    env = make(CANDIDATE_CHOICE)
    env.reset(seed=1)
    search = Lookahead(env)
    others = [way(search) for way in WAYS]
    expected = search.values()
    assert all(same(other.values(), expected) for other in others)


# Other processes


def played(env):
    """In a worker process."""
    return future(env) if hasattr(env, "lane") else drive(env)


def made(env_id: str):
    return make(env_id, rule=Policy("last", "", frozenset(range(1, 10)), target_rule=last_candidate))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_processes_play_on(method, tmp_path):
    """Their code lies elsewhere; the machine is copied in the middle of an episode."""
    environments = []
    for env_id in IDS:
        for env in (made(env_id), make_vec(env_id, 3)):
            env.reset(seed=2)
            played(env)
            environments.append(env)
    environments += map(prepared, rules(tmp_path))
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        there = list(pool.map(played, environments))
    for env, seen in zip(environments, there, strict=True):
        assert same(played(env), seen)


class Making:
    """Makes an environment in a worker process."""

    def __init__(self, seed: int):
        self.seed = seed

    def __call__(self):
        return gymnasium.make(CANDIDATE_CHOICE, scenario=scenario_for(CANDIDATE_CHOICE), **SHORT[CANDIDATE_CHOICE])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_snapshots_and_copies_leave_an_asynchronous_batch(method):
    workers = AsyncVectorEnv([Making(0), Making(1)], context=method)
    workers.reset(seed=7)
    for _ in range(5):
        workers.step(np.ones(2, int))
    snapshots, copies = workers.call("snapshot"), workers.call("fork")
    expected = [workers.step(np.ones(2, int)) for _ in range(5)]
    workers.call("restore", snapshots[1])
    assert same(workers.step(np.ones(2, int))[0][1], expected[0][0][1])
    workers.close()
    for i, (snapshot, twin) in enumerate(zip(snapshots, copies, strict=True)):
        env = Making(i)().unwrapped
        env.restore(snapshot)
        for observations, rewards, *_ in expected:
            for each in (env, twin):
                observation, reward, *_ = each.step(1)
                assert same(observation, observations[i]) and reward == rewards[i]
