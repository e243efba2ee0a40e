"""Policies out of Stable-Baselines3 and sb3-contrib: the same distributions, actions and values as there."""

import numpy as np
import pytest
from gymnasium import spaces

from tests.helpers.network import NO_MASK, compiled, random_mask
from tests.helpers.toy_env import INPUTS, Toy
from vcpu_env.nets.from_sb3 import from_sb3

torch = pytest.importorskip("torch")
sb3 = pytest.importorskip("stable_baselines3")
contrib = pytest.importorskip("sb3_contrib")

BOX = spaces.Box(-1, 1, (2,), np.float32)
DISCRETE = spaces.Discrete(18)
MULTI = spaces.MultiDiscrete([4, 7, 2])


def model_of(method, action_space, env=None, **arguments):
    """An untrained model whose weights are large enough to matter."""
    if method not in (sb3.SAC, contrib.TQC):
        arguments = {"n_steps": 2} | arguments
    model = method("MlpPolicy", env or Toy(action_space), seed=3, device="cpu", **arguments)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


def observations(n=20):
    rng = np.random.default_rng(1)
    return (rng.normal(0, 1, (n, INPUTS)) * (rng.random((n, INPUTS)) < 0.6)).astype(np.float32)


@pytest.mark.parametrize("space", [DISCRETE, MULTI], ids=["discrete", "multi"])
@pytest.mark.parametrize("activation", [torch.nn.Tanh, torch.nn.ReLU])
def test_maskable_ppo(space, activation):
    model = model_of(
        contrib.MaskablePPO, space, policy_kwargs={"activation_fn": activation, "net_arch": [32, 24]}, batch_size=2
    )
    policy, sizes = from_sb3(model), getattr(space, "nvec", [18])
    rng = np.random.default_rng(2)
    for count, observation in enumerate(observations()):
        mask = random_mask(rng, sizes)
        batch = torch.as_tensor(observation[None])
        with torch.no_grad():
            distribution = model.policy.get_distribution(batch, action_masks=mask[None].astype(bool))
            expected_value = model.policy.predict_values(batch).item()
        for deterministic in (False, True):
            _, action, log_prob, value = compiled(policy, observation, mask, 4, count, deterministic)
            as_tensor = torch.as_tensor(action[None] if space is MULTI else action).long()
            assert log_prob == pytest.approx(distribution.log_prob(as_tensor).item(), abs=1e-5)
            assert value == pytest.approx(expected_value, abs=1e-5)
        predicted, _ = model.predict(observation, deterministic=True, action_masks=mask.astype(bool))
        assert action.tolist() == np.ravel(predicted).tolist()


@pytest.mark.parametrize("net_arch", [[], [16], {"pi": [8], "vf": []}, {"pi": [], "vf": [12, 8]}], ids=str)
def test_ppo_with_a_gaussian(net_arch):
    model = model_of(sb3.PPO, BOX, policy_kwargs={"net_arch": net_arch}, batch_size=2)
    policy = from_sb3(model)
    for count, observation in enumerate(observations()):
        batch = torch.as_tensor(observation[None])
        for deterministic in (False, True):
            _, action, log_prob, value = compiled(policy, observation, NO_MASK, 4, count, deterministic)
            with torch.no_grad():
                values, log_probs, _ = model.policy.evaluate_actions(batch, torch.as_tensor(action[None]))
            assert log_prob == pytest.approx(log_probs.item(), abs=1e-5)
            assert value == pytest.approx(values.item(), abs=1e-5)
        with torch.no_grad():
            mean = model.policy.get_distribution(batch).mode()[0].numpy()
        np.testing.assert_allclose(action, mean, atol=1e-5)


@pytest.mark.parametrize("method", [sb3.SAC, contrib.TQC])
def test_squashed_actors(method):
    model = model_of(method, BOX, policy_kwargs={"net_arch": [16, 16]}, buffer_size=10)
    policy, actor = from_sb3(model), model.policy.actor
    assert not policy.critic
    for count, observation in enumerate(observations()):
        batch = torch.as_tensor(observation[None])
        _, action, log_prob, value = compiled(policy, observation, NO_MASK, 4, count)
        assert np.isnan(value)
        with torch.no_grad():
            mean, log_std, _ = actor.get_action_dist_params(batch)
            distribution = actor.action_dist.proba_distribution(mean, log_std)
            if np.abs(action).max() < 0.999:  # beyond, float32 cannot find back from the action
                expected = distribution.log_prob(torch.as_tensor(action[None])).item()
                assert log_prob == pytest.approx(expected, abs=2e-3)
        _, action, _, _ = compiled(policy, observation, deterministic=True)
        np.testing.assert_allclose(action, model.predict(observation, deterministic=True)[0], atol=1e-5)


def test_vec_normalize_comes_along():
    env = sb3.common.vec_env.VecNormalize(sb3.common.vec_env.DummyVecEnv([lambda: Toy(DISCRETE)]), clip_obs=1.5)
    env.obs_rms.mean = np.linspace(-1, 1, INPUTS)
    env.obs_rms.var = np.linspace(0.1, 4, INPUTS)
    model = model_of(sb3.PPO, DISCRETE, env, batch_size=2)
    policy = from_sb3(model)
    for observation in observations():
        _, action, log_prob, value = compiled(policy, observation)
        with torch.no_grad():
            batch = torch.as_tensor(env.normalize_obs(observation[None]).astype(np.float32))
            values, log_probs, _ = model.policy.evaluate_actions(batch, torch.as_tensor(action).long())
        assert log_prob == pytest.approx(log_probs.item(), abs=1e-5)
        assert value == pytest.approx(values.item(), abs=1e-5)
    env.norm_obs = False
    assert from_sb3(model).normalisation is None


def dict_model():
    observation_space = spaces.Dict({"a": spaces.Box(-1, 1, (2,), np.float32)})
    return sb3.PPO("MultiInputPolicy", Toy(DISCRETE, observation_space), n_steps=2, batch_size=2, device="cpu")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (dict_model, "model.observation_space: value Dict (allowed: Box)"),
        (
            lambda: model_of(sb3.PPO, BOX, Toy(BOX, spaces.Box(-1, 1, (2, 3), np.float32)), batch_size=2),
            "model.observation_space: value of shape (2, 3) (allowed: one dimension)",
        ),
        (
            lambda: model_of(sb3.PPO, BOX, policy_kwargs={"activation_fn": torch.nn.ELU}, batch_size=2),
            "model.activation_fn: value ELU (allowed: Tanh, ReLU)",
        ),
        (lambda: model_of(sb3.PPO, BOX, use_sde=True, batch_size=2), "model.use_sde: value True (allowed: False)"),
        (
            lambda: model_of(sb3.PPO, spaces.MultiBinary(3), batch_size=2),
            "model.action_space: value MultiBinary (allowed: Discrete, MultiDiscrete, Box)",
        ),
        (
            lambda: contrib.RecurrentPPO("MlpLstmPolicy", Toy(DISCRETE), n_steps=2, batch_size=2, device="cpu"),
            "model.policy: value parameter 'lstm_actor.weight_ih_l0' "
            "(allowed: an MlpPolicy of an actor-critic method, SAC, TQC, DQN or QR-DQN)",
        ),
    ],
    ids=["dict", "shape", "activation", "sde", "multibinary", "recurrent"],
)
def test_what_cannot_be_expressed_is_refused(model, message):
    with pytest.raises(ValueError) as caught:
        from_sb3(model())
    assert str(caught.value) == message
