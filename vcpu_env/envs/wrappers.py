"""Wrappers for libraries that look for things elsewhere than Gymnasium puts them."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs


class MaskInObservation(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """The mask as a part of the observation: a dict of both, as RLlib, TorchRL, Tianshou and PettingZoo read masks.

    Args:
        env: an environment with masks (`info["action_mask"]`), wrapped or not.
        observation: the observation's key; RLlib's example module wants "observations", Tianshou "obs".
        mask: the mask's key; Tianshou wants "mask".

    Raises:
        ValueError: an environment without masks, or one key for both.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], observation: str = "observation", mask: str = "action_mask"):
        RecordConstructorArgs.__init__(self, observation=observation, mask=mask)
        super().__init__(env)
        actions = getattr(env.unwrapped, "actions", None)
        if actions is None or not actions.nr_candidates:
            raise ValueError(f"env: {type(env.unwrapped).__name__} has no masks (allowed: one whose agent chooses)")
        if observation == mask:
            raise ValueError(f"mask: value '{mask}' (allowed: another key than the observation's)")
        self.keys = observation, mask
        legal = spaces.Box(0, 1, (actions.mask_length,), np.int8)
        self.observation_space = spaces.Dict({observation: env.observation_space, mask: legal})

    def _both(self, observation: Any, info: dict[str, Any]) -> dict[str, Any]:
        return dict(zip(self.keys, (observation, info["action_mask"].copy()), strict=True))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """As of the environment within."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._both(observation, info), info

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        """As of the environment within."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._both(observation, info), reward, terminated, truncated, info
