"""The network that treats candidates alike: the same one when written out for the machine."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sb3_contrib")

import torch
from gymnasium import spaces
from sb3_contrib import MaskablePPO

from agents.candidates import CandidatesPolicy
from agents.config import ConfigError
from tests.helpers.agent_config import quick
from tests.helpers.network import compiled
from tests.helpers.toy_env import Toy
from vcpu_env.envs.compiled.observe import NR_CANDIDATE_FEATURES, NR_FEATURES
from vcpu_env.policy.view import FIRST_CANDIDATE

SHOWN = 5
ACTIONS = {"candidate": spaces.Discrete(2 + SHOWN), "and boost": spaces.MultiDiscrete([2 + SHOWN, 4])}
INPUTS = NR_FEATURES + SHOWN * NR_CANDIDATE_FEATURES


@pytest.fixture(params=ACTIONS)
def policy(request) -> CandidatesPolicy:
    env = Toy(ACTIONS[request.param], spaces.Box(-1, 1, (INPUTS,), np.float32))
    model = MaskablePPO(
        CandidatesPolicy, env, n_steps=2, batch_size=2, seed=3, device="cpu", policy_kwargs={"net_arch": [3, 7]}
    )
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model.policy


def observations(count: int = 20) -> np.ndarray:
    rng = np.random.default_rng(1)
    return (rng.normal(0, 0.5, (count, INPUTS)) * (rng.random((count, INPUTS)) < 0.6)).astype(np.float32)


def test_written_out_it_is_the_same_network(policy):
    weights = policy.written_out()
    mask = np.ones(sum(weights.sizes), np.int8)
    mask[4] = 0
    for count, observation in enumerate(observations()):
        batch = torch.as_tensor(observation[None])
        with torch.no_grad():
            distribution = policy.get_distribution(batch, action_masks=mask[None].astype(bool))
            value = policy.predict_values(batch).item()
        for deterministic in (False, True):
            _, action, log_prob, found = compiled(weights, observation, mask, 4, count, deterministic)
            chosen = torch.as_tensor(action[None] if len(weights.sizes) > 1 else action).long()
            assert log_prob == pytest.approx(distribution.log_prob(chosen).item(), abs=1e-5)
            assert found == pytest.approx(value, abs=1e-5)


def test_candidates_that_change_places_change_scores(policy):
    seen = torch.as_tensor(observations())
    host, shown = seen[:, :NR_FEATURES], seen[:, NR_FEATURES:].reshape(-1, SHOWN, NR_CANDIDATE_FEATURES)
    order = [3, 0, 4, 1, 2]
    moved = torch.cat([host, shown[:, order].flatten(1)], 1)
    with torch.no_grad():
        before = policy.action_net(policy.mlp_extractor.forward_actor(seen))
        after = policy.action_net(policy.mlp_extractor.forward_actor(moved))
        values = policy.predict_values(seen), policy.predict_values(moved)
    places = slice(FIRST_CANDIDATE, FIRST_CANDIDATE + SHOWN)
    torch.testing.assert_close(before[:, places][:, order], after[:, places])
    torch.testing.assert_close(before[:, :FIRST_CANDIDATE], after[:, :FIRST_CANDIDATE])
    torch.testing.assert_close(*values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": "ppo"}, r"network: value 'candidates' \(allowed: with maskable_ppo"),
        ({"normalise": True}, r"network: value 'candidates' \(allowed: with maskable_ppo"),
        ({"net_arch": [8]}, r"net_arch: value \[8\] \(allowed with network 'candidates': two, from 1\)"),
    ],
)
def test_what_it_cannot_be_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        quick(**{"network": "candidates", "net_arch": [2, 4]} | changes)
