"""What is to be trained, as a TOML file: typed, immutable, validated, one clear line for each field that is wrong.

::

    name = "wide-ppo"
    environment = "WideYield"
    algorithm = "maskable_ppo"
    total_steps = 20_000_000

    [environment_arguments]       # of vcpu_env.envs.config.EnvConfig
    horizon_ns = 10_000_000

    [hyperparameters]             # of the algorithm, under the names of Stable-Baselines3 (cma_es: of `agents.evolve`)
    n_steps = 256

    [[stages]]                    # scenarios to train on; a curriculum has several
    scenarios = ["dedup-2vm", "vips-3vm"]
"""

import hashlib
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from vcpu_env.base.errors import InputError, nearest
from vcpu_env.envs.config import EnvConfig
from vcpu_env.envs.register import id_of
from vcpu_env.policy.named import POLICIES
from vcpu_env.scenario.errors import error_lines
from vcpu_env.scenario.load import list_scenarios, load_scenario
from vcpu_env.scenario.model import Name
from vcpu_env.scenario.splits import DIAGNOSTIC, SPLITS, split_of
from vcpu_env.scenario.toml_text import read_toml

SHIPPED = resources.files("agents") / "configs"

Algorithm = Literal["maskable_ppo", "ppo", "sac", "tqc", "cma_es"]
Environment = Literal["CandidateChoice", "JointYield", "WideYield", "PenaltyScale"]
CONTINUOUS = ("sac", "tqc")
INSIDE = ("maskable_ppo", "ppo")
"""Algorithms whose rollouts can be collected inside the machines."""


class ConfigError(InputError):
    """A training that cannot be, with one line for every wrong field."""


class Part(BaseModel):
    """Base of all parts: immutable, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


TRAINING = tuple(name for name in SPLITS["train"] if not name.startswith("blackscholes"))
"""The training split without its null control, in which there is nothing to decide."""


class Stage(Part):
    """Scenarios that episodes are drawn from, up to some step."""

    scenarios: tuple[str, ...] = Field(
        default=TRAINING, description="shipped names, of the training split or diagnostic"
    )
    weights: tuple[float, ...] = Field(default=(), description="of the scenarios; all alike if empty")
    until: float = Field(default=1.0, gt=0, le=1, description="share of all steps at which the stage ends")

    @model_validator(mode="after")
    def check(self) -> Self:
        """Refuse scenarios that are kept for choosing and reporting."""
        for name in self.scenarios:
            if name not in SPLITS["train"] and (name not in list_scenarios() or split_of(name) != DIAGNOSTIC):
                raise ValueError(f": value '{name}' ({nearest(name, SPLITS['train'])}; the training split)")
        if self.weights and (len(self.weights) != len(self.scenarios) or min(self.weights) <= 0):
            raise ValueError(f": weights {list(self.weights)} (allowed: a number above 0 for each scenario)")
        return self

    @property
    def mix(self) -> list[tuple[str, float]]:
        """As an environment's `scenario`."""
        return list(zip(self.scenarios, self.weights or (1.0,) * len(self.scenarios), strict=True))


class Cloning(Part):
    """A warm start: imitate a teacher before learning by reward."""

    teacher: str = Field(description="'series', a policy that is a rule, or 'lookahead:NS'")
    decisions: int = Field(default=200_000, ge=1_000, le=10**8, description="of the teacher, to learn from")
    epochs: int = Field(default=3, ge=1, le=1_000, description="passes over them")
    learning_rate: float = Field(default=1e-3, gt=0, le=1, description="of Adam")
    entropy: float = Field(
        default=0.0, ge=0, le=10, description="weight of the entropy in the loss: leaves something to try"
    )

    @field_validator("teacher")
    @classmethod
    def check_teacher(cls, text: str) -> str:
        """Refuse a teacher that there is not."""
        name, _, argument = text.partition(":")
        rules = [policy.name for policy in POLICIES.values() if callable(policy.target_rule) and not policy.oracle]
        if (name == "lookahead" and argument.replace("_", "").isdigit()) or text in ("series", *rules):
            return text
        raise ValueError(f": value '{text}' ({nearest(text, ['series', 'lookahead:200000', *rules])})")


