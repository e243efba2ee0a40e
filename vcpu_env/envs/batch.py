"""The same environments, many at a time: Gymnasium's vector API over machines that are stepped in compiled code."""

import copy
import functools
from typing import Any, Self

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from vcpu_env.base.errors import shown, whole_number
from vcpu_env.base.interrupts import heard
from vcpu_env.engine.state import FAILED
from vcpu_env.envs.action import Actions
from vcpu_env.envs.config import (
    USUAL,
    EnvConfigError,
    checked_render_mode,
    env_config,
    kernels_of,
    rule_of,
    scenario_mix,
)
from vcpu_env.envs.drawing.gantt import Gantt
from vcpu_env.envs.drawing.render import ansi, rgb_array
from vcpu_env.envs.host_env import (
    ARGUMENTS,
    CandidateChoiceEnv,
    DirectedYieldEnv,
    HostTunerEnv,
    JointYieldEnv,
    PenaltyScaleEnv,
    WideYieldEnv,
    observation_space,
)
from vcpu_env.envs.lane import TRUNCATED, Lane, Snapshot, SnapshotError, arguments_of, check_options
from vcpu_env.envs.parallel import (
    Team,
    begin_machines,
    checked_threads,
    show_machines,
    step_machines,
)
from vcpu_env.envs.resets import chosen_machines, seeds_of
from vcpu_env.envs.shown import Shown, marked
from vcpu_env.envs.singles import VectorOfSingles
from vcpu_env.envs.start import nr_features
from vcpu_env.policy.named import Policy

MOST_ENVS = 1 << 16
BATCH_ARGUMENTS = ("num_envs", "max_episode_steps", "autoreset_mode", "threads", *ARGUMENTS)


def fewer(steps: int, decisions: Any) -> Any:
    """The smaller of both limits; what is no number is left to be refused."""
    return min(steps, decisions) if type(decisions) is int and decisions > 0 else decisions or steps


