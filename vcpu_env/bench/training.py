"""Speed of training with MaskablePPO, beside an environment that costs nothing; needs the extra ``agents``."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import MaskablePPO
from stable_baselines3.common.vec_env import VecEnv

from vcpu_env.envs.register import id_of
from vcpu_env.envs.sb3 import Sb3VecEnv, make_sb3

COUNT = 64
N_STEPS = 64
SETTINGS: dict[str, Any] = {"n_steps": N_STEPS, "batch_size": 1024, "n_epochs": 4, "device": "cpu", "seed": 0}


class FreeVecEnv(VecEnv):
    """Of given spaces, everything legal, nothing happens: what is left is the cost of training."""

    def __init__(self, observation_space: spaces.Box, action_space: spaces.Discrete):
        self.render_mode = None
        super().__init__(COUNT, observation_space, action_space)
        self.observations = np.stack([observation_space.sample() for _ in range(COUNT)])
        self.masks = np.ones((COUNT, int(action_space.n)), np.bool_)
        self.rewards, self.dones = np.zeros(COUNT, np.float32), np.zeros(COUNT, np.bool_)

    def reset(self) -> np.ndarray:
        """The same observations every time."""
        return self.observations

    def step_async(self, actions: np.ndarray) -> None:
        """Nothing is done with them."""

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """A step that changes nothing."""
        return self.observations, self.rewards, self.dones, [{} for _ in range(COUNT)]

    def action_masks(self) -> np.ndarray:
        """Everything is legal."""
        return self.masks

    def env_method(self, method_name: str, *_: Any, indices: Any = None, **__: Any) -> list[Any]:
        """Only `action_masks`."""
        return list(getattr(self, method_name)())

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute, once for each environment."""
        return [getattr(self, attr_name)] * COUNT

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set for all."""
        setattr(self, attr_name, value)

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """None is."""
        return [False] * COUNT

    def close(self) -> None:
        """Nothing is held open."""


def training_rates(rate: Callable[[Callable[[], int]], float]) -> dict[str, tuple[float, ...]]:
    """Steps a second of both environments: alone, with inference, and with training. `rate` measures a function."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ours = make_sb3(id_of("CandidateChoice"), COUNT)
        free = FreeVecEnv(ours.observation_space, ours.action_space)
        return {"CandidateChoice": rates(ours, rate), "an environment that costs nothing": rates(free, rate)}
    finally:
        torch.set_num_threads(threads)


def rates(env: Sb3VecEnv | FreeVecEnv, rate: Callable[[Callable[[], int]], float]) -> tuple[float, ...]:
    """Steps a second of one environment."""
    model = MaskablePPO("MlpPolicy", env, **SETTINGS)
    rng = np.random.default_rng(0)
    shown = [env.reset()]

    def step() -> int:
        masks = env.action_masks()
        shown[0], *_ = env.step(np.argmax(rng.random(masks.shape) * masks, axis=1))
        return COUNT

    def infer() -> int:
        masks = env.action_masks()
        with torch.no_grad():
            actions, _, _ = model.policy(torch.as_tensor(shown[0]), action_masks=masks)
        shown[0], *_ = env.step(actions.numpy())
        return COUNT

    def train() -> int:
        model.learn(COUNT * N_STEPS, reset_num_timesteps=False)  # or every call would begin new episodes
        return COUNT * N_STEPS

    return rate(step), rate(infer), rate(train)
