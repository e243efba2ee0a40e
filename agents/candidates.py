"""An actor-critic network that treats all candidates alike: one set of weights for each of them, in any number.

Every candidate is scored by the same small net of its own features and those of yielder and host; "nobody", "as the
rule" and the boosts by another, which sees the candidates' features summed. So what is learned about the first
candidate holds for the sixteenth, and a network of some thousand weights does what an ordinary one would have to learn
for each place anew. Written out it is an ordinary network of two layers, which is how it runs inside the machine.
"""

from typing import Any

import numpy as np
import torch
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from torch import nn

from vcpu_env.envs.compiled.observe import NR_CANDIDATE_FEATURES, NR_FEATURES
from vcpu_env.nets.weights import Layer, PolicyWeights
from vcpu_env.policy.view import FIRST_CANDIDATE

CRITIC = 64
"""Units of both hidden layers of the critic."""


class SharedLayers(nn.Module):
    """The hidden layers: of each candidate and of the rest (actor), of all (critic).

    Args:
        nr_shown: candidates in an observation.
        own, rest: hidden units of one candidate's net, and of the net of everything else.
    """

    def __init__(self, nr_shown: int, own: int, rest: int):
        super().__init__()
        self.nr_shown = nr_shown
        self.own_context = nn.Linear(NR_FEATURES, own)
        self.own = nn.Linear(NR_CANDIDATE_FEATURES, own, bias=False)
        self.rest = nn.Linear(NR_FEATURES, rest)
        self.rest_sum = nn.Linear(NR_CANDIDATE_FEATURES, rest, bias=False)
        self.value = nn.Linear(NR_FEATURES, CRITIC)
        self.value_sum = nn.Linear(NR_CANDIDATE_FEATURES, CRITIC, bias=False)
        self.value_second = nn.Linear(CRITIC, CRITIC)
        self.latent_dim_pi, self.latent_dim_vf = nr_shown * own + rest, CRITIC

    def split(self, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of yielder and host, (N, features), and of the candidates, (N, K, features)."""
        rest, candidates = observations[:, :NR_FEATURES], observations[:, NR_FEATURES:]
        return rest, candidates.reshape(len(observations), self.nr_shown, NR_CANDIDATE_FEATURES)

    def forward_actor(self, observations: torch.Tensor) -> torch.Tensor:
        """Hidden units: each candidate's, one after the other, then the rest's."""
        host, candidates = self.split(observations)
        own = torch.tanh(self.own_context(host)[:, None] + self.own(candidates))
        rest = torch.tanh(self.rest(host) + self.rest_sum(candidates.sum(1)))
        return torch.cat([own.flatten(1), rest], 1)

    def forward_critic(self, observations: torch.Tensor) -> torch.Tensor:
        """Hidden units of the critic."""
        host, candidates = self.split(observations)
        first = torch.tanh(self.value(host) + self.value_sum(candidates.sum(1)))
        return torch.tanh(self.value_second(first))

    def forward(self, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Both."""
        return self.forward_actor(observations), self.forward_critic(observations)


class SharedScores(nn.Module):
    """From hidden units to logits: nobody, the rule, the candidates, the boosts."""

    def __init__(self, nr_shown: int, own: int, rest: int, nr_boosts: int):
        super().__init__()
        self.nr_shown, self.nr_own = nr_shown, own
        self.score = nn.Linear(own, 1, bias=False)
        self.others = nn.Linear(rest, FIRST_CANDIDATE + nr_boosts)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """The logits."""
        at = self.nr_shown * self.nr_own
        own = self.score(hidden[:, :at].reshape(len(hidden), self.nr_shown, self.nr_own)).squeeze(-1)
        others = self.others(hidden[:, at:])
        return torch.cat([others[:, :FIRST_CANDIDATE], own, others[:, FIRST_CANDIDATE:]], 1)


class CandidatesPolicy(MaskableActorCriticPolicy):
    """For MaskablePPO; `net_arch`: hidden units of one candidate's net, and of the net of everything else."""

    def _build_mlp_extractor(self) -> None:
        self.nr_shown = (self.features_dim - NR_FEATURES) // NR_CANDIDATE_FEATURES
        self.mlp_extractor: Any = SharedLayers(self.nr_shown, *self.net_arch)

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        space: Any = self.action_space
        self.sizes = tuple(map(int, space.nvec if hasattr(space, "nvec") else [space.n]))
        own, rest = self.net_arch
        self.action_net: Any = SharedScores(self.nr_shown, own, rest, sum(self.sizes[1:]))
        self.action_net.apply(lambda module: self.init_weights(module, gain=0.01))
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)

    def written_out(self) -> PolicyWeights:
        """The same as an ordinary network."""
        state = {name: tensor.detach().cpu().numpy() for name, tensor in self.state_dict().items()}
        hidden, scores = "mlp_extractor.", "action_net."
        own, rest = self.net_arch
        at = self.nr_shown * own
        value = copied(state, hidden + "value", self.nr_shown)
        context, each = state[hidden + "own_context.weight"].T, state[hidden + "own.weight"].T
        first = np.zeros((NR_FEATURES + self.nr_shown * NR_CANDIDATE_FEATURES, at + rest), np.float32)
        first[:NR_FEATURES, :at] = np.tile(context, self.nr_shown)
        first[NR_FEATURES:, :at] = np.kron(np.eye(self.nr_shown, dtype=np.float32), each)
        of_rest = copied(state, hidden + "rest", self.nr_shown)
        first[:, at:] = of_rest.weight
        bias = np.concatenate([np.tile(state[hidden + "own_context.bias"], self.nr_shown), of_rest.bias])
        last = np.zeros((at + rest, sum(self.sizes)), np.float32)
        places = range(FIRST_CANDIDATE, FIRST_CANDIDATE + self.nr_shown)
        others = [i for i in range(sum(self.sizes)) if i not in places]
        last[:at, places] = np.kron(np.eye(self.nr_shown, dtype=np.float32), state[scores + "score.weight"].T)
        last[at:, others] = state[scores + "others.weight"].T
        last_bias = np.zeros(sum(self.sizes), np.float32)
        last_bias[others] = state[scores + "others.bias"]
        second = Layer(state[hidden + "value_second.weight"].T, state[hidden + "value_second.bias"])
        return PolicyWeights(
            actor=(Layer(first, bias), Layer(last, last_bias)),
            head="categorical",
            sizes=self.sizes,
            critic=(value, second, Layer(state["value_net.weight"].T, state["value_net.bias"])),
        )


def copied(state: dict[str, np.ndarray], name: str, nr_shown: int) -> Layer:
    """A layer of everything: weights for yielder and host, and the same ones for each candidate."""
    weight = np.vstack([state[f"{name}.weight"].T, np.tile(state[f"{name}_sum.weight"].T, (nr_shown, 1))])
    return Layer(weight, state[f"{name}.bias"])
