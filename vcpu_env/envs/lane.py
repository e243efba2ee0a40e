"""One environment's machine: how its episodes are drawn, what it shows, its snapshots. Single and batched share it."""

import hashlib
from dataclasses import dataclass, fields, replace
from typing import Any, get_origin

import numpy as np
from gymnasium.error import ResetNeeded

from vcpu_env import __version__
from vcpu_env.base.errors import InputError, shown
from vcpu_env.base.files import checksum
from vcpu_env.base.interrupts import watch_signals
from vcpu_env.base.jit import call
from vcpu_env.envs.action import Actions
from vcpu_env.envs.compiled.step import env_follow_rule
from vcpu_env.envs.compiled.types import NR_TERMS, REWARD_TERMS, env_state
from vcpu_env.envs.config import EnvConfig, EnvConfigError, ScenarioMix, one_scenario
from vcpu_env.envs.start import start
from vcpu_env.machine import Machine
from vcpu_env.policy.fingerprint import fingerprint
from vcpu_env.policy.named import Policy
from vcpu_env.policy.view import FIRST_CANDIDATE
from vcpu_env.scenario import Scenario

RESET_OPTIONS = ("scenario",)

COUNTS = ("decisions", "unasked", "illegal")
"""Of an episode so far: decisions answered by the agent, decisions answered by the rule, candidates not there."""

TOTALS = (*REWARD_TERMS, *COUNTS)
"""What `info` tells of an episode so far."""

TRUNCATED, ELAPSED_NS, REWARD, ASKED, SEEN, AT_DECISION, ILLEGAL = (
    dict(env_state.dtype.fields or {})[name][1] // 8
    for name in ("truncated", "elapsed_ns", "reward", "asked", "seen", "at_decision", "illegal")
)
"""Where these lie in an `env_state`, in words: reading a field of a structured array takes five times as long."""


@dataclass(frozen=True)
class Episode:
    """What the random numbers of a reset came to."""

    origin: Machine
    seed: int
    jitter_ns: int


@dataclass(frozen=True)
class Snapshot:
    """The whole state of one environment: plain data that can be pickled.

    `restore` refuses it where a byte has changed, or the version, the layout or the environment's arguments differ.
    """

    version: str
    layout: str
    arguments: str
    scenario: str
    number: int
    words: bytes
    random: dict[str, Any]
    over: bool
    checksum: str = ""

    def sealed(self) -> "Snapshot":
        """The same with its checksum."""
        return replace(self, checksum=self.expected_checksum())

    def expected_checksum(self) -> str:
        """The checksum of everything else."""
        about = [getattr(self, field.name) for field in fields(self) if field.name not in ("words", "checksum")]
        return checksum(repr(about).encode(), self.words)


class SnapshotError(InputError):
    """A snapshot that is damaged, or of another version, layout or configuration."""


def check_options(options: Any) -> None:
    """Raise EnvConfigError if these are no options of a reset."""
    if not isinstance(options, dict | None):
        raise EnvConfigError(f"options: value {shown(options)} (allowed: None, or a dict)")
    for name in options or {}:
        if name not in RESET_OPTIONS:
            raise EnvConfigError(f"options: value {shown(name)} (allowed: {', '.join(RESET_OPTIONS)})")


def arguments_of(name: str, mix: ScenarioMix, rule: Policy, config: EnvConfig) -> str:
    """An environment and its arguments in a line: names to read, and a fingerprint of what they stand for."""
    scenarios = [scenario.model_dump_json() for scenario in mix.scenarios]
    digest = hashlib.sha256(repr((scenarios, mix.probabilities, fingerprint(rule))).encode()).hexdigest()[:8]
    names = ",".join(scenario.name for scenario in mix.scenarios)
    return f"{name} scenario={names} rule={rule.name} ({digest}) {config.model_dump_json()}"


