"""Tianshou: DQN with masks, which it looks for in ``obs.mask``. Needs tianshou 2."""

import time

import gymnasium
import torch
from tianshou.algorithm import DQN
from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.trainer import OffPolicyTrainerParams
from tianshou.utils.net.common import Net

from vcpu_env import MaskInObservation

STEPS, MACHINES = 1024, 4


def make_env():
    """CandidateChoice with the mask in the observation, under Tianshou's names."""
    return MaskInObservation(gymnasium.make("vcpu_env:vcpu_env/CandidateChoice-v2"), "obs", "mask")  # glue


torch.manual_seed(0)
envs, env = DummyVectorEnv([make_env] * MACHINES), make_env()
shape = env.observation_space["obs"].shape
policy = DiscreteQLearningPolicy(
    model=Net(state_shape=shape, action_shape=env.action_space.n, hidden_sizes=[64]),
    action_space=env.action_space,
    observation_space=env.observation_space,
    eps_training=0.1,
)
algorithm = DQN(policy=policy, optim=AdamOptimizerFactory(lr=1e-3), gamma=0.99, target_update_freq=100)
collector = Collector(algorithm, envs, VectorReplayBuffer(10_000, MACHINES), exploration_noise=True)
began = time.process_time()
algorithm.run_training(
    OffPolicyTrainerParams(
        training_collector=collector,
        max_epochs=1,
        epoch_num_steps=STEPS,
        collection_step_num_env_steps=64,
        update_step_num_gradient_steps_per_sample=0.125,
        test_step_num_episodes=0,
        verbose=False,
        show_progress=False,
    )
)
print(f"tianshou: {STEPS / (time.process_time() - began):,.0f} steps a CPU second")
