"""The batched environments: step for step the single ones, in every autoreset mode, on any number of threads."""

import subprocess
import sys

import gymnasium
import numba
import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.performance import benchmark_vector_step
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from tests.helpers.paths import ROOT
from tests.helpers.small_env import (
    CANDIDATE_CHOICE,
    CHOOSING,
    FLAT,
    HOST_TUNER,
    IDS,
    MSEC,
    PENALTY_SCALE,
    SMALL,
    STACKED,
    answer,
    make,
    make_vec,
    same,
    stack,
)

MODES = ("SameStep", "NextStep", "Disabled")
MIX = [(SMALL, 2.0), FLAT, (STACKED, 0.5)]
BRIEF = {"horizon_ns": 300_000, "warm_starts": 1}
"""Episodes that end often and in different steps."""


def mixed(env_id: str) -> dict:
    """Arguments of an environment whose episodes end often, on changing hosts."""
    if env_id == PENALTY_SCALE:
        return {"scenario": [STACKED, (FLAT, 0.5)], "horizon_ns": 12 * MSEC, "warm_starts": 1}
    return {"scenario": MIX, "privileged": True} | BRIEF | ({"epoch_ns": 100_000} if env_id == HOST_TUNER else {})


def row(info: dict, i: int) -> dict:
    """What a batch's info says of machine i, in the form of a single environment's."""
    mine = {}
    for key, value in info.items():
        if key.startswith(("_", "final_")) or not info[f"_{key}"][i]:
            continue
        if isinstance(value, dict):
            mine[key] = row(value, i)
        else:
            mine[key] = value[i].copy() if value.ndim > 1 else value[i].item()
    return mine


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("env_id", IDS)
def test_a_batch_is_gymnasium_s_to_the_letter(env_id, mode):
    """Everything that it returns, infos, their masks and types included, is what `SyncVectorEnv` makes of singles."""
    arguments = mixed(env_id)
    batch, sync = (
        make_vec(env_id, 3, mode, **arguments),
        SyncVectorEnv([lambda: make(env_id, **arguments)] * 3, autoreset_mode=AutoresetMode(mode)),
    )
    assert same(batch.reset(seed=7), sync.reset(seed=7))
    rng, over, ends = np.random.default_rng(3), np.zeros(3, bool), 0
    for _ in range(120):
        if mode == "Disabled" and over.any():
            assert same(*(each.reset(options={"reset_mask": over.copy()}) for each in (batch, sync)))
            over[:] = False
            continue
        masks = batch.action_masks() if env_id in CHOOSING else [None] * 3
        actions = stack([answer(batch, rng, mask) for mask in masks])
        results = [each.step(actions) for each in (batch, sync)]
        assert same(*results)
        over = results[0][3]
        ends += over.sum()
        if env_id in CHOOSING:
            assert same(batch.call("action_masks"), sync.call("action_masks"))
            assert same(batch.get_attr("sample_masks"), sync.get_attr("sample_masks"))
    assert ends > 5


@pytest.mark.parametrize("mode", MODES)
def test_a_limit_of_steps_is_the_same_in_both(mode):
    """`max_episode_steps` of `make_vec` ends episodes as the wrapper that `make` puts around a single one."""
    arguments = {"scenario": SMALL, "max_episode_steps": 4} | BRIEF | {"horizon_ns": 5 * MSEC}
    batch = gymnasium.make_vec(CANDIDATE_CHOICE, 2, autoreset_mode=mode, **arguments)
    sync = gymnasium.make_vec(
        CANDIDATE_CHOICE, 2, "sync", vector_kwargs={"autoreset_mode": AutoresetMode(mode)}, **arguments
    )
    assert same(batch.reset(seed=7), sync.reset(seed=7))
    for _ in range(3):
        for _ in range(4):
            results = [each.step(np.ones(2, int)) for each in (batch, sync)]
            assert same(*results)
        assert results[0][3].all()
        if mode == "Disabled":
            assert same(*(each.reset() for each in (batch, sync)))
        elif mode == "NextStep":
            assert same(*(each.step(np.ones(2, int)) for each in (batch, sync)))
    lower = gymnasium.make_vec(CANDIDATE_CHOICE, 2, max_decisions=3, **arguments)
    assert lower.config.max_decisions == 3


