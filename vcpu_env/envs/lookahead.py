"""Search by forking: try every action on a copy of the machine, let the configured rule go on, keep the best.

A ceiling, no policy: it sees the future, the guests' random demands included. One copy and its run cost some hundred
microseconds, so it is for short episodes, or for a few of the decisions (`decision_filter`).
"""

import numpy as np

from vcpu_env.base.interrupts import INTERRUPTED
from vcpu_env.base.jit import kjit
from vcpu_env.base.timeline import machine_clock
from vcpu_env.engine.loop import run_until
from vcpu_env.engine.state import STOPPED_AT_DECISION
from vcpu_env.envs.compiled.reward import earned
from vcpu_env.envs.compiled.step import answer_as_rule, take_action
from vcpu_env.envs.compiled.types import env_state
from vcpu_env.envs.host_env import HostEnv


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
        environment: one with discrete actions (CandidateChoice, JointYield, WideYield).
        horizon_ns: how far each try is followed.

    Raises:
        ValueError: other actions, or a horizon below 1.
    """

    def __init__(self, environment: HostEnv, horizon_ns: int = 200_000):
        actions = environment.actions
        if not actions.nr_candidates or actions.mask_length - actions.nr_boosts != actions.nr_candidates:
            raise ValueError(
                "environment: its actions are not discrete (allowed: CandidateChoice, JointYield, WideYield)"
            )
        if horizon_ns < 1:
            raise ValueError(f"horizon_ns: value {horizon_ns} (allowed: 1 or more)")
        self.environment, self.horizon_ns = environment, horizon_ns
        self._copy = environment.lane.running.fork()

    def values(self) -> np.ndarray:
        """What each action would earn, (candidates, second values); -inf where the candidate is not there."""
        lane, actions = self.environment.lane, self.environment.actions
        machine = lane.running
        if self._copy.world.words.size != machine.world.words.size:
            self._copy = machine.fork()
        shape = (actions.nr_candidates, max(actions.nr_boosts, 1))
        values = np.full(shape, -np.inf)
        for first in np.flatnonzero(lane.mask[: actions.nr_candidates]):
            for second in range(shape[1] if first else 1):  # nobody is boosted in one way only
                values[first, second] = value_of(
                    machine.world.words, self._copy.world.words, self._copy.world.handle,
                    float(first), float(second), self.horizon_ns,
                )  # fmt: skip
        return values

    def choose(self) -> int | np.ndarray:
        """The best action, as `step` takes it."""
        values = self.values()
        first, second = np.unravel_index(np.argmax(values), values.shape)
        return np.array([first, second]) if self.environment.actions.nr_boosts else int(first)
