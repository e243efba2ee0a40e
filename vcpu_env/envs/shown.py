"""What the machines of a batch show after a step, and the `info` that Gymnasium makes of as many single ones'."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vcpu_env.envs.compiled.types import NR_TERMS, REWARD_TERMS
from vcpu_env.envs.lane import COUNTS

NR_ACCOUNTS = 2 * NR_TERMS + len(COUNTS)
"""Columns of `Shown.accounts`: the terms of the step, their totals since the episode began, the counts."""


class Shown:
    """Fresh arrays, one row a machine, never handed out twice."""

    def __init__(self, count: int, nr_features: int, nr_mask: int):
        self.observations = np.empty((count, nr_features), np.float32)
        self.masks = np.empty((count, nr_mask), np.int8)
        self.rewards = np.empty(count)
        self.truncated = np.empty(count, np.bool_)
        self.times_ns, self.elapsed_ns = np.empty(count, np.int64), np.empty(count, np.int64)
        self.accounts = np.empty((count, NR_ACCOUNTS), np.int64)

    def arrays(self) -> tuple[np.ndarray, ...]:
        """In the order of `parallel.show`."""
        return (
            self.observations,
            self.masks,
            self.rewards,
            self.truncated,
            self.times_ns,
            self.elapsed_ns,
            self.accounts,
        )

    def info(self, units: np.ndarray, awaited: np.ndarray | None, told: np.ndarray | None = None) -> dict[str, Any]:
        """`info`, nested, a mask for each key.

        Args:
            units: of the reward's terms, (machines, terms).
            awaited: the privileged key, if it is shown.
            told: of which machines; None: of all. Then the arrays are copies, with 0 for the others.
        """
        totals = columns(REWARD_TERMS, self.accounts[:, NR_TERMS : 2 * NR_TERMS] * units)
        values = {
            "time_ns": self.times_ns,
            "elapsed_ns": self.elapsed_ns,
            "reward_terms": columns(REWARD_TERMS, self.accounts[:, :NR_TERMS] * units),
            "episode_totals": totals | columns(COUNTS, self.accounts[:, 2 * NR_TERMS :]),
        }
        if self.masks.shape[1]:
            values["action_mask"] = self.masks.copy()
        if awaited is not None:
            values["awaited"] = awaited
        if told is None:
            return marked(values, everywhere(len(self.rewards)))
        return marked(only(values, told), told)


def columns(names: Sequence[str], table: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of a table by name."""
    return dict(zip(names, table.T, strict=True))


def only(values: dict[str, Any], told: np.ndarray) -> dict[str, Any]:
    """A copy of nested arrays that is 0 but for the rows of some machines."""
    chosen: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            chosen[name] = only(value, told)
        else:
            chosen[name] = np.zeros_like(value)
            chosen[name][told] = value[told]
    return chosen


def marked(values: dict[str, Any], told: np.ndarray) -> dict[str, Any]:
    """Nested arrays with the mask of each key: of which machines it is told."""
    info: dict[str, Any] = {}
    for name, value in values.items():
        info[name] = marked(value, told) if isinstance(value, dict) else value
        info[f"_{name}"] = told
    return info


def everywhere(count: int) -> np.ndarray:
    """The mask of what all machines tell; it can't be written to."""
    mask = np.ones(count, np.bool_)
    mask.flags.writeable = False
    return mask
