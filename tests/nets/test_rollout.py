"""Rollouts collected in compiled code: step for step what driving the batch from Python gives."""

import numba
import numpy as np
import pytest

from tests.helpers.small_env import (
    CANDIDATE_CHOICE,
    DIRECTED_YIELD,
    FLAT,
    HOST_TUNER,
    JOINT_YIELD,
    MSEC,
    PENALTY_SCALE,
    SMALL,
    STACKED,
    WIDE_YIELD,
    make_vec,
    same,
)
from tests.twin.random_policy import random_net, random_policy
from vcpu_env.nets import network
from vcpu_env.nets.packing import pack
from vcpu_env.nets.rollout import RolloutCollector, action_key
from vcpu_env.nets.weights import PolicyWeights

ARGUMENTS = {
    CANDIDATE_CHOICE: {"horizon_ns": 300_000},
    JOINT_YIELD: {"horizon_ns": 300_000},
    WIDE_YIELD: {"max_decisions": 7},
    PENALTY_SCALE: {"horizon_ns": 12 * MSEC, "scenario": [STACKED, FLAT]},
    HOST_TUNER: {"horizon_ns": 1 * MSEC, "epoch_ns": 300_000},
}


def batch_of(env_id: str, count: int = 3, **arguments):
    arguments = {"scenario": [SMALL, FLAT]} | ARGUMENTS[env_id] | {"warm_starts": 1} | arguments
    batch = make_vec(env_id, count, **arguments)
    batch.reset(seed=5)
    return batch


def policy_for(batch, critic: bool = True, scale: float = 1.0) -> PolicyWeights:
    """A policy with random weights that fits."""
    rng, inputs = np.random.default_rng(8), batch.single_observation_space.shape[0]
    sizes = tuple(n for n in (batch.actions.nr_candidates, batch.actions.nr_boosts) if n)
    outputs = sum(sizes) or batch.actions.width
    return PolicyWeights(
        actor=random_net(rng, (inputs, 12, outputs)),
        critic=random_net(rng, (inputs, 9, 1)) if critic else (),
        head="categorical" if sizes else "gaussian",
        sizes=sizes,
        log_std=None if sizes else np.full(outputs, np.log(scale), np.float32),
    )


def drive(batch, policy: PolicyWeights, steps: int, keys, first: int = 0, deterministic: bool = False) -> dict:
    """The same in Python: the batch's own step(), one act() a machine."""
    layout, weights = pack(policy)
    scratch = np.empty(network.scratch_size(layout), np.float32)
    observations = batch.refresh().observations
    log = {name: [] for name in ("observations", "masks", "actions", "log_probs", "values", "rewards", "elapsed_ns")}
    log |= {"dones": [], "final_values": []}
    for t in range(steps):
        masks = batch._masks.copy()
        actions = np.empty((batch.num_envs, batch.actions.width), np.float32)
        chosen = [
            network.act(layout, weights, seen, mask, key, first + t, deterministic, scratch, action)
            for seen, mask, key, action in zip(observations, masks, keys, actions, strict=True)
        ]
        log["observations"].append(observations)
        log["masks"].append(masks)
        log["actions"].append(actions)
        log["log_probs"].append(np.array([log_prob for log_prob, _ in chosen]))
        log["values"].append(np.array([value for _, value in chosen]))
        if policy.head == "categorical":
            given = actions.astype(int).reshape(batch.action_space.shape)
        else:
            given = np.clip(actions, -1, 1)
        observations, rewards, _, truncated, info = batch.step(given)
        final = np.zeros(batch.num_envs)
        for i in np.flatnonzero(truncated):
            final[i] = network.forward(layout, weights, info["final_obs"][i], scratch)
        log["rewards"].append(rewards)
        last = info["final_info"]["elapsed_ns"] if truncated.any() else 0
        log["elapsed_ns"].append(np.where(truncated, last, info["elapsed_ns"]))
        log["dones"].append(truncated)
        log["final_values"].append(final)
    log = {name: np.stack(rows) for name, rows in log.items()}
    log["last_observations"] = observations
    log["last_values"] = np.array([network.forward(layout, weights, row, scratch) for row in observations])
    return log


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("env_id", ARGUMENTS)
def test_a_rollout_is_what_python_would_have_done(env_id, deterministic):
    batch, other = batch_of(env_id), batch_of(env_id)
    policy, collector = policy_for(batch), RolloutCollector(batch, seed=9)
    assert collector.keys.tolist() == [action_key(9, i) for i in range(3)]
    ends = 0
    for first, steps in ((0, 40), (40, 1), (41, 23)):
        rollout = collector.collect(policy, steps, deterministic)
        driven = drive(other, policy, steps, collector.keys, first, deterministic)
        for name, expected in driven.items():
            assert same(getattr(rollout, name), expected), name
        ends += int(rollout.dones.sum())
    assert ends > 3
    if batch.actions.nr_candidates:
        assert same(batch.action_masks(), other.action_masks())
        assert same(
            batch.step(np.ones(batch.action_space.shape, int)), other.step(np.ones(other.action_space.shape, int))
        )