class Lane:
    """A machine that episodes are played on, one after the other.

    Attributes:
        machine: the present one; None before the first reset.
        over: the episode has ended.
    """

    def __init__(self, kind: int, mix: ScenarioMix, rule: Policy, config: EnvConfig):
        self.kind, self.mix, self.rule, self.config = kind, mix, rule, config
        self.machine: Machine | None = None
        self.number = 0
        self.over = True
        self._prepare()

    def _prepare(self) -> None:
        """What is kept beside the state."""
        self._described: tuple[str, str] | None = None
        self._bounds = np.cumsum(self.mix.probabilities)[:-1]
        self._origins: dict[tuple[int, int], Machine] = {}
        self._twin: Machine | None = None

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: without views of the machine."""
        return {name: self.__dict__[name] for name in ("kind", "mix", "rule", "config", "machine", "number", "over")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._prepare()
        if self.machine is not None:
            self._look_up()

    def draw(self, random: np.random.Generator, options: dict[str, Any] | None) -> Episode:
        """Draw the next episode: scenario, starting machine, seed and how long the machine runs on first.

        Raises:
            EnvConfigError: an option that there is not, or a scenario that cannot be.
        """
        watch_signals()
        check_options(options)
        choice, number = random.random(), int(random.integers(self.config.warm_starts))
        seed, jitter_ns = int(random.integers(2**31)), int(random.integers(self.config.jitter_ns + 1))
        if options and "scenario" in options:
            origin = start(one_scenario(options["scenario"]), self.rule, self.kind, self.config, number)
        else:
            origin = self._origin(int(np.searchsorted(self._bounds, choice, "right")), number)
        self.number = number
        return Episode(origin, seed, jitter_ns)

    def _origin(self, index: int, number: int) -> Machine:
        """A starting machine of one of the scenarios of the mix."""
        if (index, number) not in self._origins:
            scenario = self.mix.scenarios[index]
            self._origins[index, number] = start(scenario, self.rule, self.kind, self.config, number)
        return self._origins[index, number]

    def load(self, origin: Machine) -> bool:
        """Become a copy of a machine. Returns whether it lies somewhere else than before."""
        moved = self.machine is None or self.machine.scenario is not origin.scenario
        if self.machine is None or moved:
            self.machine = origin.fork()
            self._look_up()
        else:
            np.copyto(self.machine.world.words, origin.world.words)
        self.over = False
        return moved

    def follow_rule(self) -> int:
        """Let a twin play the episode that has just begun as the rule. Returns the twin's status."""
        machine = self.running
        if self._twin is None or self._twin.world.words.size != machine.world.words.size:
            self._twin = machine.fork()
        np.copyto(self._twin.world.words, machine.world.words)
        return int(call(env_follow_rule, machine.world.handle, self._twin.world.handle))

    def _look_up(self) -> None:
        """Keep the views of what is read after every step."""
        world, self._described = self.running.world, None
        self.observation, self.mask = world["observation"]["value"], world["action_mask"]["legal"]
        self.state, self.view, self.clock = world["env_state"], world["yield_view"], world["machine_clock"]["now_ns"]
        self.action, self.told = self.state["action"][0], self.state["told"][0]
        self.integers, self.floats = self.state.view(np.int64), self.state.view(np.float64)

    @property
    def running(self) -> Machine:
        """The machine.

        Raises:
            ResetNeeded: there has been no reset.
        """
        if self.machine is None:
            raise ResetNeeded("the environment has not been reset (allowed: reset() first)")
        return self.machine

    def check_running(self) -> None:
        """Raise ResetNeeded if there is no episode under way."""
        if self.over:
            raise ResetNeeded("the episode is over, or none has begun (allowed: reset() first)")

    def info(self, actions: Actions) -> dict[str, Any]:
        """`info` of a reset or step."""
        told = self.told.tolist()
        info: dict[str, Any] = {
            "time_ns": self.clock.item(),
            "elapsed_ns": self.integers.item(ELAPSED_NS),
            "reward_terms": dict(zip(REWARD_TERMS, told[:NR_TERMS], strict=True)),
            "episode_totals": self._totals(told),
        }
        if actions.nr_candidates:
            info["action_mask"] = self.mask.copy()
        if self.config.privileged:
            info["awaited"] = self.awaited()
        return info

    def awaited(self) -> int:
        """Privileged: the candidate whom the spinner waits for; 0 if it is none of them."""
        view = self.view[0]
        if not self.state["at_decision"][0] or view["awaited"] < 0:
            return 0
        found = np.flatnonzero(
            view["candidate"][: min(view["nr_candidates"], self.config.nr_candidates)] == view["awaited"]
        )
        return FIRST_CANDIDATE + int(found[0]) if len(found) else 0

    def totals(self) -> dict[str, float | int]:
        """What the episode has come to so far: the reward's terms summed up, and `COUNTS`."""
        return self._totals(self.told.tolist())

    def _totals(self, told: list[float]) -> dict[str, float | int]:
        word = self.integers.item
        asked = word(ASKED)
        counts = asked, word(SEEN) - asked - word(AT_DECISION), word(ILLEGAL)
        return dict(zip(TOTALS, (*told[NR_TERMS:], *counts), strict=True))

    def snapshot(self, random: np.random.Generator, arguments: str) -> Snapshot:
        """Everything that the future depends on."""
        machine = self.running
        layout, scenario = self._description()
        words, state = machine.world.words.tobytes(), dict(random.bit_generator.state)
        return Snapshot(__version__, layout, arguments, scenario, self.number, words, state, self.over).sealed()

    def _description(self) -> tuple[str, str]:
        """The machine's layout and scenario as a snapshot has them."""
        if self._described is None:
            self._described = self.running.world.layout, self.running.scenario.model_dump_json()
        return self._described

    def restore(self, snapshot: Snapshot, arguments: str) -> np.random.Generator:
        """Become what a snapshot says. Returns the generator that its next episodes are drawn from.

        Raises:
            SnapshotError: it is damaged, or of another version, layout or configuration; nothing has changed.
        """
        check_snapshot(snapshot, arguments)
        machine = self._machine_for(snapshot)
        random = np.random.Generator(np.random.PCG64())
        random.bit_generator.state = snapshot.random
        machine.world.words[:] = np.frombuffer(snapshot.words, np.int64)
        machine.policy.put_addresses(machine.world)
        self.machine, self.number, self.over = machine, snapshot.number, snapshot.over
        self._look_up()
        self._described = snapshot.layout, snapshot.scenario
        return random

    def _machine_for(self, snapshot: Snapshot) -> Machine:
        """A machine with room for a snapshot's state: a copy of the present one, if it is of that scenario."""
        if self.machine is not None and self._description() == (snapshot.layout, snapshot.scenario):
            machine, layout = self.machine.fork(), snapshot.layout
        else:
            scenario = Scenario.model_validate_json(snapshot.scenario)
            machine = start(scenario, self.rule, self.kind, self.config, snapshot.number).fork()
            layout = machine.world.layout
        if snapshot.layout != layout or len(snapshot.words) != machine.world.words.nbytes:
            raise SnapshotError(f"snapshot.layout: value {snapshot.layout} (allowed: {layout}, that of this version)")
        return machine


def check_snapshot(snapshot: Snapshot, arguments: str) -> None:
    """Raise SnapshotError if it is none, damaged, or of another version or configuration."""
    if not isinstance(snapshot, Snapshot):
        raise SnapshotError(f"snapshot: value {shown(snapshot)} (allowed: what snapshot() returned)")
    for field in fields(snapshot):
        value, kind = getattr(snapshot, field.name), get_origin(field.type) or field.type
        if type(value) is not kind:
            raise SnapshotError(f"snapshot.{field.name}: value {shown(value)} (allowed: what snapshot() returned)")
    if snapshot.version != __version__:
        raise SnapshotError(f"snapshot.version: value {shown(snapshot.version)} (allowed: {__version__})")
    if snapshot.checksum != snapshot.expected_checksum():
        raise SnapshotError(
            "snapshot: damaged, its checksum is not that of its content (allowed: what snapshot() returned)"
        )
    if snapshot.arguments != arguments:
        raise SnapshotError(f"snapshot.arguments: value {snapshot.arguments} (allowed: {arguments})")
