"""Discounting by simulated time against a plain loop, against Stable-Baselines3, and against what it should mean."""

import numpy as np
import pytest

from vcpu_env.nets.discount import advantages, discounts

STEPS, MACHINES = 37, 5


def rollout(seed=1, done_share=0.15):
    rng = np.random.default_rng(seed)
    rewards, values, final_values = rng.normal(0, 1, (3, STEPS, MACHINES))
    dones = rng.random((STEPS, MACHINES)) < done_share
    elapsed_ns = rng.integers(0, 3_000_000, (STEPS, MACHINES))
    return rewards, values, dones, np.where(dones, final_values, 0.0), rng.normal(0, 1, MACHINES), elapsed_ns


def test_half_life():
    np.testing.assert_array_equal(discounts(np.array([0, 1000, 2000, 500]), 1000)[:3], [1, 0.5, 0.25])
    elapsed_ns = np.random.default_rng(2).integers(0, 10**6, 100)
    assert np.prod(discounts(elapsed_ns, 5e6)) == pytest.approx(0.5 ** (elapsed_ns.sum() / 5e6))


@pytest.mark.parametrize("lam", [0.0, 0.9, 1.0])
def test_against_a_plain_loop(lam):
    rewards, values, dones, final_values, last_values, elapsed_ns = rollout()
    gammas = discounts(elapsed_ns, 1e6)
    result = advantages(rewards, values, dones, final_values, last_values, gammas, lam)
    for i in range(MACHINES):
        for t in range(STEPS):
            expected, weight = 0.0, 1.0
            for k in range(t, STEPS):
                following = last_values[i] if k == STEPS - 1 else values[k + 1, i]
                if dones[k, i]:
                    following = final_values[k, i]
                expected += weight * (rewards[k, i] + gammas[k, i] * following - values[k, i])
                if dones[k, i]:
                    break
                weight *= gammas[k, i] * lam
            assert result[t, i] == pytest.approx(expected, abs=1e-12)


def test_lambda_one_is_the_discounted_return():
    """Without ends of episodes and with exact discounting, all rewards count by the time that lies before them."""
    rewards, values, _, _, last_values, elapsed_ns = rollout()
    nothing = np.zeros_like(rewards)
    result = advantages(rewards, values, nothing > 0, nothing, last_values, discounts(elapsed_ns, 4e6), 1.0)
    before_ns = np.concatenate([np.zeros((1, MACHINES)), elapsed_ns.cumsum(axis=0)])
    worth = 0.5 ** (before_ns / 4e6)
    np.testing.assert_allclose(result[0] + values[0], (worth[:-1] * rewards).sum(0) + worth[-1] * last_values)


def test_splitting_a_step_in_two_changes_nothing():
    """An agent that is asked twice as often, without a reward between, sees the same return."""
    value, last = np.array([[0.3]]), np.array([2.0])
    one = advantages(np.array([[1.0]]), value, value > 9, value * 0, last, discounts(np.array([[10]]), 7), 1.0)
    half = np.array([[value[0, 0]], [0.8]])
    split = np.array([[4], [6]])
    rewards = np.array([[0.0], [1.0 * 2 ** (4 / 7)]])
    two = advantages(rewards, half, half > 9, half * 0, last, discounts(split, 7), 1.0)
    assert two[0, 0] == pytest.approx(one[0, 0])


def test_against_stable_baselines3():
    torch = pytest.importorskip("torch")
    buffers = pytest.importorskip("stable_baselines3.common.buffers")
    from gymnasium import spaces

    rewards, values, dones, final_values, last_values, _ = rollout(seed=3)
    gamma, lam = 0.97, 0.9
    space = spaces.Box(-1, 1, (1,), np.float32)
    buffer = buffers.RolloutBuffer(STEPS, space, space, "cpu", lam, gamma, MACHINES)
    starts = np.zeros(MACHINES)
    nothing = np.zeros((MACHINES, 1), np.float32)
    for t in range(STEPS):
        bootstrapped = rewards[t] + gamma * final_values[t]  # as collect_rollouts does for truncated episodes
        buffer.add(nothing, nothing, bootstrapped, starts, torch.as_tensor(values[t]), torch.zeros(MACHINES))
        starts = dones[t].astype(np.float64)
    buffer.compute_returns_and_advantage(torch.as_tensor(last_values), dones[-1])
    ours = advantages(rewards, values, dones, final_values, last_values, np.full_like(rewards, gamma), lam)
    np.testing.assert_allclose(ours, buffer.advantages, atol=1e-5)
    np.testing.assert_allclose(ours + values, buffer.returns, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lam": 1.5}, "lam: value 1.5 (allowed: 0..1)"),
        ({"gammas": np.ones(3)}, "gammas: shape (3,) (allowed: (37, 5), that of rewards)"),
        ({"last_values": np.ones(3)}, "last_values: shape (3,) (allowed: (N,) with rewards of shape (T, N))"),
    ],
)
def test_wrong_arguments(change, message):
    rewards, values, dones, final_values, last_values, _ = rollout()
    given = {
        "rewards": rewards, "values": values, "dones": dones, "final_values": final_values,
        "last_values": last_values, "gammas": np.ones_like(rewards), "lam": 0.5,
    }  # fmt: skip
    with pytest.raises(ValueError) as caught:
        advantages(**{**given, **change})
    assert str(caught.value) == message


def test_wrong_discounts():
    with pytest.raises(ValueError, match=r"^half_life_ns: value 0 \(allowed: above 0\)$"):
        discounts(np.array([1]), 0)
    with pytest.raises(ValueError, match=r"^elapsed_ns: value -3 \(allowed: from 0\)$"):
        discounts(np.array([1, -3]), 5)


def test_every_step_can_have_its_own_lambda():
    rng = np.random.default_rng(0)
    rewards, values, final = rng.normal(size=(3, 6, 2))
    dones, gammas, last = np.zeros((6, 2), bool), np.full((6, 2), 0.9), np.zeros(2)
    one = advantages(rewards, values, dones, final, last, gammas, 0.7)
    assert np.array_equal(one, advantages(rewards, values, dones, final, last, gammas, np.full((6, 2), 0.7)))
    cut = np.full((6, 2), 0.7)
    cut[2] = 0.0
    mixed = advantages(rewards, values, dones, final, last, gammas, cut)
    np.testing.assert_allclose(mixed[2], rewards[2] + 0.9 * values[3] - values[2])
    with pytest.raises(ValueError, match=r"lam: value 1.5 \(allowed: 0..1\)"):
        advantages(rewards, values, dones, final, last, gammas, np.full((6, 2), 1.5))