class Validation(Part):
    """How checkpoints are compared: throughput over stock's on the validation split."""

    every: float = Field(default=0.1, gt=0, le=1, description="share of all steps between two")
    scenarios: tuple[str, ...] = Field(default=SPLITS["validation"], description="shipped names, not of the test split")
    seeds: int = Field(default=2, ge=1, le=1_000, description="runs of each scenario")
    set: tuple[str, ...] = Field(
        default=("run.warmup_ns=300_000_000", "run.duration_ns=100_000_000"), description="changes of all scenarios"
    )

    @field_validator("scenarios")
    @classmethod
    def check_scenarios(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse the test split: what is chosen by it cannot be tested on it."""
        for name in names:
            if name in SPLITS["test"]:
                raise ValueError(f": value '{name}' (allowed: {', '.join(SPLITS['validation'])}; not the test split)")
        return names


class TrainConfig(Part):
    """One training."""

    name: Name = Field(description="of the policy")
    summary: str = Field(default="", description="one line")
    environment: Environment = Field(description="whose decisions are learned")
    algorithm: Algorithm = Field(description="that learns")
    rule: str = Field(default="series-v2", description="policy that answers what the agent does not")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="of all randomness")
    total_steps: int = Field(ge=1, le=10**12, description="decisions of the agent; cma_es: generations")
    num_envs: int = Field(default=64, ge=1, le=4096, description="machines")
    threads: int = Field(default=1, ge=1, le=1024, description="that run machines")
    torch_threads: int = Field(
        default=1, ge=1, le=1024, description="that train; they change the last bits of a result"
    )
    rollouts: Literal["inside", "python"] = Field(default="inside", description="where decisions are taken: PPO only")
    frame_stack: int = Field(default=1, ge=1, le=64, description="observations that the network sees at once")
    normalise: bool = Field(default=False, description="observations by their running mean and variance")
    half_life_ns: int | None = Field(
        default=2_000_000, ge=1_000, description="discount by simulated time; none: gamma a step"
    )
    trace_half_life_ns: int | None = Field(
        default=None, ge=1_000, description="the advantages' trace fades by simulated time; none: by gae_lambda a step"
    )
    environment_arguments: EnvConfig = Field(default_factory=EnvConfig, description="see docs/environments")
    hyperparameters: dict[str, Any] = Field(default_factory=dict, description="of the algorithm")
    network: Literal["mlp", "candidates"] = Field(
        default="mlp", description="fully connected, or one that treats all candidates alike"
    )
    net_arch: tuple[int, ...] = Field(
        default=(64, 64), description="hidden layers; candidates: units of one candidate's net and of the rest's"
    )
    deterministic: bool = Field(
        default=True, description="the policy takes the likeliest action; else it draws one, as in training"
    )
    stages: tuple[Stage, ...] = Field(default=(Stage(),), description="one, or a curriculum")
    cloning: Cloning | None = Field(default=None, description="a warm start")
    validation: Validation = Field(default_factory=Validation, description="how the best is chosen")
    checkpoint_every: float = Field(default=0.05, gt=0, le=1, description="share of all steps")

    @field_validator("rule")
    @classmethod
    def check_rule(cls, name: str) -> str:
        """Refuse a policy that there is not."""
        if name not in POLICIES:
            raise ValueError(f": value '{name}' ({nearest(name, POLICIES)})")
        return name

    @model_validator(mode="after")
    def check(self) -> Self:
        """Refuse combinations that cannot be."""
        continuous = self.environment == "PenaltyScale"
        if self.algorithm in CONTINUOUS and not continuous:
            raise ValueError(f"algorithm: value '{self.algorithm}' (allowed for {self.environment}: maskable_ppo, ppo)")
        if self.algorithm in ("maskable_ppo", "cma_es") and continuous:
            raise ValueError(f"algorithm: value '{self.algorithm}' (allowed for PenaltyScale: ppo, sac, tqc)")
        if self.inside and self.frame_stack > 1:
            raise ValueError(f"frame_stack: value {self.frame_stack} (allowed: 1, or rollouts = 'python')")
        if self.cloning and self.algorithm in CONTINUOUS:
            raise ValueError(f"cloning: given (allowed with: {', '.join(INSIDE)}, cma_es)")
        if self.cloning and continuous:
            raise ValueError("cloning: given (allowed where candidates are chosen)")
        if self.algorithm == "cma_es" and not self.deterministic:
            raise ValueError("deterministic: value false (allowed with: maskable_ppo, ppo, sac, tqc)")
        if self.network == "candidates":
            self.check_candidates()
        ends = [stage.until for stage in self.stages]
        if not ends or ends != sorted(set(ends)) or ends[-1] != 1.0:
            raise ValueError(f"stages: until {ends} (allowed: rising, the last 1)")
        return self

    def check_candidates(self) -> None:
        """Refuse what the network that treats candidates alike cannot be."""
        if self.algorithm != "maskable_ppo" or self.frame_stack > 1 or self.normalise:
            raise ValueError("network: value 'candidates' (allowed: with maskable_ppo, one frame, not normalised)")
        if len(self.net_arch) != 2 or min(self.net_arch) < 1:
            raise ValueError(f"net_arch: value {list(self.net_arch)} (allowed with network 'candidates': two, from 1)")

    @property
    def inside(self) -> bool:
        """Rollouts are collected in compiled code."""
        return self.rollouts == "inside" and self.algorithm in INSIDE

    @property
    def environment_id(self) -> str:
        """For `gymnasium.make`."""
        return id_of(self.environment)

    @property
    def arguments(self) -> dict[str, Any]:
        """What the environment is made with. The boost is named always: an id's own default may be another."""
        given = self.environment_arguments
        return {name: getattr(given, name) for name in given.model_fields_set} | {"boost": given.boost}

    @property
    def kernels(self) -> tuple[str, ...]:
        """The host kernels of the scenarios to train on."""
        names = {name for stage in self.stages for name in stage.scenarios}
        return tuple(sorted({load_scenario(name).host.kernel for name in names}))

    @property
    def digest(self) -> str:
        """Fingerprint of the whole configuration."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:8]


def list_configs() -> list[str]:
    """Names of the configurations that come with the package."""
    return sorted(entry.name[:-5] for entry in SHIPPED.iterdir() if entry.name.endswith(".toml"))


def load_config(name_or_path: str, overrides: Sequence[str] = ()) -> TrainConfig:
    """A shipped configuration by name, or any from a TOML file, with ``KEY=VALUE`` changes (VALUE as in TOML).

    Raises:
        ConfigError: there is none, or it is wrong.
    """
    shipped = name_or_path in list_configs()
    if not shipped and not name_or_path.endswith(".toml"):
        raise ConfigError(
            f"config: value '{name_or_path}' (a .toml file or a shipped name; {shipped_names(name_or_path)})"
        )
    try:
        source = SHIPPED / f"{name_or_path}.toml" if shipped else Path(name_or_path)
        data = read_toml(source.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"config: value '{name_or_path}' (allowed: a file that can be read; {error.strerror})"
        ) from None
    except ValueError as error:  # TOML or UTF-8
        raise ConfigError(f"config: value '{name_or_path}' (allowed: a TOML file; {error})") from None
    for override in overrides:
        change(data, override)
    return parse_config({"name": Path(name_or_path).stem} | data)


def shipped_names(name: str) -> str:
    """What could have been meant."""
    return nearest(name, list_configs())


def change(data: dict[str, Any], override: str) -> None:
    """Set one field of a configuration."""
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"set: value '{override}' (allowed: KEY=VALUE, as seed=1)")
    try:
        value = read_toml(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = key.strip().split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise ConfigError(f"set: value '{override}' (allowed: the name of a field)")
    data[last] = value


def parse_config(data: dict[str, Any]) -> TrainConfig:
    """A configuration from data.

    Raises:
        ConfigError: with one line for every wrong field.
    """
    try:
        return TrainConfig(**data)
    except ValidationError as error:
        raise ConfigError(error_lines(TrainConfig, error)) from None
