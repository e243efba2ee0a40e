"""A Stable-Baselines3 `VecEnv` over the batched environments; needs the extra ``agents``."""

from collections.abc import Iterable
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

import vcpu_env  # noqa: F401  (registers the ids)
from vcpu_env.envs.batch import HostVectorEnv


def make_sb3(env_id: str, num_envs: int, **arguments: Any) -> "Sb3VecEnv":
    """The batched environment of this id as SB3 takes it: ``MaskablePPO("MlpPolicy", make_sb3(ID, 64))``."""
    environment = gymnasium.make_vec(env_id, num_envs=num_envs, autoreset_mode="SameStep", **arguments)
    return Sb3VecEnv(environment)


class Sb3VecEnv(VecEnv):
    """SB3's view of a batched environment: resets at once, ``terminal_observation``, ``TimeLimit.truncated``.

    Args:
        environment: with autoreset mode SAME_STEP.

    Raises:
        ValueError: another autoreset mode, or not a batched environment of this package.
    """

    def __init__(self, environment: Any):
        if not isinstance(environment, HostVectorEnv):
            raise ValueError(f"environment: {type(environment).__name__} (allowed: a batched vcpu_env environment)")
        if environment.autoreset_mode.name != "SAME_STEP":
            raise ValueError(f"autoreset_mode: value {environment.autoreset_mode.value} (allowed: SameStep, for SB3)")
        self.environment = environment
        self.render_mode = environment.render_mode
        self._actions: Any = None
        super().__init__(environment.num_envs, environment.single_observation_space, environment.single_action_space)

    def reset(self) -> np.ndarray:
        """Begin new episodes everywhere."""
        seeds = self._seeds if any(seed is not None for seed in self._seeds) else None
        options = next((options for options in self._options if options), None)
        observations, _ = self.environment.reset(seed=seeds, options=options)
        self._reset_seeds()
        self._reset_options()
        self.reset_infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Take the actions of the next step."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Do the step."""
        observations, rewards, _, truncated, info = self.environment.step(self._actions)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(truncated):
            totals = {name: values[i].item() for name, values in info["episode_totals"].items()}
            infos[i] = {
                "terminal_observation": info["final_obs"][i],
                "TimeLimit.truncated": True,
                "episode_totals": totals,
            }
        return observations, rewards.astype(np.float32), truncated, infos

    def action_masks(self) -> np.ndarray:
        """Which actions are legal now: bool, (num_envs, length)."""
        return self.environment.action_masks()

    def _rows(self, indices: None | int | Iterable[int]) -> list[int]:
        return list(self._get_indices(indices))

    def get_attr(self, attr_name: str, indices: None | int | Iterable[int] = None) -> list[Any]:
        """An attribute, once for each machine asked for."""
        if attr_name == "render_mode":
            return [self.render_mode for _ in self._rows(indices)]
        if attr_name == "action_masks" and not self.environment.actions.nr_candidates:
            raise AttributeError("this environment has no discrete actions, so no masks")
        return [getattr(self.environment, attr_name) for _ in self._rows(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: None | int | Iterable[int] = None) -> None:
        """Machines share their attributes: only all at once.

        Raises:
            ValueError: for some machines only.
        """
        if len(self._rows(indices)) != self.num_envs:
            raise ValueError(f"indices: value {indices} (allowed: None, machines share their attributes)")
        setattr(self.environment, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: None | int | Iterable[int] = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the batch that returns one entry a machine; the entries asked for."""
        result = getattr(self.environment, method_name)(*method_args, **method_kwargs)
        return [result[i] for i in self._rows(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: None | int | Iterable[int] = None) -> list[bool]:
        """No machine is wrapped."""
        return [False for _ in self._rows(indices)]

    def get_images(self) -> list[Any]:
        """A picture of each machine."""
        return list(self.environment.render() or [None] * self.num_envs)

    def close(self) -> None:
        """Nothing is held open."""
        self.environment.close()
