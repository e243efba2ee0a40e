"""TorchRL: specs that its checker accepts, masks as it reads them, a few updates of A2C. Needs torchrl."""

import time

import gymnasium
import torch
from tensordict.nn import ProbabilisticTensorDictModule, ProbabilisticTensorDictSequential, TensorDictModule
from torch import nn
from torchrl.collectors import Collector
from torchrl.envs import ActionMask, Compose, DTypeCastTransform, GymWrapper, TransformedEnv, check_env_specs
from torchrl.modules import MaskedCategorical, ValueOperator
from torchrl.objectives import A2CLoss
from torchrl.objectives.value import GAE

from vcpu_env import MaskInObservation

FRAMES, BATCH = 1024, 256


def make_env():
    """CandidateChoice with the mask in the observation."""
    env = GymWrapper(MaskInObservation(gymnasium.make("vcpu_env:vcpu_env/CandidateChoice-v2")))  # glue
    masks = DTypeCastTransform(torch.int8, torch.bool, in_keys=["action_mask"])
    return TransformedEnv(env, Compose(masks, ActionMask()))


torch.manual_seed(0)
env = make_env()
check_env_specs(env)
features, choices = env.observation_spec["observation"].shape[-1], env.action_spec.shape[-1]
logits = TensorDictModule(
    nn.Sequential(nn.Linear(features, 64), nn.Tanh(), nn.Linear(64, choices)), ["observation"], ["logits"]
)
draw = ProbabilisticTensorDictModule(
    {"logits": "logits", "mask": "action_mask"}, ["action"], distribution_class=MaskedCategorical, return_log_prob=True
)
actor = ProbabilisticTensorDictSequential(logits, draw)
critic = ValueOperator(nn.Sequential(nn.Linear(features, 64), nn.Tanh(), nn.Linear(64, 1)), in_keys=["observation"])
advantage, loss = GAE(gamma=0.99, lmbda=0.95, value_network=critic), A2CLoss(actor, critic)
optimizer = torch.optim.Adam(loss.parameters(), lr=1e-3)
began = time.process_time()
for batch in Collector(
    make_env, actor, frames_per_batch=BATCH, total_frames=FRAMES, auto_register_policy_transforms=True
):
    advantage(batch)
    losses = loss(batch)
    optimizer.zero_grad()
    sum(value for name, value in losses.items() if name.startswith("loss_")).backward()
    optimizer.step()
    print(f"reward a decision: {1000 * batch['next', 'reward'].mean():.3f} us a CPU")
print(f"torchrl: {FRAMES / (time.process_time() - began):,.0f} steps a CPU second")
