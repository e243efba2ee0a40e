"""Action spaces of the environments: what an action may be, how it is checked, how it reaches the machine.

Candidate 0 is nobody, 1 is "as the configured rule would", 2 + i the i-th candidate of the observation. A penalty
scale is chosen by a number a: 0 means the series' own, below it the series' times (1 + a)^2, so none at -1, above it
the series' times `max_penalty_scale` to the power of a.
"""

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import InvalidAction

from vcpu_env.base.errors import shown
from vcpu_env.base.jit import kjit
from vcpu_env.envs.compiled.tuner import CONSTANTS
from vcpu_env.envs.compiled.types import (
    CANDIDATE_CHOICE,
    DIRECTED_YIELD,
    HOST_TUNER,
    JOINT_YIELD,
    PENALTY_SCALE,
    WIDE_YIELD,
)
from vcpu_env.envs.config import EnvConfig
from vcpu_env.kernel.yield_types import (
    BOOST_BORROW,
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

FIRST = np.zeros(1, np.intp)

OTHER_BOOSTS = {
    "credit": BOOST_CREDIT,
    "transfer": BOOST_TRANSFER,
    "plain": BOOST_PLAIN,
    "stay": BOOST_STAY,
    "stay_credit": BOOST_STAY_CREDIT,
}
"""WideYield's boosts after the hint and the penalties."""

BORROW_LEVELS = (1.0, 4.0)
"""Then hints that may be early by so many times the 4 ms of CFS."""


def boosts(kind: int, levels: tuple[float, ...]) -> list[tuple[str, int, float]]:
    """What the second dimension of a discrete action means: (name, boost, penalty scale) of each value."""
    if kind == JOINT_YIELD:
        return [(f"penalty_{level:g}", BOOST_RULE, level) for level in levels]
    if kind == WIDE_YIELD:
        penalties = [(f"penalty_{level:g}", BOOST_PENALTY, level) for level in levels if level > 0]
        others = [(name, boost, 1.0) for name, boost in OTHER_BOOSTS.items()]
        borrows = [(f"borrow_{level:g}", BOOST_BORROW, level) for level in BORROW_LEVELS]
        return [("hint", BOOST_HINT, 1.0), *penalties, *others, *borrows]
    return []


def one_boost(name: str) -> tuple[str, int, float]:
    """The boost of a name: one of WideYield's, or "rule"."""
    wide = boosts(WIDE_YIELD, (1.0,))
    return next((boost for boost in wide if boost[0] == name), ("rule", BOOST_RULE, 1.0))


@kjit
def encode_discrete(actions, sizes, masks, which, strict, encoded):
    """Copy actions, (count, width), into `encoded`. Returns whether all are in the space and, if strict, legal."""
    fits = True
    for i in range(len(actions)):
        for j in range(len(sizes)):
            fits = fits and 0 <= actions[i, j] < sizes[j]
            encoded[i, j] = actions[i, j]
    if fits and strict:
        for i in which:
            fits = fits and masks[i, actions[i, 0]] != 0
    return fits


class Actions:
    """The actions of one kind of environment.

    Attributes:
        space: as Gymnasium sees them.
        nr_candidates: how many values the candidate has, nobody and the rule included; 0: it is not chosen.
        mask_length: of the flat mask; 0: there is none.
        width: numbers that an action is to the machine.
        sizes: of each of these how many values it has, if all are discrete.
    """

    def __init__(self, kind: int, config: EnvConfig):
        self.kind, self.strict = kind, config.strict
        self.nr_candidates = 0 if kind in (PENALTY_SCALE, HOST_TUNER) else FIRST_CANDIDATE + config.nr_candidates
        self.nr_boosts = len(boosts(kind, config.penalty_levels))
        self.mask_length = self.nr_candidates + self.nr_boosts
        self.sizes: np.ndarray | None = None
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
        if self.nr_candidates and kind != DIRECTED_YIELD:
            self.sizes = np.array((self.nr_candidates, self.nr_boosts)[: self.width])

    def put(self, action: Any, mask: np.ndarray, out: np.ndarray) -> None:
        """Write one action to where the machine reads it; `mask` says what is legal.

        Raises:
            InvalidAction: wrong shape, not a number, out of range, or (strict) a candidate that is not there.
        """
        whole = type(action) is int or isinstance(action, np.integer)
        if self.kind == CANDIDATE_CHOICE and whole and 0 <= action < self.nr_candidates:
            if mask[action] or not self.strict:
                out[0] = action
                return
        encoded = self.encode(action, 1)
        self.check_legal(encoded, mask[None], FIRST)
        out[: self.width] = encoded[0]

    def checked(self, actions: Any, masks: np.ndarray, which: np.ndarray) -> np.ndarray:
        """A batch of actions as `encode` returns them, legal in the environments `which`; quick where they are.

        Raises:
            InvalidAction: as of `encode` and `check_legal`.
        """
        count = len(masks)
        if self.sizes is not None and isinstance(actions, np.ndarray) and actions.dtype == np.int64:
            if actions.ndim <= 2 and actions.size == count * self.width and actions.shape[:1] == (count,):
                encoded = np.empty((count, self.width))
                if encode_discrete(actions.reshape(encoded.shape), self.sizes, masks, which, self.strict, encoded):
                    return encoded
        encoded = self.encode(actions, count)
        self.check_legal(encoded, masks, which)
        return encoded

    def encode(self, action: Any, count: int) -> np.ndarray:
        """`count` actions, stacked as Gymnasium batches them, as float64 of shape (count, width).

        Raises:
            InvalidAction: wrong shape, not a number, or out of range.
        """
        if self.kind == DIRECTED_YIELD:
            if not isinstance(action, dict) or set(action) != {"candidate", "penalty_scale"}:
                raise InvalidAction(
                    f"action: value {shown(action)} (allowed: a dict of 'candidate' and 'penalty_scale')"
                )
            candidates = self._discrete("candidate", action["candidate"], (count,), (self.nr_candidates,))
            scales = self._continuous("penalty_scale", action["penalty_scale"], (count, 1))
            return np.column_stack([candidates, scales])
        if not self.nr_candidates:
            return self._continuous("action", action, (count, self.width))
        assert self.sizes is not None
        return self._discrete("action", action, (count, self.width), tuple(self.sizes)).astype(np.float64)

    @staticmethod
    def _numbers(name: str, given: Any, shape: tuple[int, ...], kinds: str, what: str) -> np.ndarray:
        """The array that was given, if it is one of this size and kind of number."""
        try:
            array = np.asarray(given)
        except ValueError:
            array = np.empty(0, object)
        fits = array.shape == shape or [n for n in array.shape if n != 1] == [n for n in shape if n != 1]
        if array.dtype.kind not in kinds or not fits or array.ndim > len(shape):
            wanted = shape[1:] if shape[0] == 1 else shape[:1] if shape[1:] == (1,) and what == "integers" else shape
            raise InvalidAction(f"{name}: value {shown(given)} (allowed: {what} of shape {wanted or '()'})")
        return array.reshape(shape)

    def _continuous(self, name: str, given: Any, shape: tuple[int, ...]) -> np.ndarray:
        values = self._numbers(name, given, shape, "fiu", "numbers").astype(np.float64)
        if not (np.abs(values) <= 1.0).all():
            raise InvalidAction(f"{name}: value {shown(values.tolist())} (allowed: -1..1)")
        return values

    def _discrete(self, name: str, given: Any, shape: tuple[int, ...], sizes: tuple[int, ...]) -> np.ndarray:
        values = self._numbers(name, given, shape, "iu", "integers")
        if values.min() < 0 or (values >= sizes).any():
            allowed = " and ".join(f"0..{size - 1}" for size in sizes)
            raise InvalidAction(f"{name}: value {shown(values.tolist())} (allowed: {allowed})")
        return values

    def check_legal(self, actions: np.ndarray, masks: np.ndarray, which: np.ndarray) -> None:
        """In strict mode, refuse candidates that are not there, of environments `which`. `masks`: (count, mask_length).

        Raises:
            InvalidAction: naming the environment's number, the candidate and what is allowed.
        """
        if not self.strict or not self.nr_candidates:
            return
        legal = masks[which, actions[which, 0].astype(np.intp)]
        if not legal.all():
            i = which[np.argmin(legal)]
            allowed = ", ".join(map(str, np.flatnonzero(masks[i, : self.nr_candidates])))
            where = f"environment {i}: " if len(masks) > 1 else ""
            chosen = int(actions[i, 0])
            raise InvalidAction(f"{where}candidate: value {chosen} (allowed now: {allowed}; see action_masks())")

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
