"""A Stable-Baselines3 `VecEnv` over the batched environments; needs the extra ``agents``."""

import time
from collections.abc import Iterable, Iterator
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

import vcpu_env  # noqa: F401  (registers the ids)
from vcpu_env.envs.batch import HostVectorEnv


def make_sb3(env_id: str, num_envs: int, monitor: bool = True, **arguments: Any) -> "Sb3VecEnv":
    """The batched environment of this id as SB3 takes it: ``MaskablePPO("MlpPolicy", make_sb3(ID, 64))``."""
    environment = gymnasium.make_vec(env_id, num_envs=num_envs, autoreset_mode="SameStep", **arguments)
    return Sb3VecEnv(environment, monitor)


def row(info: dict[str, Any], i: int) -> dict[str, Any]:
    """What a batch's `info` says of machine i, as its single environment would."""
    mine: dict[str, Any] = {}
    for name, value in info.items():
        if name.startswith("_") or not info[f"_{name}"][i]:
            continue
        if isinstance(value, dict):
            mine[name] = row(value, i)
        elif value.dtype == object:
            mine[name] = value[i]
        else:
            mine[name] = value[i].copy() if value.ndim > 1 else value[i].item()
    return mine


class RowInfo(dict[str, Any]):
    """`info` of one machine. What the batch tells is read when it is first looked at: SB3 itself hardly ever does.

    Args:
        batch: the batch's `info`.
        i: the machine.
        known: entries that are there at once.
    """

    __slots__ = ("_batch", "_i")

    def __init__(self, batch: dict[str, Any], i: int, known: dict[str, Any] | None = None):
        super().__init__(known or {})
        self._batch, self._i = batch, i

    def _whole(self) -> dict[str, Any]:
        if self._batch:
            batch, self._batch = self._batch, {}
            for name, value in row(batch, self._i).items():
                self.setdefault(name, value)
        return self

    def __missing__(self, name: str) -> Any:
        if name not in self._batch:
            raise KeyError(name)
        return dict.__getitem__(self._whole(), name)

    def get(self, name: str, default: Any = None) -> Any:
        """As of a dict."""
        return self._whole().get(name, default) if name in self._batch else super().get(name, default)

    def __contains__(self, name: object) -> bool:
        return dict.__contains__(self._whole(), name)

    def __iter__(self) -> Iterator[str]:
        return dict.__iter__(self._whole())

    def __len__(self) -> int:
        return dict.__len__(self._whole())

    def __eq__(self, other: object) -> bool:
        return dict.__eq__(self._whole(), other)

    def __repr__(self) -> str:
        return dict.__repr__(self._whole())

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (self.copy(),)

    def keys(self) -> Any:
        """As of a dict."""
        return dict.keys(self._whole())

    def values(self) -> Any:
        """As of a dict."""
        return dict.values(self._whole())

    def items(self) -> Any:
        """As of a dict."""
        return dict.items(self._whole())

    def copy(self) -> dict[str, Any]:
        """A plain dict."""
        return dict(dict.items(self._whole()))


class Sb3VecEnv(VecEnv):
    """SB3's view of a batched environment: resets at once, ``terminal_observation``, ``TimeLimit.truncated``.

    Args:
        environment: with autoreset mode SAME_STEP.
        monitor: at the end of an episode ``info["episode"]`` has its return, length and time, which SB3 logs.

    Raises:
        ValueError: another autoreset mode, or not a batched environment of this package.
    """

    def __init__(self, environment: Any, monitor: bool = False):
        if not isinstance(environment, HostVectorEnv):
            raise ValueError(f"environment: {type(environment).__name__} (allowed: a batched vcpu_env environment)")
        if environment.autoreset_mode.name != "SAME_STEP":
            raise ValueError(f"autoreset_mode: value {environment.autoreset_mode.value} (allowed: SameStep, for SB3)")
        self.environment = environment
        self.render_mode = environment.render_mode
        self.monitor = monitor
        self._began = time.time()
        self._returns, self._lengths = np.zeros(environment.num_envs), np.zeros(environment.num_envs, np.int64)
        self._actions: Any = None
        super().__init__(environment.num_envs, environment.single_observation_space, environment.single_action_space)

    def reset(self) -> np.ndarray:
        """Begin new episodes everywhere."""
        seeds = self._seeds if any(seed is not None for seed in self._seeds) else None
        options = next((options for options in self._options if options), None)
        observations, info = self.environment.reset(seed=seeds, options=options)
        self._reset_seeds()
        self._reset_options()
        self.reset_infos: list[dict[str, Any]] = [RowInfo(info, i) for i in range(self.num_envs)]
        self._returns[:], self._lengths[:] = 0.0, 0
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Take the actions of the next step."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Do the step. The last `info` of an episode is that of its last step."""
        observations, rewards, _, truncated, info = self.environment.step(self._actions)
        self._returns += rewards
        self._lengths += 1
        infos: list[dict[str, Any]] = [RowInfo(info, i) for i in range(self.num_envs)]
        for i in np.flatnonzero(truncated).tolist():
            known = {"terminal_observation": info["final_obs"][i], "TimeLimit.truncated": True}
            infos[i] = RowInfo(info["final_info"], i, known | self._ended(i))
        return observations, rewards.astype(np.float32), truncated, infos

    def _ended(self, i: int) -> dict[str, Any]:
        """What the monitor says of an episode; the next one begins."""
        seconds = round(time.time() - self._began, 6)
        episode = {"r": round(float(self._returns[i]), 6), "l": int(self._lengths[i]), "t": seconds}
        self._returns[i], self._lengths[i] = 0.0, 0
        return {"episode": episode} if self.monitor else {}

    def action_masks(self) -> np.ndarray:
        """Which actions are legal now: bool, (num_envs, length)."""
        return self.environment.action_masks()

    def _rows(self, indices: None | int | Iterable[int]) -> list[int]:
        return list(self._get_indices(indices))

    def get_attr(self, attr_name: str, indices: None | int | Iterable[int] = None) -> list[Any]:
        """An attribute of the single environments asked for."""
        if attr_name == "action_masks" and not self.environment.actions.nr_candidates:
            raise AttributeError("this environment has no discrete actions, so no masks")
        singles = self.environment.singles()
        return [getattr(singles[i], attr_name) for i in self._rows(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: None | int | Iterable[int] = None) -> None:
        """Set an attribute of the single environments asked for.

        Raises:
            ValueError: one that the environments have by themselves.
        """
        self.environment.set_some(self._rows(indices), attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: None | int | Iterable[int] = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the single environments asked for.

        Raises:
            ValueError: one that would leave the other machines behind.
        """
        return self.environment.call_some(self._rows(indices), method_name, *method_args, **method_kwargs)

    def env_is_wrapped(self, wrapper_class: Any, indices: None | int | Iterable[int] = None) -> list[bool]:
        """No machine is wrapped; the monitor does what SB3's wrapper of that name does."""
        return [self.monitor and wrapper_class is Monitor for _ in self._rows(indices)]

    def get_images(self) -> list[Any]:
        """A picture of each machine."""
        return list(self.environment.render() or [None] * self.num_envs)

    def close(self) -> None:
        """Nothing is held open."""
        self.environment.close()
