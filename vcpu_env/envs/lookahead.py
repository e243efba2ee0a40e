"""Search by forking: try every action on a copy of the machine, let the configured rule go on, keep the best.

A ceiling, no policy: it sees the future, the guests' random demands included. One copy and its run cost some hundred
microseconds, so it is for short episodes, or for a few of the decisions (`decision_filter`).
"""

from typing import Any

import numpy as np

from vcpu_env.base.interrupts import INTERRUPTED
from vcpu_env.base.jit import kjit
from vcpu_env.base.timeline import machine_clock
from vcpu_env.engine.loop import run_until
from vcpu_env.engine.state import STOPPED_AT_DECISION
from vcpu_env.envs.compiled.reward import earned
from vcpu_env.envs.compiled.step import answer_as_rule, take_action
from vcpu_env.envs.compiled.types import DIRECTED_YIELD, HOST_TUNER, PENALTY_SCALE, env_state
from vcpu_env.envs.host_env import HostEnv

SCALES = (0.0, -1.0, -0.8, -0.5, 0.5, 1.0)
"""The numbers that are tried for a penalty scale; the series' own first, which wins where all earn the same."""


@kjit
def value_of(words, copy, w, first, second, horizon_ns):
    """What the machine `words` earns by one action in `horizon_ns`; `copy`, with the handle `w`, is overwritten."""
    copy[:] = words
    before = earned(w)
    state = env_state(w)
    state.action[0], state.action[1] = first, second
    end_ns = machine_clock(w).now_ns + horizon_ns
    take_action(w)
    status = run_until(w, end_ns)
    while status == STOPPED_AT_DECISION or status == INTERRUPTED:  # signals wait: it is short
        if status == STOPPED_AT_DECISION:
            answer_as_rule(w)
        status = run_until(w, end_ns)
    return earned(w) - before


class Lookahead:
    """Chooses the action that earns most within a horizon if the rule decides afterwards; the first of equals.

    Args:
        environment: any but HostTuner. Of a penalty scale some numbers are tried (`SCALES`), of the rest everything.
        horizon_ns: how far each try is followed.

    Raises:
        ValueError: another environment, or a horizon below 1.
    """

    def __init__(self, environment: HostEnv, horizon_ns: int = 200_000):
        if environment.kind == HOST_TUNER:
            raise ValueError("environment: HostTuner (allowed: one whose agent answers decisions)")
        if horizon_ns < 1:
            raise ValueError(f"horizon_ns: value {horizon_ns} (allowed: 1 or more)")
        self.environment, self.horizon_ns = environment, horizon_ns
        self._copy = environment.lane.running.fork()

    def numbers(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """What is tried as the first and as the second number of an action."""
        kind, actions = self.environment.kind, self.environment.actions
        if kind == PENALTY_SCALE:
            return SCALES, (0.0,)
        first = tuple(map(float, range(actions.nr_candidates)))
        return first, SCALES if kind == DIRECTED_YIELD else tuple(map(float, range(max(actions.nr_boosts, 1))))

    def values(self) -> np.ndarray:
        """What each action would earn, an entry for each pair of `numbers`; -inf where the candidate is not there."""
        lane = self.environment.lane
        machine, (firsts, seconds) = lane.running, self.numbers()
        if self._copy.world.words.size != machine.world.words.size:
            self._copy = machine.fork()
        chooses = self.environment.kind != PENALTY_SCALE
        values = np.full((len(firsts), len(seconds)), -np.inf)
        for i, first in enumerate(firsts):
            if chooses and not lane.mask[i]:
                continue
            for j, second in enumerate(seconds[:1] if chooses and not i else seconds):  # nobody is boosted in one way
                values[i, j] = value_of(
                    machine.world.words, self._copy.world.words, self._copy.world.handle,
                    first, second, self.horizon_ns,
                )  # fmt: skip
        return values

    def choose(self) -> Any:
        """The best action, as `step` takes it."""
        values = self.values()
        i, j = np.unravel_index(np.argmax(values), values.shape)
        firsts, seconds = self.numbers()
        kind = self.environment.kind
        if kind == PENALTY_SCALE:
            return np.array([firsts[i]], np.float32)
        if kind == DIRECTED_YIELD:
            return {"candidate": int(i), "penalty_scale": np.array([seconds[j]], np.float32)}
        return np.array([i, j]) if self.environment.actions.nr_boosts else int(i)