class HostVectorEnv(VectorOfSingles):
    """`num_envs` environments of one kind, stepped on all cores; step for step equal to as many single ones.

    Args:
        num_envs: how many.
        scenario, rule, **arguments: as of the single environment (`HostEnv`); one batch can mix scenarios.
        max_episode_steps: most steps of an episode, as the wrapper of the single environment counts them.
        autoreset_mode: an `AutoresetMode`, or its value.
        threads: to use; None: one for each 16 machines, up to all cores. It changes no result.
        render_mode: "ansi" or "rgb_array": what `render` returns for each machine.

    Raises:
        EnvConfigError: an argument that is not allowed.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 25}

    def __init__(
        self,
        num_envs: int = 1,
        scenario: Any = USUAL,
        rule: Policy | str = USUAL,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        threads: int | None = None,
        render_mode: str | None = None,
        **arguments: Any,
    ):
        whole_number("num_envs", num_envs, 1, MOST_ENVS, EnvConfigError)
        try:
            self.autoreset_mode = AutoresetMode(autoreset_mode)
        except ValueError:
            allowed = ", ".join(mode.value for mode in AutoresetMode)
            raise EnvConfigError(f"autoreset_mode: value {shown(autoreset_mode)} (allowed: {allowed})") from None
        if max_episode_steps is not None:
            if type(max_episode_steps) is not int or max_episode_steps < 1:
                given = shown(max_episode_steps)
                raise EnvConfigError(f"max_episode_steps: value {given} (allowed: an integer from 1)")
            arguments = {**arguments, "max_decisions": fewer(max_episode_steps, arguments.get("max_decisions"))}
        super().__init__()
        self.num_envs = num_envs
        self.config = env_config(self.single.defaults, arguments, BATCH_ARGUMENTS)
        self.rule = rule_of(self.single.usual_rule if rule is USUAL else rule, self.config.privileged)
        self.kind = self.single.kind
        self.mix = scenario_mix(self.single.scenario if scenario is USUAL else scenario)
        self.metadata = {
            **type(self).metadata,
            "kernels": kernels_of(self.mix, self.rule),
            "autoreset_mode": self.autoreset_mode,
        }
        self.render_mode = checked_render_mode(render_mode, self.metadata["render_modes"])
        self.threads = checked_threads(threads, num_envs)
        self.actions = Actions(self.kind, self.config)
        self.single_action_space = self.actions.space
        self.single_observation_space = observation_space(self.kind, self.config)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.lanes = [Lane(self.kind, self.mix, self.rule, self.config) for _ in range(num_envs)]
        self.randoms: list[np.random.Generator] = []
        self._team: Any = None
        self._statuses = np.zeros(num_envs, np.int64)
        self._over, self._any_over = np.ones(num_envs, np.bool_), True
        self._everyone = np.arange(num_envs)
        self._masks = np.zeros((num_envs, self.actions.mask_length), np.int8)
        self._gantts = [Gantt() for _ in range(num_envs)] if render_mode else []

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin episodes everywhere, or where ``options["reset_mask"]`` is true. Machine i is seeded with seed + i."""
        chosen = None
        if isinstance(options, dict):
            options = dict(options)
            chosen = options.pop("reset_mask", None)
        check_options(options)
        which = np.arange(self.num_envs) if chosen is None else self._chosen(chosen)
        self._seed(seed, which)
        seen = self._restart(which, options, self._fresh())
        if len(which) < self.num_envs:
            others = np.setdiff1d(np.arange(self.num_envs), which)
            show_machines(self._team.handles, others, *seen.arrays())
        self._masks = seen.masks
        return seen.observations, self._info(seen, None if chosen is None else self._among(which))

    def _among(self, which: np.ndarray) -> np.ndarray:
        """The mask of these machines."""
        mask = np.zeros(self.num_envs, np.bool_)
        mask[which] = True
        return mask

    def _chosen(self, mask: Any) -> np.ndarray:
        which = chosen_machines(mask, self.num_envs)
        if not self._is_reset() and len(which) < self.num_envs:
            raise ResetNeeded("reset_mask: the environments have not been reset (allowed: reset() first)")
        return which

    def _seed(self, seed: int | list[int | None] | None, which: np.ndarray) -> None:
        """Seed the machines' generators as Gymnasium seeds as many single environments."""
        seeds = seeds_of(seed, self.num_envs)
        fresh = not self.randoms
        made = [
            seeding.np_random(seeds[i])[0] if fresh or (seeds[i] is not None and i in which) else self.randoms[i]
            for i in range(self.num_envs)
        ]
        self.randoms = made

    def _restart(self, which: np.ndarray, options: dict[str, Any] | None, seen: Shown) -> Shown:
        """Begin an episode on these machines, and fill in what they show."""
        episodes = [self.lanes[i].draw(self.randoms[i], options) for i in which]
        moved = [self.lanes[i].load(episode.origin) for i, episode in zip(which, episodes, strict=True)]
        if any(moved) or not self._is_reset():
            self._look_up()
        seeds = np.array([episode.seed for episode in episodes])
        jitters = np.array([episode.jitter_ns for episode in episodes])
        self._team.move(begin_machines, which, seeds, jitters, self._statuses, *seen.arrays())
        if self.config.over_rule:
            for i in which:
                self.lanes[i].follow_rule()
        self._over[which] = False
        self._any_over = bool(self._over.any())
        self._check(which)
        if self._gantts:
            for i in which:
                self._gantts[i].clear()
            self._sample()
        return seen

    def _sample(self) -> None:
        """Note for the pictures what every machine does now."""
        for i, gantt in enumerate(self._gantts):
            gantt.sample(self.lanes[i].running.world, self.lanes[i].running.now_ns)

    def render(self) -> tuple[Any, ...] | None:
        """The last 40 ms of each machine, seen once a step; None without a render mode."""
        if self.render_mode is None:
            return None
        draw = ansi if self.render_mode == "ansi" else rgb_array
        return tuple(
            draw(gantt, lane.running.scenario.name) for gantt, lane in zip(self._gantts, self.lanes, strict=True)
        )

    def close_extras(self, **kwargs: Any) -> None:
        """All episodes are over."""
        self._team = None

    def _is_reset(self) -> bool:
        return self._team is not None and not self._team.lost

    def _check_reset(self) -> None:
        if not self._is_reset():
            raise ResetNeeded("the environments have not been reset (allowed: reset() first)")

    def _look_up(self) -> None:
        """Where the machines are."""
        self._team = Team([lane.running.world for lane in self.lanes], self.threads)

    def _check(self, which: np.ndarray) -> None:
        """Raise what went wrong on a machine."""
        if (self._statuses[which] == FAILED).any():
            self._over[:], self._any_over = True, True
            for i in which:
                self.lanes[i].running.check()

    def _fresh(self) -> Shown:
        """Arrays for what the machines show next."""
        return Shown(self.num_envs, nr_features(self.kind, self.config), self.actions.mask_length)

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Answer every machine's decision and go on to the next.

        A machine whose episode is over is reset as the autoreset mode says.

        Raises:
            InvalidAction: an action is not in the space, or (strict) its candidate is not there; nothing has changed.
            ResetNeeded: (DISABLED) an episode is over and has not been reset.
        """
        self._check_reset()
        over, any_over = self._over, self._any_over
        if any_over and self.autoreset_mode == AutoresetMode.DISABLED:
            raise ResetNeeded(f"episodes {np.flatnonzero(over).tolist()} are over (allowed: reset with a reset_mask)")
        going = np.flatnonzero(~over) if any_over else self._everyone
        encoded = self.actions.checked(actions, self._masks, going)
        seen = self._fresh()
        failed, nr_ended = self._team.move(step_machines, going, encoded, self._statuses, *seen.arrays())
        if failed:
            self._check(going)
        if any_over:  # NEXT_STEP: the action is ignored
            self._restart(np.flatnonzero(over), None, seen)
        ended = seen.truncated.copy()
        self._over, self._any_over = ended.copy(), nr_ended > 0
        self._sample()
        final: dict[str, Any] = {}
        if nr_ended:
            which = np.flatnonzero(ended)
            for i in which:
                self.lanes[i].over = True
            if self.autoreset_mode == AutoresetMode.SAME_STEP:
                final, rewards = self._final(seen, ended), seen.rewards[which]
                self._restart(which, None, seen)
                seen.rewards[which] = rewards
        self._masks = seen.masks
        terminated = np.zeros(self.num_envs, np.bool_)
        return seen.observations, seen.rewards, terminated, ended, self._info(seen) | final

    def _final(self, seen: Shown, ended: np.ndarray) -> dict[str, Any]:
        """SAME_STEP: what the last step of an episode tells beside the first of the next."""
        final_obs = np.full(self.num_envs, None, object)
        for i in np.flatnonzero(ended):
            final_obs[i] = seen.observations[i].copy()
        final_info = seen.info(self._awaited(), ended)
        return marked({"final_obs": final_obs}, ended) | {"final_info": final_info, "_final_info": ended}

    def _awaited(self) -> np.ndarray | None:
        return np.array([lane.awaited() for lane in self.lanes]) if self.config.privileged else None

    def _info(self, seen: Shown, told: np.ndarray | None = None) -> dict[str, Any]:
        """`info` of a step or a reset."""
        return seen.info(self._awaited(), told)

    def run_together(self, function: Any, *arguments: Any) -> Any:
        """Call a parallel function of all machines."""
        return self._team.run(function, *arguments)

    def roll(self, function: Any, which: np.ndarray, positions: np.ndarray, *arguments: Any) -> None:
        """Let a parallel function step these machines, each up to the end of its episode; then the next one begins."""
        if self.run_together(function, which, positions, self._statuses, *arguments):
            heard()
        self._check(which)
        ended = np.array([i for i in which if self.lanes[i].integers.item(TRUNCATED)], np.intp)
        if ended.size:
            self._restart(ended, None, self._fresh())

    def refresh(self) -> Shown:
        """What the machines show now, after they have been stepped past this object."""
        seen = self._fresh()
        show_machines(self._team.handles, self._everyone, *seen.arrays())
        self._masks = seen.masks
        return seen

    def action_masks(self) -> np.ndarray:
        """Which actions are legal now: bool, (num_envs, length of the flat mask)."""
        if not self.actions.nr_candidates:
            raise AttributeError(f"{type(self).__name__} has no discrete actions, so no masks")
        self._check_reset()
        return self._masks.astype(bool)

    def sample_masks(self) -> list[Any]:
        """The same for each machine, in the form that ``single_action_space.sample(mask=...)`` takes."""
        self._check_reset()
        return [self.actions.sample_masks(mask) for mask in self._masks]

    @functools.cached_property
    def _arguments(self) -> str:
        return arguments_of(self.single.__name__, self.mix, self.rule, self.config)

    def snapshot(self) -> list[Snapshot]:
        """The whole state, a snapshot a machine; one of them fits a single environment, too."""
        self._check_reset()
        return [lane.snapshot(random, self._arguments) for lane, random in zip(self.lanes, self.randoms, strict=True)]

    def restore(self, snapshots: list[Snapshot]) -> tuple[np.ndarray, dict[str, Any]]:
        """Go on from a snapshot. Returns the observations and info there.

        Raises:
            SnapshotError: not one for each machine, or one that is damaged, or of another version, layout or
                configuration; nothing has changed.
        """
        if not isinstance(snapshots, list) or len(snapshots) != self.num_envs:
            raise SnapshotError(f"snapshots: value {shown(snapshots)} (allowed: a list of {self.num_envs})")
        lanes = [copy.copy(lane) for lane in self.lanes]
        randoms = [lane.restore(snapshot, self._arguments) for lane, snapshot in zip(lanes, snapshots, strict=True)]
        self._take(lanes)
        self.randoms = randoms
        self._gantts = [Gantt() for _ in self._gantts]
        self._sample()
        seen = self.refresh()
        return seen.observations, self._info(seen)

    def _take(self, lanes: list[Lane]) -> None:
        """Go on with these machines."""
        self.lanes = lanes
        self._look_up()
        self._over = np.array([lane.over for lane in lanes])
        self._any_over = bool(self._over.any())

    def fork(self) -> Self:
        """An independent batch in the same state, with the same future; so is a copy by ``copy.deepcopy``."""
        return copy.deepcopy(self, {id(self.spec): self.spec})

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: without addresses."""
        if not self.randoms:
            self._seed(None, self._everyone)  # now, or the copy would draw others
        return self.__dict__ | {"_team": self._is_reset()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        running = state["_team"]
        self.__dict__ |= state | {"_team": None}
        if running:
            self._look_up()


class DirectedYieldVectorEnv(HostVectorEnv):
    """Batched `DirectedYieldEnv`."""

    single = DirectedYieldEnv


class PenaltyScaleVectorEnv(HostVectorEnv):
    """Batched `PenaltyScaleEnv`."""

    single = PenaltyScaleEnv


class CandidateChoiceVectorEnv(HostVectorEnv):
    """Batched `CandidateChoiceEnv`."""

    single = CandidateChoiceEnv


class JointYieldVectorEnv(HostVectorEnv):
    """Batched `JointYieldEnv`."""

    single = JointYieldEnv


class WideYieldVectorEnv(HostVectorEnv):
    """Batched `WideYieldEnv`."""

    single = WideYieldEnv


class HostTunerVectorEnv(HostVectorEnv):
    """Batched `HostTunerEnv`."""

    single = HostTunerEnv
