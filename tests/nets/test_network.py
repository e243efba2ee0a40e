"""A network's compiled decision: against its twin, sampled frequencies, masks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.network import NO_MASK, compiled, random_mask
from tests.twin import network as twin
from tests.twin.random_policy import POLICIES, normalisation, random_policy
from vcpu_env.base.random import seed_key, stream_key
from vcpu_env.nets import network
from vcpu_env.nets.packing import pack
from vcpu_env.nets.weights import Layer, PolicyWeights

KEY = int(stream_key(seed_key(3), 0, 5))


def assert_equals_twin(policy, observation, mask=NO_MASK, key=1, count=0, deterministic=False):
    outputs, action, log_prob, value = compiled(policy, observation, mask, key, count, deterministic)
    assert outputs.tobytes() == twin.forward(policy, observation)[0].tobytes()
    twin_action, twin_log_prob, twin_value = twin.act(policy, observation, mask, key, count, deterministic)
    assert action.tolist() == twin_action
    assert np.array([log_prob, value]).tobytes() == np.array([twin_log_prob, twin_value]).tobytes()


def observation_of(rng, inputs, density=0.5):
    return (rng.normal(0, 1, inputs) * (rng.random(inputs) < density)).astype(np.float32)


@pytest.mark.core
@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("deterministic", [False, True])
def test_equals_twin(name, deterministic):
    policy, rng = POLICIES[name], np.random.default_rng(7)
    for count in range(5):
        observation = observation_of(rng, policy.nr_inputs, density=count / 4)
        assert_equals_twin(policy, observation, key=KEY, count=count, deterministic=deterministic)


@given(
    seed=st.integers(0, 2**32),
    inputs=st.integers(1, 70),
    actor=st.lists(st.integers(1, 70), max_size=3),
    critic=st.none() | st.lists(st.integers(1, 70), max_size=3),
    head=st.sampled_from(["categorical", "gaussian", "squashed_gaussian"]),
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    activation=st.sampled_from(["tanh", "relu"]),
    normalised=st.booleans(),
    key=st.integers(-(2**63), 2**63 - 1),
    count=st.integers(0, 2**40),
    deterministic=st.booleans(),
)
@settings(max_examples=300)
def test_random_policies_equal_twin(
    seed, inputs, actor, critic, head, sizes, activation, normalised, key, count, deterministic
):
    parts = {"activation": activation, "normalisation": normalisation(inputs) if normalised else None}
    policy = random_policy(seed, inputs, actor, critic, head, tuple(sizes), **parts)
    rng = np.random.default_rng(seed)
    mask = random_mask(rng, sizes) if head == "categorical" and seed % 4 else NO_MASK
    assert_equals_twin(policy, observation_of(rng, inputs, rng.random()), mask, key, count, deterministic)


def test_tanh():
    x = np.concatenate([np.linspace(-12, 12, 400_001), np.geomspace(1e-30, 1, 1000)]).astype(np.float32)
    exact = np.tanh(x.astype(np.float64))
    assert np.abs(twin.tanh32(x) - exact).max() < 4e-7
    assert np.abs(twin.tanh32(x)).max() <= 1
    small = np.abs(x) < 1
    small &= x != 0
    assert np.abs(twin.tanh32(x)[small] / exact[small] - 1).max() < 4e-7


@pytest.mark.core
def test_tanh_beyond_its_fit_is_constant():
    for x in (8.0, 9.0, 1e30, math.inf):
        assert network.tanh32(np.float32(x)) == -network.tanh32(np.float32(-x)) == network.tanh32(np.float32(8))


def constant_policy(outputs, **parts):
    """A policy whose outputs do not depend on the observation."""
    zero = np.zeros((1, len(outputs)), np.float32)
    return PolicyWeights(actor=(Layer(zero, np.array(outputs, np.float32)),), **parts)


def sample(policy, n, mask=NO_MASK, key=11, deterministic=False):
    layout, weights = pack(policy)
    scratch = np.zeros(network.scratch_size(layout), np.float32)
    actions, log_probs = np.zeros((n, policy.nr_dims), np.float32), np.zeros(n)
    for count in range(n):
        arguments = (layout, weights, np.zeros(1, np.float32), mask, key, count, deterministic, scratch, actions[count])
        log_probs[count] = network.act(*arguments)[0]
    return actions, log_probs


def test_sampled_frequencies():
    stats = pytest.importorskip("scipy.stats")
    policy = constant_policy([0, 1, -1, 2, 0.5, 0, 0.3, -2], head="categorical", sizes=(5, 3))
    mask = np.array([1, 1, 0, 1, 1, 1, 1, 1], np.int8)
    actions, log_probs = sample(policy, 40_000, mask)
    first = np.exp([0, 1, -np.inf, 2, 0.5])
    second = np.exp([0, 0.3, -2])
    probabilities = np.outer(first / first.sum(), second / second.sum())
    joint = np.zeros((5, 3))
    np.add.at(joint, tuple(actions.astype(int).T), 1)
    assert joint[2].sum() == 0
    legal = [0, 1, 3, 4]
    assert stats.chisquare(joint[legal].ravel(), 40_000 * probabilities[legal].ravel()).pvalue > 0.01
    chosen = probabilities[tuple(actions.astype(int).T)]
    np.testing.assert_allclose(log_probs, np.log(chosen), atol=1e-6)


def test_sampled_gaussians():
    stats = pytest.importorskip("scipy.stats")
    policy = constant_policy([0.5, -1], head="gaussian", log_std=np.array([0.25, -2], np.float32))
    actions, log_probs = sample(policy, 20_000)
    z = (actions - [0.5, -1]) / np.exp([0.25, -2])
    assert min(stats.kstest(z[:, d], "norm").pvalue for d in (0, 1)) > 0.01
    assert abs(np.corrcoef(z.T)[0, 1]) < 0.02
    assert abs(np.corrcoef(z[:-1, 0], z[1:, 0])[0, 1]) < 0.02
    expected = stats.norm.logpdf(actions, [0.5, -1], np.exp([0.25, -2])).sum(axis=1)
    np.testing.assert_allclose(log_probs, expected, atol=1e-5)


@pytest.mark.core
def test_deterministic_takes_the_first_of_equals():
    policy = constant_policy([1, 3, 3, 3, 0, 0], head="categorical", sizes=(4, 2))
    assert sample(policy, 1, deterministic=True)[0].tolist() == [[1, 0]]
    mask = np.array([1, 0, 1, 1, 0, 1], np.int8)
    assert sample(policy, 1, mask, deterministic=True)[0].tolist() == [[2, 1]]
    gaussian = constant_policy([0.25, -1], head="gaussian", log_std=np.zeros(2, np.float32))
    assert sample(gaussian, 1, deterministic=True)[0].tolist() == [[0.25, -1]]


@pytest.mark.core
def test_one_legal_entry_is_certain_and_none_is_impossible():
    policy = constant_policy([5, -90, 0, 2], head="categorical", sizes=(2, 2))
    action, log_prob = sample(policy, 1, np.array([0, 1, 1, 0], np.int8))
    assert (action.tolist(), log_prob.tolist()) == ([[1, 0]], [0])
    action, log_prob = sample(policy, 1, np.array([0, 0, 1, 0], np.int8))
    assert (action.tolist(), log_prob.tolist()) == ([[-1, 0]], [-math.inf])


@given(
    logits=st.lists(st.sampled_from([0.0, 1.0, -1e3, 1e3, 3e38, -3e38]), min_size=2, max_size=12),
    seed=st.integers(0, 2**32),
    scale=st.sampled_from([1.0, 2.0]),
)
@settings(max_examples=200)
def test_masks_are_never_violated(logits, seed, scale):
    """Also where logits differ by more than exp() can express, and where they overflow."""
    rng = np.random.default_rng(seed)
    mask = random_mask(rng, [len(logits)])
    policy = PolicyWeights(
        actor=(Layer(np.array([logits], np.float32), np.zeros(len(logits), np.float32)),),
        head="categorical",
        sizes=(len(logits),),
    )
    for count in range(5):
        _, action, _, _ = compiled(policy, np.array([scale], np.float32), mask, seed, count, bool(count == 4))
        assert mask[int(action[0])]


@pytest.mark.core
def test_a_masked_entry_changes_no_other_entrys_luck():
    policy = constant_policy([0] * 6, head="categorical", sizes=(6,))
    everything, _ = sample(policy, 50)
    most, _ = sample(policy, 50, np.array([1, 1, 1, 1, 1, 0], np.int8))
    assert (everything == 5).any()
    assert (most == everything)[everything != 5].all()


@pytest.mark.core
def test_action_and_observation_memory_is_the_callers():
    policy = POLICIES["gaussian"]
    layout, weights = pack(policy)
    observation = np.arange(9, dtype=np.float32)
    scratch = np.zeros(network.scratch_size(layout), np.float32)
    wide = np.zeros(3)
    before = weights.tobytes(), layout.tobytes()
    network.act(layout, weights, observation, NO_MASK, 1, 2, False, scratch, wide)
    narrow = compiled(policy, observation, count=2)[1]
    assert wide.astype(np.float32).tolist() == narrow.tolist()
    assert observation.tolist() == list(range(9))
    assert (weights.tobytes(), layout.tobytes()) == before
    assert weights.ctypes.data % 64 == 0