def test_single_environments_of_a_batch_are_looked_at_by_name():
    batch = make_vec(CANDIDATE_CHOICE, 3, "SameStep")
    batch.reset(seed=4)
    batch.step(np.ones(3, int))
    assert [machine.now_ns for machine in batch.get_attr("machine")] == [lane.running.now_ns for lane in batch.lanes]
    assert batch.call("snapshot") == tuple(batch.snapshot())
    assert batch.get_attr("render_mode") == (None,) * 3 and batch.get_attr("config") == (batch.config,) * 3
    forks = batch.call("fork")
    expected = batch.step(np.ones(3, int))
    assert all(same(fork.step(1)[0], expected[0][i]) for i, fork in enumerate(forks))
    batch.set_attr("note", [1, 2, 3])
    assert batch.get_attr("note") == (1, 2, 3)
    batch.set_attr("note", 5)
    assert batch.get_attr("note") == (5, 5, 5)
    with pytest.raises(ValueError, match=r"set_attr: 2 values \(allowed: one, or 3\)"):
        batch.set_attr("note", [1, 2])
    with pytest.raises(ValueError, match=r"set_attr: value 'config' \(allowed: names of your own"):
        batch.set_attr("config", None)
    with pytest.raises(ValueError, match=r"call: value 'step' \(allowed: what steps no machine"):
        batch.call("step", 1)
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        batch.get_attr("nothing_of_the_kind")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("env_id", IDS)
def test_a_batch_is_as_many_single_environments(env_id, mode):
    arguments = mixed(env_id)
    singles = [make(env_id, **arguments) for _ in range(3)]
    batch = make_vec(env_id, 3, mode, **arguments)
    assert batch.metadata["autoreset_mode"] is AutoresetMode(mode)
    observations, info = batch.reset(seed=7)
    for i, env in enumerate(singles):
        observation, single_info = env.reset(seed=7 + i)
        assert same(observations[i], observation) and same(row(info, i), single_info)
    rng, episodes, scenarios = np.random.default_rng(11), 0, set()
    for _ in range(150):
        scenarios |= {env.machine.scenario.name for env in singles}
        was_over = [env.lane.over for env in singles]
        masks = batch.action_masks() if env_id in CHOOSING else [None] * 3
        actions = [answer(batch, rng, mask) for mask in masks]
        if mode == "Disabled" and any(was_over):
            observations, info = batch.reset(options={"reset_mask": np.array(was_over)})
            for i in np.flatnonzero(was_over):
                observation, single_info = singles[i].reset()
                assert same(observations[i], observation) and same(row(info, i), single_info)
            continue
        observations, rewards, terminated, truncated, info = batch.step(stack(actions))
        assert not terminated.any()
        for i, env in enumerate(singles):
            episodes += check_step(env, i, actions[i], mode, observations, rewards, truncated, info)
        if env_id in CHOOSING:
            assert (batch.action_masks() == np.stack([env.action_masks() for env in singles])).all()
            assert all(same(a, env.sample_masks()) for a, env in zip(batch.sample_masks(), singles, strict=True))
    assert episodes > 5
    assert len(scenarios) > 1


def check_step(env, i, action, mode, observations, rewards, truncated, info) -> bool:
    """Do the step that machine i did in its single environment, and compare. Returns whether its episode ended."""
    if mode == "NextStep" and env.lane.over:
        observation, single_info = env.reset()
        assert same(observations[i], observation) and same(row(info, i), single_info)
        assert rewards[i] == 0 and not truncated[i]
        return False
    observation, reward, _, over, single_info = env.step(action)
    assert rewards[i] == reward and truncated[i] == over
    if mode != "SameStep" or not over:
        assert same(observations[i], observation)
        assert same(row(info, i), single_info)
        return over
    assert same(info["final_obs"][i], observation) and info["_final_obs"][i] and info["_final_info"][i]
    assert same(row(info["final_info"], i), single_info)
    observation, fresh = env.reset()
    assert same(observations[i], observation) and same(row(info, i), fresh)
    return True


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one core")
@pytest.mark.parametrize("env_id", [CANDIDATE_CHOICE, HOST_TUNER])
def test_threads_change_nothing(env_id):
    runs = []
    for threads in (1, 2):
        batch = make_vec(env_id, 5, threads=threads, **mixed(env_id))
        results = [batch.reset(seed=1)]
        rng = np.random.default_rng(2)
        for _ in range(60):
            masks = batch.action_masks() if env_id in CHOOSING else [None] * 5
            results.append(batch.step(stack([answer(batch, rng, mask) for mask in masks])))
        runs.append(results)
    assert same(*runs)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one core")
