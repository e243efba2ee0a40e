"""What the machines of a batch show after a step, and the `info` that Gymnasium makes of as many single ones'."""

import functools
from typing import Any

import numpy as np

from vcpu_env.envs.compiled.types import NR_TERMS, REWARD_TERMS
from vcpu_env.envs.lane import COUNTS, TOTALS


class Shown:
    """Fresh arrays, never handed out twice: a row a machine; of `told` and `counts`, which have a row a name, a column.

    Args:
        count, nr_features, nr_mask: machines, features, length of the mask.
        make: `np.empty`, or `np.zeros`.
    """

    def __init__(self, count: int, nr_features: int, nr_mask: int, make: Any = np.empty):
        self.observations = make((count, nr_features), np.float32)
        self.masks = make((count, nr_mask), np.int8)
        self.rewards = make(count)
        self.truncated = make(count, np.bool_)
        self.times_ns, self.elapsed_ns = make(count, np.int64), make(count, np.int64)
        self.told = make((2 * NR_TERMS, count))
        self.counts = make((len(COUNTS), count), np.int64)

    def arrays(self) -> tuple[np.ndarray, ...]:
        """In the order of `parallel.show`."""
        return (
            self.observations,
            self.masks,
            self.rewards,
            self.truncated,
            self.times_ns,
            self.elapsed_ns,
            self.told,
            self.counts,
        )

    def only(self, machines: np.ndarray) -> "Shown":
        """A copy that is 0 but for some machines; without observations."""
        chosen = Shown(len(self.rewards), 0, self.masks.shape[1], np.zeros)
        for mine, its in zip(self.arrays()[1:-2], chosen.arrays()[1:-2], strict=True):
            its[machines] = mine[machines]
        chosen.told[:, machines], chosen.counts[:, machines] = self.told[:, machines], self.counts[:, machines]
        return chosen

    def info(self, awaited: np.ndarray | None, told: np.ndarray | None = None) -> dict[str, Any]:
        """`info`, nested, a mask for each key.

        Args:
            awaited: the privileged key, if it is shown.
            told: of which machines, a mask; None: of all. Then the arrays are copies, with 0 for the others.
        """
        if told is not None:
            return self.only(np.flatnonzero(told))._info(None if awaited is None else awaited * told, told)
        return self._info(awaited, everywhere(len(self.rewards)))

    def _info(self, awaited: np.ndarray | None, mask: np.ndarray) -> dict[str, Any]:
        values = {
            "time_ns": self.times_ns,
            "elapsed_ns": self.elapsed_ns,
            "reward_terms": dict(zip(REWARD_TERMS, self.told[:NR_TERMS], strict=True)),
            "episode_totals": dict(zip(TOTALS, (*self.told[NR_TERMS:], *self.counts), strict=True)),
        }
        if self.masks.shape[1]:
            values["action_mask"] = self.masks.copy()
        if awaited is not None:
            values["awaited"] = awaited
        return marked(values, mask)


def marked(values: dict[str, Any], told: np.ndarray) -> dict[str, Any]:
    """Nested arrays with the mask of each key: of which machines it is told."""
    info: dict[str, Any] = {}
    for name, value in values.items():
        info[name] = marked(value, told) if isinstance(value, dict) else value
        info[f"_{name}"] = told
    return info


@functools.cache
def everywhere(count: int) -> np.ndarray:
    """The mask of what all machines tell; it can't be written to."""
    mask = np.ones(count, np.bool_)
    mask.flags.writeable = False
    return mask
