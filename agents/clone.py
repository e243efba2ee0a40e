"""Behaviour cloning: the actor learns to do what a teacher does, before it learns by reward."""

from typing import Any

import numpy as np
import torch

from agents.config import Cloning, TrainConfig
from agents.teacher import Lessons, lessons
from baselines.command import say

BATCH = 1024


def clone(config: TrainConfig, cloning: Cloning, model: Any) -> float:
    """Teach a model's policy. Returns the share of the teacher's decisions that it then takes as likeliest action."""
    taught = lessons(config, cloning, model.get_env().unwrapped.environment)
    torch.set_num_threads(config.torch_threads)  # sums depend on their number
    statistics, observations = model.get_vec_normalize_env(), taught.observations
    if statistics is not None:
        statistics.obs_rms.update(observations)
        observations = statistics.normalize_obs(observations)
    given = Lessons(observations.astype(np.float32), taught.actions, taught.masks)
    imitate(model, given, cloning, config.seed)
    share = agreement(model, given)
    say(f"cloned {cloning.teacher}: {len(observations):,} decisions, the same action in {share:.1%}")
    return share


def imitate(model: Any, taught: Lessons, cloning: Cloning, seed: int) -> None:
    """Raise the likelihood of the teacher's actions. Only parameters of the actor change."""
    policy, rng = model.policy, np.random.default_rng(seed)
    optimizer = torch.optim.Adam(policy.parameters(), lr=cloning.learning_rate)
    policy.set_training_mode(True)
    for _ in range(cloning.epochs):
        order = rng.permutation(len(taught.observations))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            _, log_prob, entropy = evaluate(model, taught, rows)
            loss = -log_prob.mean() - cloning.entropy * entropy.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def evaluate(model: Any, taught: Lessons, rows: np.ndarray) -> Any:
    """Values, log-likelihoods and entropies of some of the teacher's actions."""
    observations = torch.as_tensor(taught.observations[rows])
    actions = torch.as_tensor(taught.actions[rows]).squeeze(-1)
    if not model_masks(model):
        return model.policy.evaluate_actions(observations, actions)
    return model.policy.evaluate_actions(observations, actions, action_masks=taught.masks[rows])


def agreement(model: Any, taught: Lessons) -> float:
    """Share of the decisions in which the likeliest action is the teacher's."""
    masks = {"action_masks": taught.masks} if model_masks(model) else {}
    chosen, _ = model.predict(taught.observations, deterministic=True, **masks)
    return float((chosen.reshape(taught.actions.shape) == taught.actions).all(axis=1).mean())


def model_masks(model: Any) -> bool:
    """Whether the model knows masks."""
    return hasattr(model.rollout_buffer, "mask_dims")