def test_every_batch_uses_its_own_threads():
    used = []
    for threads, count in ((2, 2), (1, 2), (None, 64), (None, 2)):
        batch = make_vec(CANDIDATE_CHOICE, count, threads=threads)
        batch.reset(seed=1)
        numba.set_num_threads(1)
        batch.step(np.zeros(count, int))
        used.append((batch.threads, numba.get_num_threads()))
    assert used == [(2, 2), (1, 1), (min(4, numba.config.NUMBA_NUM_THREADS),) * 2, (1, 1)]


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one core")
@pytest.mark.parametrize(("threads", "more"), [(1, False), (2, True)])
def test_one_thread_is_one_and_torch_keeps_its_own(threads, more):
    """In a process of its own, where no parallel function has run before."""
    pytest.importorskip("torch")
    code = f"""if True:
        import numba, torch, numpy as np
        from tests.helpers.small_env import CANDIDATE_CHOICE, make_vec
        torch.set_num_threads(1)
        batch = make_vec(CANDIDATE_CHOICE, 4, threads={threads})
        batch.reset(seed=1)
        batch.step(np.zeros(4, int))
        torch.zeros(600, 600) @ torch.zeros(600, 600)
        try:
            started = bool(numba.threading_layer())
        except ValueError:  # no threads have been started
            started = False
        print(started, torch.get_num_threads())
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == [str(more), "1"], done.stderr


def test_batches_of_any_size_have_the_same_trajectories():
    rows = {}
    for count in (1, 4):
        batch = make_vec(CANDIDATE_CHOICE, count, **mixed(CANDIDATE_CHOICE))
        observations, info = batch.reset(seed=[20 + i for i in range(count)])
        rows[count] = [(observations[0], row(info, 0))]
        for _ in range(80):
            observations, rewards, _, truncated, info = batch.step(np.ones(count, int))
            rows[count].append((observations[0], rewards[0], truncated[0], info["time_ns"][0]))
    assert same(rows[1], rows[4])


@pytest.mark.parametrize("mode", MODES)
def test_what_was_handed_out_stays(mode):
    batch = make_vec(CANDIDATE_CHOICE, 3, mode, **mixed(CANDIDATE_CHOICE))
    handed, copies = [], []
    observations, info = batch.reset(seed=1)
    for _ in range(60):
        handed.append((observations, batch._masks, info["time_ns"], info["elapsed_ns"], info["reward_terms"]["useful"]))
        copies.append(tuple(array.copy() for array in handed[-1]))
        if mode == "Disabled" and batch._over.any():
            observations, info = batch.reset(options={"reset_mask": batch._over.copy()})
        else:
            observations, *_, info = batch.step(np.ones(3, int))
    assert same(handed, copies)
    assert len({id(arrays[0]) for arrays in handed}) == 60


def test_next_step_ignores_the_action_of_an_episode_that_is_over():
    batch = make_vec(CANDIDATE_CHOICE, 2, "NextStep", max_decisions=1, horizon_ns=5 * MSEC)
    batch.reset(seed=1)
    batch.step(np.zeros(2, int))
    last = batch.actions.nr_candidates - 1
    assert not batch.action_masks()[:, last].all()
    observations, rewards, _, truncated, info = batch.step(np.full(2, last))
    assert not rewards.any() and not truncated.any() and (info["elapsed_ns"] == 0).all()
    assert batch.observation_space.contains(observations)


def test_disabled_wants_resets():
    batch = make_vec(CANDIDATE_CHOICE, 3, "Disabled", max_decisions=2, horizon_ns=5 * MSEC)
    batch.reset(seed=1)
    batch.step(np.zeros(3, int))
    observations, *_, truncated, info = batch.step(np.zeros(3, int))
    assert truncated.all()
    with pytest.raises(ResetNeeded, match=r"episodes \[0, 1, 2\] are over"):
        batch.step(np.zeros(3, int))
    again, again_info = batch.reset(options={"reset_mask": np.array([False, True, False])})
    assert same(again[[0, 2]], observations[[0, 2]]) and not same(again[1], observations[1])
    assert same(again_info["_time_ns"], np.array([False, True, False])) and not again_info["time_ns"][[0, 2]].any()
    with pytest.raises(ResetNeeded, match=r"episodes \[0, 2\] are over"):
        batch.step(np.zeros(3, int))
    for wrong in (np.zeros(3, bool), np.ones(2, bool), np.ones(3, int)):
        with pytest.raises(ValueError, match="reset_mask: value .*allowed: 3 booleans, one of them true"):
            batch.reset(options={"reset_mask": wrong})


def test_a_partial_reset_with_a_seed_leaves_the_others_alone():
    batch, other = (make_vec(CANDIDATE_CHOICE, 2, "Disabled") for _ in range(2))
    for each in (batch, other):
        each.reset(seed=3)
    batch.reset(seed=50, options={"reset_mask": np.array([False, True])})
    other.reset(seed=[None, 51], options={"reset_mask": np.array([False, True])})
    both = [each.step(np.ones(2, int)) for each in (batch, other)]
    assert same(*both)
    single = make(CANDIDATE_CHOICE)
    single.reset(seed=51)
    assert same(both[0][0][1], single.step(1)[0])


def test_an_illegal_candidate_is_named_and_nothing_changes():
    batch, other = (make_vec(CANDIDATE_CHOICE, 3, "NextStep") for _ in range(2))
    for each in (batch, other):
        each.reset(seed=4)
    last = batch.actions.nr_candidates - 1
    with pytest.raises(InvalidAction, match=rf"environment 1: candidate: value {last} \(allowed now: 0, 1"):
        batch.step(np.array([0, last, last]))
    assert same(batch.step(np.ones(3, int)), other.step(np.ones(3, int)))


def test_the_environment_is_named_also_beside_one_that_is_over():
    batch = make_vec(CANDIDATE_CHOICE, 3, "NextStep")
    batch.reset(seed=4)
    batch._over[0] = True
    last = batch.actions.nr_candidates - 1
    with pytest.raises(InvalidAction, match="environment 2: "):
        batch.step(np.array([0, 0, last]))


def test_make_vec_takes_a_limit_of_steps():
    arguments = {"scenario": SMALL, "warm_starts": 1, "autoreset_mode": "SameStep"}
    batch = gymnasium.make_vec(CANDIDATE_CHOICE, num_envs=2, max_episode_steps=4, **arguments)
    assert isinstance(batch, VectorEnv)
    batch.reset(seed=1)
    ends = [batch.step(np.zeros(2, int))[3].all() for _ in range(8)]
    assert ends == [False, False, False, True] * 2


@pytest.mark.parametrize("mode", MODES[:2])
def test_gymnasium_s_own_tools_work(mode):
    batch = make_vec(HOST_TUNER, 2, mode, epoch_ns=500_000, horizon_ns=1 * MSEC, warm_starts=1)
    recorded = RecordEpisodeStatistics(batch)
    recorded.reset(seed=1)
    rewards = np.zeros(2)
    for _ in range(2):
        _, reward, _, truncated, info = recorded.step(np.zeros((2, 10), np.float32))
        rewards += reward
    assert truncated.all()
    assert info["episode"]["r"] == pytest.approx(rewards) and (info["episode"]["l"] == 2).all()
    assert benchmark_vector_step(batch, target_duration=0.1, seed=1) > 0


@pytest.mark.parametrize("render_mode", ["ansi", "rgb_array"])
def test_pictures_of_every_machine(render_mode):
    batch, plain = (make_vec(CANDIDATE_CHOICE, 2, render_mode=mode) for mode in (render_mode, None))
    results = []
    for each in (batch, plain):
        results.append([each.reset(seed=1)] + [each.step(np.ones(2, int)) for _ in range(5)])
    assert same(*results)
    pictures = batch.render()
    assert len(pictures) == 2 and plain.render() is None
    if render_mode == "rgb_array":
        assert all(picture.dtype == np.uint8 and picture.ndim == 3 for picture in pictures)
    else:
        assert all("CPU  3" in picture for picture in pictures)


def test_nothing_works_before_the_first_reset():
    batch = make_vec(CANDIDATE_CHOICE, 2, "Disabled", render_mode="ansi")
    calls = (
        lambda: batch.step(np.zeros(2, int)),
        batch.render,
        batch.action_masks,
        batch.sample_masks,
        batch.snapshot,
        lambda: batch.reset(options={"reset_mask": np.array([True, False])}),
    )
    for call in calls:
        with pytest.raises(ResetNeeded, match="reset"):
            call()
