"""Action spaces of the environments: what an action may be, how it is checked, how it reaches the machine.

Candidate 0 is nobody, 1 is "as the configured rule would", 2 + i the i-th candidate of the observation. A penalty
action -1 means no penalty, 0 the series' own, otherwise `max_penalty_scale` to its power.
"""

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import InvalidAction

from vcpu_env.envs.config import EnvConfig
from vcpu_env.envs.tuner import CONSTANTS
from vcpu_env.envs.types import (
    CANDIDATE_CHOICE,
    DIRECTED_YIELD,
    HOST_TUNER,
    JOINT_YIELD,
    PENALTY_SCALE,
    WIDE_YIELD,
)
from vcpu_env.policy.types import (
    BOOST_CREDIT,
    BOOST_HINT,
    BOOST_PENALTY,
    BOOST_PLAIN,
    BOOST_RULE,
    BOOST_STAY,
    BOOST_STAY_CREDIT,
    BOOST_TRANSFER,
)
from vcpu_env.policy.view import FIRST_CANDIDATE

OTHER_BOOSTS = {
    "credit": BOOST_CREDIT,
    "transfer": BOOST_TRANSFER,
    "plain": BOOST_PLAIN,
    "stay": BOOST_STAY,
    "stay_credit": BOOST_STAY_CREDIT,
}
"""WideYield's boosts after the hint and the penalties."""


def boosts(kind: int, levels: tuple[float, ...]) -> list[tuple[str, int, float]]:
    """What the second dimension of a discrete action means: (name, boost, penalty scale) of each value."""
    if kind == JOINT_YIELD:
        return [(f"penalty_{level:g}", BOOST_RULE, level) for level in levels]
    if kind == WIDE_YIELD:
        penalties = [(f"penalty_{level:g}", BOOST_PENALTY, level) for level in levels if level > 0]
        return [("hint", BOOST_HINT, 1.0), *penalties, *((name, boost, 1.0) for name, boost in OTHER_BOOSTS.items())]
    return []