def test_gaussian_actions_are_clipped_only_on_their_way_in():
    batch = batch_of(HOST_TUNER)
    rollout = RolloutCollector(batch).collect(policy_for(batch, scale=3.0), 20)
    assert np.abs(rollout.actions).max() > 1
    begins = np.vstack([np.ones((1, 3), bool), rollout.dones[:-1]])
    shown = rollout.observations[1:][~begins[1:]][:, -10:]
    assert same(shown, np.clip(rollout.actions[:-1][~begins[1:]], -1, 1))


def test_sampled_actions_are_legal_and_differ_between_machines():
    batch = batch_of(CANDIDATE_CHOICE, 6, horizon_ns=2 * MSEC)
    rollout = RolloutCollector(batch, 3).collect(policy_for(batch), 60)
    actions = rollout.actions[..., 0].astype(int)
    assert np.take_along_axis(rollout.masks, actions[..., None], 2).all()
    assert len({tuple(column) for column in actions.T}) == 6


def test_without_a_critic_there_are_no_values():
    batch = batch_of(CANDIDATE_CHOICE)
    rollout = RolloutCollector(batch).collect(policy_for(batch, critic=False), 30)
    assert np.isnan(rollout.values).all() and np.isnan(rollout.last_values).all()
    assert np.isnan(rollout.final_values[rollout.dones]).all()


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one core")
def test_threads_change_nothing():
    rollouts = []
    for threads in (1, 2):
        batch = batch_of(CANDIDATE_CHOICE, 5, threads=threads)
        rollouts.append(RolloutCollector(batch, 4).collect(policy_for(batch), 50))
    assert same(vars(rollouts[0]), vars(rollouts[1]))


def test_what_does_not_fit_is_refused():
    batch = batch_of(CANDIDATE_CHOICE)
    collector, policy = RolloutCollector(batch), policy_for(batch)
    with pytest.raises(ValueError, match=r"steps: value 0 \(allowed: 1 or more\)"):
        collector.collect(policy, 0)
    with pytest.raises(ValueError, match=r"policy: takes 9 features \(allowed: 278\)"):
        collector.collect(random_policy(1), 5)
    with pytest.raises(ValueError, match=r"policy: head categorical of \[4, 3\] \(allowed: categorical of \[18\]\)"):
        collector.collect(random_policy(1, inputs=278), 5)
    with pytest.raises(ValueError, match=r"policy: head gaussian of .*allowed: categorical of \[18\]"):
        collector.collect(random_policy(1, inputs=278, head="gaussian"), 5)
    tuner = RolloutCollector(batch_of(HOST_TUNER))
    with pytest.raises(ValueError, match=r"policy: head gaussian of 3 \(allowed: gaussian of 10\)"):
        tuner.collect(random_policy(1, inputs=29, head="gaussian"), 5)
    mixed = make_vec(DIRECTED_YIELD, 2)
    mixed.reset(seed=0)
    with pytest.raises(ValueError, match=r"environment: has mixed actions"):
        RolloutCollector(mixed).collect(policy, 5)
    with pytest.raises(ValueError, match=r"autoreset_mode: value NextStep \(allowed: SameStep, for rollouts\)"):
        RolloutCollector(make_vec(CANDIDATE_CHOICE, 2, "NextStep"))
