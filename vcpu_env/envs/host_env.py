"""The environments, one machine each. What they have in common is `HostEnv`; a subclass says which decision is its."""

import copy
import functools
from typing import Any, ClassVar, Self

import gymnasium
import numpy as np
from gymnasium import spaces

from vcpu_env.base.interrupts import INTERRUPTED, heard
from vcpu_env.base.jit import call
from vcpu_env.engine.state import FAILED
from vcpu_env.envs.action import Actions
from vcpu_env.envs.compiled.observe import bounds
from vcpu_env.envs.compiled.step import env_begin, env_step, env_step_begin, env_step_end, env_step_part
from vcpu_env.envs.compiled.tuner import TUNER_FEATURES
from vcpu_env.envs.compiled.types import (
    CANDIDATE_CHOICE,
    DIRECTED_YIELD,
    HOST_TUNER,
    JOINT_YIELD,
    PENALTY_SCALE,
    WIDE_YIELD,
)
from vcpu_env.envs.config import USUAL, EnvConfig, checked_render_mode, env_config, kernels_of, rule_of, scenario_mix
from vcpu_env.envs.drawing.gantt import Gantt
from vcpu_env.envs.drawing.render import Window, ansi, rgb_array
from vcpu_env.envs.lane import REWARD, TRUNCATED, Lane, Snapshot, arguments_of
from vcpu_env.envs.start import nr_features
from vcpu_env.machine import Machine
from vcpu_env.policy.named import Policy

ARGUMENTS = ("scenario", "rule", "render_mode")


def observation_space(kind: int, config: EnvConfig) -> spaces.Box:
    """The observations of one kind of environment."""
    if kind == HOST_TUNER:
        low = np.array([feature.low for feature in TUNER_FEATURES], np.float32)
        return spaces.Box(low, np.ones(len(low), np.float32), dtype=np.float32)
    low, high = bounds(config.nr_candidates)
    assert len(low) == nr_features(kind, config)
    return spaces.Box(low, high, dtype=np.float32)


