"""How much more than the rule a player earns, on the same episodes, and how surely."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from vcpu_env.base.errors import whole_number
from vcpu_env.envs.batch import MOST_ENVS
from vcpu_env.envs.config import EnvConfigError


@dataclass(frozen=True, eq=False)
class Gain:
    """What a player earned more than the rule.

    Attributes:
        gains: in each episode, ms a CPU under the default reward; float64.
        decisions: of the player in each episode; int64.
    """

    gains: np.ndarray
    decisions: np.ndarray

    @property
    def mean(self) -> float:
        """Over the episodes."""
        return float(self.gains.mean())

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return float(self.gains.std(ddof=1) / len(self.gains) ** 0.5)

    def __str__(self) -> str:
        return f"{self.mean:+.4f} over the rule, standard error {self.error:.4f}, {len(self.gains)} episodes"


def gain_over_rule(
    env_id: str,
    play: Callable[[np.ndarray, dict[str, Any]], Any],
    episodes: int = 64,
    seed: int = 1_000_000,
    **arguments: Any,
) -> Gain:
    """Let a player play some episodes, the rule the same ones, and compare.

    Args:
        env_id: of the environment.
        play: from the observations and the info of a batch to its actions.
        episodes: how many; their seeds are `seed` and those that follow: keep them apart from those learned on.
        **arguments: of the environment.

    Raises:
        ValueError: fewer than two episodes, or what the environment refuses.
    """
    whole_number("episodes", episodes, 2, MOST_ENVS, EnvConfigError)
    env = gymnasium.make_vec(env_id, num_envs=episodes, autoreset_mode="SameStep", **{**arguments, "over_rule": True})
    observations, info = env.reset(seed=seed)
    gains, decisions = np.zeros(episodes), np.zeros(episodes, np.int64)
    going = np.ones(episodes, np.bool_)
    while going.any():
        observations, rewards, _, truncated, info = env.step(play(observations, info))
        gains += np.where(going, rewards, 0.0)
        decisions += going
        going &= ~truncated
    env.close()
    return Gain(gains, decisions)
