"""RLlib, new API stack: PPO with masks by its own masking module. Needs ray[rllib]."""

import time

import gymnasium
import ray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.examples.rl_modules.classes.action_masking_rlm import ActionMaskingTorchRLModule
from ray.tune.registry import register_env

from vcpu_env import MaskInObservation

STEPS = 2048


def make_env(_):
    """CandidateChoice with the mask in the observation, under the names of RLlib's module."""
    return MaskInObservation(gymnasium.make("vcpu_env:vcpu_env/CandidateChoice-v2"), "observations")  # glue


register_env("CandidateChoice", make_env)
ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
module = RLModuleSpec(module_class=ActionMaskingTorchRLModule, model_config={"head_fcnet_hiddens": [64, 64]})
config = (
    PPOConfig()
    .environment("CandidateChoice")
    .env_runners(num_env_runners=0)
    .rl_module(rl_module_spec=module)
    .training(train_batch_size_per_learner=STEPS, minibatch_size=256, num_epochs=2)
)
algorithm = config.build_algo()
began = time.process_time()
result = algorithm.train()
seconds = time.process_time() - began
print(f"return of an episode: {result['env_runners'].get('episode_return_mean', float('nan')):.3f}")
print(f"rllib: {STEPS / seconds:,.0f} steps a CPU second")
algorithm.stop()
ray.shutdown()