class HostEnv(gymnasium.Env[np.ndarray, Any]):
    """A simulated host whose directed yields an agent decides.

    Args:
        scenario: name of a shipped scenario, a TOML file, a `Scenario`, or a list of these or of (scenario, weight)
            that episodes are drawn from.
        rule: policy that answers what the agent does not.
        render_mode: "ansi", "rgb_array", "human" or None.
        **arguments: see `vcpu_env.envs.config.EnvConfig`.

    Raises:
        EnvConfigError: an argument that is not allowed.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array", "human"], "render_fps": 25}
    kind: ClassVar[int]
    scenario: ClassVar[str] = "dedup-2vm"
    usual_rule: ClassVar[str] = "series-v2"
    defaults: ClassVar[dict[str, Any]] = {}

    def __init__(
        self, scenario: Any = USUAL, rule: Policy | str = USUAL, render_mode: str | None = None, **arguments: Any
    ):
        self.config = env_config(self.defaults, arguments, ARGUMENTS)
        self.rule = rule_of(self.usual_rule if rule is USUAL else rule, self.config.privileged)
        self.mix = scenario_mix(self.scenario if scenario is USUAL else scenario)
        self.metadata = {**type(self).metadata, "kernels": kernels_of(self.mix, self.rule)}
        self.render_mode = checked_render_mode(render_mode, self.metadata["render_modes"])
        self.actions = Actions(self.kind, self.config)
        self.action_space = self.actions.space
        self.observation_space = observation_space(self.kind, self.config)
        self.lane = Lane(self.kind, self.mix, self.rule, self.config)
        self._gantt = Gantt() if render_mode else None
        self._window: Window | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode. ``options={"scenario": ...}`` chooses its scenario."""
        super().reset(seed=seed)
        lane = self.lane
        episode = lane.draw(self.np_random, options)
        lane.load(episode.origin)
        self._run(env_begin, episode.seed, episode.jitter_ns)
        if self.config.over_rule:
            lane.follow_rule()
        if self._gantt is not None:
            self._gantt.clear()
            self._watch()
        return lane.observation.copy(), lane.info(self.actions)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Answer the decision and go on to the next.

        Raises:
            InvalidAction: the action is not in the action space, or (strict) its candidate is not there.
            ResetNeeded: no episode is under way.
        """
        lane, actions = self.lane, self.actions
        lane.check_running()
        actions.put(action, lane.mask, lane.action)
        if self._gantt is None:
            self._run(env_step)
        else:
            self._step_watched(self._gantt)
        lane.over = lane.integers.item(TRUNCATED) != 0
        return lane.observation.copy(), lane.floats.item(REWARD), False, lane.over, lane.info(actions)

    def _run(self, entry: Any, *arguments: int) -> None:
        """Call an entry point of the machine. If a signal's handler raises meanwhile, the episode is over."""
        machine = self.lane.running
        try:
            while (status := call(entry, machine.world.handle, *arguments)) == INTERRUPTED:
                heard()
        except BaseException:
            self.lane.over = True
            raise
        if status == FAILED:
            self.lane.over = True
            machine.check()

    def _step_watched(self, gantt: Gantt) -> None:
        """A step in parts, with a look at the machine whenever a sample of the picture is due."""
        handle = self.lane.running.world.handle
        self._run(env_step_begin)
        self.lane.over = True  # should a signal's handler raise
        while going := call(env_step_part, handle, gantt.next_ns):
            if going == INTERRUPTED:
                heard()
            else:
                gantt.sample(self.machine.world, self.machine.now_ns)
        self.lane.over = False
        self._run(env_step_end)
        self._watch()

    def _watch(self) -> None:
        """Note for the picture what the machine does now; mode "human" shows it."""
        if self._gantt is not None:
            self._gantt.sample(self.machine.world, self.machine.now_ns)
            if self.render_mode == "human":
                self._show(self._gantt)

    def _show(self, gantt: Gantt) -> None:
        if self._window is None:
            self._window = Window(type(self).__name__)
        self._window.show(rgb_array(gantt, self._title()))

    def _title(self) -> str:
        useful = self.lane.totals()["useful"]
        return f"{self.machine.scenario.name}, rule {self.rule.name}: {useful:.2f} ms a CPU of useful guest time"

    def render(self) -> Any:
        """The last 40 ms, every CPU a row: "ansi" a string, "rgb_array" uint8 (height, width, 3), "human" a window."""
        self.lane.running  # noqa: B018  (raises before the first reset)
        if self._gantt is None:
            allowed = ", ".join(self.metadata["render_modes"])
            gymnasium.logger.warn(f"render: made without a render_mode (allowed: {allowed})")
        elif self.render_mode == "ansi":
            return ansi(self._gantt, self._title())
        elif self.render_mode == "rgb_array":
            return rgb_array(self._gantt, self._title())
        else:
            self._show(self._gantt)
        return None

    def close(self) -> None:
        """Close the window, if there is one. The episode is over."""
        self.lane.over = True
        if self._window is not None:
            self._window.close()
            self._window = None

    @property
    def machine(self) -> Machine:
        """The machine, to read counters from."""
        return self.lane.running

    def action_masks(self) -> np.ndarray:
        """Which actions are legal now: bool, flat, concatenated over the dimensions, as sb3-contrib wants it."""
        self.lane.running  # noqa: B018  (raises before the first reset)
        if not self.actions.nr_candidates:
            raise AttributeError(f"{type(self).__name__} has no discrete actions, so no masks")
        return self.lane.mask.astype(bool)

    def sample_masks(self) -> Any:
        """The same in the form that ``action_space.sample(mask=...)`` takes."""
        self.lane.running  # noqa: B018
        return self.actions.sample_masks(self.lane.mask)

    @functools.cached_property
    def _arguments(self) -> str:
        return arguments_of(type(self).__name__, self.mix, self.rule, self.config)

    def snapshot(self) -> Snapshot:
        """The whole state as a value: it can be pickled, and restored in another environment with equal arguments."""
        return self.lane.snapshot(self.np_random, self._arguments)

    def restore(self, snapshot: Snapshot) -> tuple[np.ndarray, dict[str, Any]]:
        """Go on from a snapshot. Returns the observation and info there.

        Raises:
            SnapshotError: it is damaged, or of another version, layout or configuration; nothing has changed.
        """
        random = self.lane.restore(snapshot, self._arguments)
        self.np_random.bit_generator.state = random.bit_generator.state
        if self._gantt is not None:
            self._gantt.clear()
            self._watch()
        return self.lane.observation.copy(), self.lane.info(self.actions)

    def fork(self) -> Self:
        """An independent environment in the same state, with the same future; so is a copy by ``copy.deepcopy``."""
        return copy.deepcopy(self, {id(self.spec): self.spec})

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: a copy opens a window of its own."""
        self.np_random  # noqa: B018  (drawn now, or the copy would draw another)
        return self.__dict__ | {"_window": None}


class DirectedYieldEnv(HostEnv):
    """Whom to yield to, and at which price.

    ## Action Space
    A dict of ``candidate`` (0 nobody, 1 as the rule would, 2 + i the i-th candidate) and ``penalty_scale``, a in -1..1:
    where a penalty is computed, the series' own times (1 + a)^2 below 0, times ``max_penalty_scale**a`` above.

    ## Observation Space
    `observe.FEATURES`, then `observe.CANDIDATE_FEATURES` of K candidates, float32 within -1..1.

    ## Rewards
    Change of the host-wide terms, weighted (``reward``).

    ## Starting State
    A machine warmed up under the rule, its random streams keyed by the seed.

    ## Episode End
    Truncation after ``horizon_ns`` (4 ms) or ``max_decisions``; never terminated.

    ## Arguments
    See `HostEnv`; ``docs/environments/directed_yield.md``.
    """

    kind = DIRECTED_YIELD
    scenario = "host-libvirt"
    usual_rule = "series-v2-no-limiter"
    defaults: ClassVar[dict[str, Any]] = {"horizon_ns": 4_000_000}


class PenaltyScaleEnv(HostEnv):
    """How large the penalty is, where the series computes one.

    ## Action Space
    ``Box(-1, 1, (1,))``: the series' own penalty times (1 + a)^2 below 0, so none at -1, above 0 times
    ``max_penalty_scale**a``.

    ## Observation Space
    `observe.FEATURES`, then `observe.CANDIDATE_FEATURES` of K candidates, float32 within -1..1.

    ## Rewards
    Change of the host-wide terms, weighted (``reward``).

    ## Starting State
    A machine warmed up under the rule, its random streams keyed by the seed.

    ## Episode End
    Truncation after ``horizon_ns`` (4 ms) or ``max_decisions``; never terminated.

    ## Arguments
    See `HostEnv`; ``docs/environments/penalty_scale.md``.
    """

    kind = PENALTY_SCALE
    scenario = "host-libvirt"
    usual_rule = "series-v2-no-limiter"
    defaults: ClassVar[dict[str, Any]] = {"horizon_ns": 4_000_000}


class CandidateChoiceEnv(HostEnv):
    """Whom to yield to.

    ## Action Space
    ``Discrete(K + 2)`` with a mask: 0 nobody, 1 as the rule would, 2 + i the i-th candidate.

    ## Observation Space
    `observe.FEATURES`, then `observe.CANDIDATE_FEATURES` of K candidates, float32 within -1..1.

    ## Rewards
    Change of the host-wide terms, weighted (``reward``).

    ## Starting State
    A machine warmed up under the rule, its random streams keyed by the seed.

    ## Episode End
    Truncation after ``horizon_ns`` (3 ms) or ``max_decisions``; never terminated.

    ## Arguments
    See `HostEnv`; ``docs/environments/candidate_choice.md``.
    """

    kind = CANDIDATE_CHOICE
    scenario = "dedup-4vm"
    usual_rule = "strict-borrow"
    defaults: ClassVar[dict[str, Any]] = {"horizon_ns": 3_000_000, "boost": "borrow_1"}


class JointYieldEnv(HostEnv):
    """Whom to yield to, and at which of a few prices.

    ## Action Space
    ``MultiDiscrete([K + 2, P])`` with a mask: the candidate as in `CandidateChoiceEnv`, then one of ``penalty_levels``,
    the factor of the series' penalty where one is computed.

    ## Observation Space
    `observe.FEATURES`, then `observe.CANDIDATE_FEATURES` of K candidates, float32 within -1..1.

    ## Rewards
    Change of the host-wide terms, weighted (``reward``).

    ## Starting State
    A machine warmed up under the rule, its random streams keyed by the seed.

    ## Episode End
    Truncation after ``horizon_ns`` (4 ms) or ``max_decisions``; never terminated.

    ## Arguments
    See `HostEnv`; ``docs/environments/joint_yield.md``.
    """

    kind = JOINT_YIELD
    scenario = "host-libvirt"
    usual_rule = "series-v2-no-limiter"
    defaults: ClassVar[dict[str, Any]] = {
        "horizon_ns": 4_000_000,
        "penalty_levels": (0.0, 0.0625, 0.25, 0.5, 1.0, 4.0),
    }


class WideYieldEnv(HostEnv):
    """Whom to yield to, and what the yield does for it.

    ## Action Space
    ``MultiDiscrete([K + 2, B])`` with a mask: the candidate as in `CandidateChoiceEnv`, then the boost
    (`action.boosts`): a hint, the series' penalty times each of ``penalty_levels`` above 0, lag credit, lag transfer,
    a plain yield, a hint or a credit while the spinner keeps its CPU, a hint that may be early by 4 or by 16 ms.

    ## Observation Space
    `observe.FEATURES`, then `observe.CANDIDATE_FEATURES` of K candidates, float32 within -1..1.

    ## Rewards
    Change of the host-wide terms, weighted (``reward``).

    ## Starting State
    A machine warmed up under the rule, its random streams keyed by the seed.

    ## Episode End
    Truncation after ``horizon_ns`` (10 ms) or ``max_decisions``; never terminated.

    ## Arguments
    See `HostEnv`; ``docs/environments/wide_yield.md``.
    """

    kind = WIDE_YIELD


class HostTunerEnv(HostEnv):
    """The series' constants, once an epoch.

    ## Action Space
    ``Box(-1, 1, (10,))``: `tuner.CONSTANTS`, 0 is the series' own value of each.

    ## Observation Space
    `tuner.TUNER_FEATURES`: what happened in the last epoch, float32 within -1..1.

    ## Rewards
    Change of the host-wide terms, weighted (``reward``).

    ## Starting State
    A machine warmed up under the rule, its random streams keyed by the seed.

    ## Episode End
    Truncation after ``horizon_ns`` (20 ms, 200 epochs) or ``max_decisions`` epochs; never terminated.

    ## Arguments
    See `HostEnv`; ``docs/environments/host_tuner.md``.
    """

    kind = HOST_TUNER
    scenario = "host-libvirt"
    defaults: ClassVar[dict[str, Any]] = {"horizon_ns": 20_000_000, "epoch_ns": 100_000}