class Actions:
    """The actions of one kind of environment.

    Attributes:
        space: as Gymnasium sees them.
        nr_candidates: how many values the candidate has, nobody and the rule included; 0: it is not chosen.
        mask_length: of the flat mask; 0: there is none.
        width: numbers that an action is to the machine.
    """

    def __init__(self, kind: int, config: EnvConfig):
        self.kind, self.strict = kind, config.strict
        self.nr_candidates = 0 if kind in (PENALTY_SCALE, HOST_TUNER) else FIRST_CANDIDATE + config.nr_candidates
        self.nr_boosts = len(boosts(kind, config.penalty_levels))
        self.mask_length = self.nr_candidates + self.nr_boosts
        self.space: spaces.Space[Any]
        if kind in (PENALTY_SCALE, HOST_TUNER):
            self.width = 1 if kind == PENALTY_SCALE else len(CONSTANTS)
            self.space = spaces.Box(-1.0, 1.0, (self.width,), np.float32)
        elif kind == CANDIDATE_CHOICE:
            self.width, self.space = 1, spaces.Discrete(self.nr_candidates)
        elif kind == DIRECTED_YIELD:
            scale = spaces.Box(-1.0, 1.0, (1,), np.float32)
            self.width = 2
            self.space = spaces.Dict(candidate=spaces.Discrete(self.nr_candidates), penalty_scale=scale)
        else:
            self.width, self.space = 2, spaces.MultiDiscrete([self.nr_candidates, self.nr_boosts])

    def put(self, action: Any, mask: np.ndarray, out: np.ndarray) -> None:
        """Write one action to where the machine reads it; `mask` says what is legal.

        Raises:
            InvalidAction: wrong shape, not a number, out of range, or (strict) a candidate that is not there.
        """
        if self.kind == CANDIDATE_CHOICE and isinstance(action, int | np.integer) and 0 <= action < self.nr_candidates:
            if mask[action] or not self.strict:
                out[0] = action
                return
        encoded = self.encode(action, 1)
        self.check_legal(encoded, mask[None])
        out[: self.width] = encoded[0]

    def encode(self, action: Any, count: int) -> np.ndarray:
        """`count` actions, stacked as Gymnasium batches them, as float64 of shape (count, width).

        Raises:
            InvalidAction: wrong shape, not a number, or out of range.
        """
        out = np.empty((count, self.width))
        if self.kind == DIRECTED_YIELD:
            if not isinstance(action, dict) or set(action) != {"candidate", "penalty_scale"}:
                raise InvalidAction(f"action: value {action!r} (allowed: a dict of 'candidate' and 'penalty_scale')")
            out[:, 0] = self._numbers("candidate", action["candidate"], (count,), np.integer)
            out[:, 1:] = self._numbers("penalty_scale", action["penalty_scale"], (count, 1), np.number)
            self._check_range("penalty_scale", out[:, 1:])
        elif self.nr_candidates:
            out[:] = self._numbers("action", action, (count, self.width), np.integer)
        else:
            out[:] = self._numbers("action", action, (count, self.width), np.number)
            self._check_range("action", out)
        if self.nr_boosts:
            self._check_below("action: second value", out[:, 1], self.nr_boosts)
        if self.nr_candidates:
            self._check_below("action: candidate", out[:, 0], self.nr_candidates)
        return out

    @staticmethod
    def _numbers(name: str, given: Any, shape: tuple[int, ...], kind: type) -> np.ndarray:
        """The array that was given, if it is one of this size and kind of number."""
        try:
            array = np.asarray(given)
        except ValueError:
            array = np.empty(0, object)
        fits = [n for n in array.shape if n != 1] == [n for n in shape if n != 1] and array.ndim <= len(shape)
        if not fits or not np.issubdtype(array.dtype, kind) or np.iscomplexobj(array):
            what = "integers" if kind is np.integer else "numbers"
            raise InvalidAction(f"{name}: value {given!r} (allowed: {what} of shape {shape[1:] or '()'})")
        return array.reshape(shape)

    @staticmethod
    def _check_range(name: str, values: np.ndarray) -> None:
        if not (np.abs(values) <= 1.0).all():
            raise InvalidAction(f"{name}: value {values.tolist()} (allowed: -1..1)")

    @staticmethod
    def _check_below(name: str, values: np.ndarray, end: int) -> None:
        if ((values < 0) | (values >= end)).any():
            raise InvalidAction(f"{name} {values.astype(int).tolist()} (allowed: 0..{end - 1})")

    def check_legal(self, actions: np.ndarray, masks: np.ndarray, numbers: np.ndarray | None = None) -> None:
        """In strict mode, refuse candidates that are not there. `masks`: (count, mask_length).

        `numbers`: of the environments, for the message.

        Raises:
            InvalidAction: naming the environment's number, the candidate and what is allowed.
        """
        if not self.strict or not self.nr_candidates:
            return
        candidates = actions[:, 0].astype(np.intp)
        legal = masks[np.arange(len(actions)), candidates]
        if not legal.all():
            i = int(np.argmin(legal))
            allowed = ", ".join(map(str, np.flatnonzero(masks[i, : self.nr_candidates])))
            where = "" if numbers is None else f"environment {numbers[i]}: "
            raise InvalidAction(f"{where}candidate: value {candidates[i]} (allowed now: {allowed}; see action_masks())")

    def sample_masks(self, mask: np.ndarray) -> Any:
        """A flat mask in the form that ``action_space.sample(mask=...)`` takes; None if there is no mask."""
        if not self.nr_candidates:
            return None
        candidates = mask[: self.nr_candidates].astype(np.int8)
        if self.kind == DIRECTED_YIELD:
            return {"candidate": candidates, "penalty_scale": None}
        if self.nr_boosts:
            return candidates, mask[self.nr_candidates :].astype(np.int8)
        return candidates
