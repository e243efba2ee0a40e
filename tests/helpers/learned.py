"""Learned policies with networks drawn at random."""

import numpy as np

from tests.twin.random_policy import random_net
from vcpu_env.envs.action import Actions
from vcpu_env.envs.config import EnvConfig
from vcpu_env.envs.start import nr_features
from vcpu_env.nets.learned import KINDS, Description, LearnedPolicy
from vcpu_env.nets.weights import PolicyWeights


def network_for(environment: str, config: EnvConfig, stack: int = 1, seed: int = 8) -> PolicyWeights:
    kind, rng = KINDS[environment], np.random.default_rng(seed)
    actions, inputs = Actions(kind, config), nr_features(kind, config) * stack
    sizes = tuple(n for n in (actions.nr_candidates, actions.nr_boosts) if n)
    outputs = sum(sizes) or actions.width
    head = (
        {"head": "categorical", "sizes": sizes} if sizes else {"head": "gaussian", "log_std": np.zeros(1, np.float32)}
    )
    return PolicyWeights(actor=random_net(rng, (inputs, 12, outputs)), **head)


def policy_for(
    environment: str, stack: int = 1, config: EnvConfig | None = None, seed: int = 8, **about
) -> LearnedPolicy:
    config = config or EnvConfig(nr_candidates=4)
    described = Description(name="net", environment=environment, config=config, frame_stack=stack, **about)
    return LearnedPolicy(described, network_for(environment, config, stack, seed))
