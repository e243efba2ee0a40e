"""Learning from recorded decisions alone: python examples/offline.py [DATASET] [STEPS]

Two learners on a Minari dataset of CandidateChoice: behaviour cloning (do what was done), and advantage-weighted
regression (do what was done, the more so the better it turned out). Without arguments it takes the small samples that
are shipped; a larger dataset is made by `python -m agents.dataset CandidateChoice random strict-borrow --episodes 512`.
Needs the extras `agents` and `offline`.
"""

import os
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from vcpu_env import gain_over_rule

HALF_LIFE_NS = 500_000  # of the discount: what a yield brings shows within some hundred microseconds
SAMPLES = Path(__file__).parent / "data" / "minari.zip"


def load(dataset_id):
    """Observations, masks, actions and discounted returns of every decision of a dataset."""
    import minari

    episodes = list(minari.load_dataset(dataset_id).iterate_episodes())
    returns = []
    for episode in episodes:
        gammas, total = 0.5 ** (episode.infos["elapsed_ns"][1:] / HALF_LIFE_NS), 0.0
        backwards = []
        for reward, gamma in zip(episode.rewards[::-1], gammas[::-1], strict=True):
            total = reward + gamma * total
            backwards.append(total)
        returns.append(np.array(backwards[::-1], np.float32))
    parts = [
        [episode.observations[:-1] for episode in episodes],
        [episode.infos["action_mask"][:-1] for episode in episodes],
        [episode.actions for episode in episodes],
        returns,
    ]
    return [torch.as_tensor(np.concatenate(part)) for part in parts]


def network(features, outputs):
    """Two layers."""
    return nn.Sequential(nn.Linear(features, 64), nn.Tanh(), nn.Linear(64, outputs))


def learn(data, steps, temperature):
    """An actor by regression on what was done; `temperature` None: all decisions count alike."""
    torch.manual_seed(0)
    observations, masks, actions, returns = data
    returns = (returns - returns.mean()) / returns.std()
    actor, critic = network(observations.shape[1], masks.shape[1]), network(observations.shape[1], 1)
    optimizer = torch.optim.Adam([*actor.parameters(), *critic.parameters()], lr=1e-3)
    for _ in range(steps):
        rows = torch.randint(len(actions), (1024,))
        advantage = returns[rows] - critic(observations[rows]).squeeze(1)
        logits = actor(observations[rows]).masked_fill(masks[rows] == 0, -torch.inf)
        done = nn.functional.cross_entropy(logits, actions[rows].long(), reduction="none")
        weight = 1.0 if temperature is None else (advantage.detach() / temperature).exp().clamp(max=20.0)
        loss = (weight * done).mean() + advantage.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return actor


def gain(actor):
    """Of the likeliest actions, over the rule, in new episodes."""

    def play(observations, info):
        with torch.no_grad():
            logits = actor(torch.as_tensor(observations))
        return logits.masked_fill(torch.as_tensor(info["action_mask"]) == 0, -torch.inf).argmax(1).numpy()

    return gain_over_rule("vcpu_env:vcpu_env/CandidateChoice-v2", play)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        if len(sys.argv) < 2:
            zipfile.ZipFile(SAMPLES).extractall(directory)
            os.environ["MINARI_DATASETS_PATH"] = directory
        dataset = sys.argv[1] if len(sys.argv) > 1 else "vcpu_env/CandidateChoice/random-v2"
        data = load(dataset)
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    print(f"{dataset}: {len(data[2]):,} decisions")
    print(f"behaviour cloning: {gain(learn(data, steps, None))}")
    print(f"advantage-weighted regression: {gain(learn(data, steps, 1.0))}")
