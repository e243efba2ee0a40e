"""What a reset of a batch is given: which of its machines begin, and their seeds."""

from typing import Any

import numpy as np

from vcpu_env.base.errors import shown
from vcpu_env.envs.config import EnvConfigError


def chosen_machines(mask: Any, num_envs: int) -> np.ndarray:
    """The numbers of the machines that begin, of ``options["reset_mask"]``.

    Raises:
        EnvConfigError: it is not as many booleans, one of them true.
    """
    given = mask.tolist() if isinstance(mask, np.ndarray) else mask
    several = isinstance(given, list | tuple) and len(given) == num_envs
    if not several or not all(isinstance(one, bool | np.bool_) for one in given) or not any(given):
        raise EnvConfigError(f"reset_mask: value {shown(mask)} (allowed: {num_envs} booleans, one of them true)")
    return np.flatnonzero(given)


def seeds_of(seed: int | list[int | None] | None, num_envs: int) -> list[int | None]:
    """The seed of each machine: of one number, it and those that follow.

    Raises:
        EnvConfigError: it is neither one seed nor as many.
    """
    given: Any = seed
    if is_seed(seed):
        given = [None if given is None else int(given) + i for i in range(num_envs)]
    several = isinstance(given, list | tuple) and len(given) == num_envs
    if not several or not all(map(is_seed, given)):
        raise EnvConfigError(f"seed: value {shown(seed)} (allowed: an integer from 0, or {num_envs} of them)")
    return [None if one is None else int(one) for one in given]


def is_seed(value: Any) -> bool:
    """Whether this seeds one environment."""
    return value is None or (isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= 0))
