"""Stable-Baselines3 and its contrib: python examples/sb3.py ppo|sac|maskable_ppo|qr_dqn|recurrent_ppo [MINUTES]

Each trains on a batch of machines in compiled code, paid for what it earns beyond the rule (`over_rule`), and prints
what it gains over the rule on other episodes. Needs the extra `agents`. Times are of the CPU.
"""

import sys
import time
from typing import Any

import torch
from sb3_contrib import QRDQN, MaskablePPO, RecurrentPPO
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback

from vcpu_env import gain_over_rule, make_sb3
from vcpu_env.envs.register import id_of

REPORTS = 4
ON_POLICY = {"n_steps": 128, "batch_size": 1024, "n_epochs": 4, "gamma": 0.99, "learning_rate": 1e-3}
SETTINGS: dict[str, Any] = {
    "ppo": (PPO, id_of("PenaltyScale"), 16, ON_POLICY | {"gamma": 0.95}),
    "sac": (SAC, id_of("PenaltyScale"), 16, {
        "gamma": 0.95, "learning_rate": 1e-3, "train_freq": 1, "gradient_steps": 2, "buffer_size": 200_000,
        "ent_coef": "auto_0.001",  # a decision earns thousandths
        "policy_kwargs": {"net_arch": [64, 64]},
    }),
    "maskable_ppo": (MaskablePPO, id_of("CandidateChoice"), 16, ON_POLICY),
    "qr_dqn": (QRDQN, id_of("CandidateChoice", "Lenient"), 16, {"gamma": 0.99, "learning_rate": 1e-3}),
    "recurrent_ppo": (RecurrentPPO, id_of("CandidateChoice", "Lenient"), 16, ON_POLICY),
}  # fmt: skip


class Report(BaseCallback):
    """Prints the gain on other episodes now and then, and ends the training."""

    def __init__(self, env_id, seconds):
        super().__init__()
        self.env_id, self.seconds, self.reports, self.began = env_id, seconds, 0, time.process_time()

    def _on_step(self):
        spent = time.process_time() - self.began
        if spent >= self.reports * self.seconds / REPORTS:
            pause = time.process_time()
            gain = gain_over_rule(self.env_id, player(self.model), threads=1)
            print(f"{spent:.0f} s, {self.model.num_timesteps:,} decisions: {gain}", flush=True)
            self.began += time.process_time() - pause
            self.reports += 1
        return spent < self.seconds


def player(model):
    """What the network thinks best."""
    state = None

    def play(observations, info):
        nonlocal state
        if isinstance(model, MaskablePPO):
            masks = info["action_mask"].astype(bool)
            return model.predict(observations, action_masks=masks, deterministic=True)[0]
        actions, state = model.predict(observations, state, deterministic=True)
        return actions

    return play


if __name__ == "__main__":
    name = sys.argv[1] if len(sys.argv) > 1 else "maskable_ppo"
    seconds = 60 * float(sys.argv[2]) if len(sys.argv) > 2 else 60.0
    torch.set_num_threads(1)
    algorithm, env_id, num_envs, settings = SETTINGS[name]
    policy = "MlpLstmPolicy" if algorithm is RecurrentPPO else "MlpPolicy"
    model = algorithm(policy, make_sb3(env_id, num_envs, over_rule=True, threads=1), seed=0, device="cpu", **settings)
    began = time.process_time()
    model.learn(10**9, Report(env_id, seconds))
    print(f"{model.num_timesteps / (time.process_time() - began):,.0f} steps a CPU second, reports included")
