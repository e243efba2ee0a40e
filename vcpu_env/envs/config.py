"""Keyword arguments of the environments: typed, immutable, validated, with one clear line for each that is wrong."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
)

from vcpu_env.base.errors import InputError, nearest, shown
from vcpu_env.envs.compiled.observe import GROUPS
from vcpu_env.envs.compiled.types import EVERY_NTH, EVERY_SPIN, PERIOD, REWARD_TERMS, RULE_ACTS, SAME_RQ, SAMPLED
from vcpu_env.policy.in_file import is_rule_file, policy_of
from vcpu_env.policy.named import POLICIES, Policy
from vcpu_env.scenario import Scenario, ScenarioError, load_scenario
from vcpu_env.scenario.errors import error_lines

FILTERS = {
    "every_spin": EVERY_SPIN,
    "same_rq": SAME_RQ,
    "rule_acts": RULE_ACTS,
    "every_nth": EVERY_NTH,
    "sampled": SAMPLED,
    "period_ns": PERIOD,
}
"""Decision filters; the last three take an argument, as in ``every_nth:16``."""

FILTER_ARGUMENTS = {EVERY_NTH: "an integer from 1", SAMPLED: "a probability above 0, up to 1", PERIOD: "ns from 1"}

MAX_LEVELS = 12

BOOST_NAMES = (
    "rule", "hint", "penalty_1", "credit", "transfer", "plain", "stay", "stay_credit", "borrow_1", "borrow_4"
)  # fmt: skip
"""Of the argument ``boost``: as the rule's own ``yield_to()``, or one of WideYield's with the series' own penalty."""

USUAL: Any = object()
"""In place of scenarios: the environment's own."""

ScenarioLike = str | Path | Scenario


class EnvConfigError(InputError):
    """A keyword argument of an environment that cannot be. One line for each."""


class UnexpectedKeywordError(EnvConfigError, TypeError):
    """A keyword argument that there is not: also a TypeError in Python's words, as libraries expect that try some."""


def parse_filter(text: str) -> tuple[int, int]:
    """A decision filter as (number, argument).

    Raises:
        ValueError: there is no such filter, or its argument is not allowed.
    """
    name, colon, argument = text.partition(":")
    if name not in FILTERS:
        raise ValueError(f": value '{text}' ({nearest(name, FILTERS)})")
    number = FILTERS[name]
    if number not in FILTER_ARGUMENTS:
        if colon:
            raise ValueError(f": value '{text}' (allowed: '{name}' without an argument)")
        return number, 0
    try:
        value = float(argument) if number == SAMPLED else int(argument.replace("_", ""))
    except ValueError:
        value = -1
    if not 0 < value <= (1 if number == SAMPLED else 2**62):
        raise ValueError(f": value '{text}' (allowed: '{name}:ARGUMENT', {FILTER_ARGUMENTS[number]})")
    return number, round(value * 2**32) if number == SAMPLED else int(value)


class EnvConfig(BaseModel):
    """What an environment is, beside its scenarios and its policy."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    nr_candidates: int = Field(default=16, ge=1, le=64, description="K: candidates that can be seen and chosen")
    max_penalty_scale: float = Field(default=4.0, gt=1, le=1024, description="penalty scale of the action 1")
    penalty_levels: Annotated[tuple[float, ...], Field(strict=False)] = Field(
        default=(0.0, 0.25, 0.5, 1.0, 2.0, 4.0), description="penalty scales of the discrete actions"
    )
    boost: Literal[BOOST_NAMES] = Field(  # type: ignore[valid-type]
        default="rule", description="CandidateChoice: what a yield does for the candidate that the agent chooses"
    )
    observe: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        default=GROUPS, description="groups of features that are shown; others read 0"
    )
    reward: dict[str, float] = Field(
        default={"useful": 1.0, "unfairness": -0.1}, description="weights of the reward's terms"
    )
    over_rule: bool = Field(
        default=False, description="the reward is what a step earns more than the rule on the same seed"
    )
    horizon_ns: int = Field(default=10_000_000, ge=1_000, le=10**13, description="simulated time of an episode")
    max_decisions: int | None = Field(default=None, ge=1, le=2**40, description="most decisions of an episode")
    epoch_ns: int = Field(default=10_000_000, ge=1_000, le=10**13, description="HostTuner: time between two actions")
    decision_filter: str = Field(default="every_spin", description="which decisions are the agent's")
    strict: bool = Field(default=True, description="refuse a candidate that is not there; else it means nobody")
    privileged: bool = Field(default=False, description="info tells whom the spinner waits for")
    warm_starts: int = Field(default=4, ge=1, le=1024, description="warmed machines that episodes start from")
    jitter_ns: int = Field(
        default=2_000_000, ge=0, le=10**12, description="an episode starts up to this long after the warm-up"
    )

    @model_serializer(mode="wrap")
    def without_later_fields(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As of pydantic, without fields that came later where they are the default: fingerprints of before stay."""
        fields = handler(self)
        later = {"boost": "rule", "over_rule": False}
        return {name: value for name, value in fields.items() if name not in later or value != later[name]}

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> "EnvConfig":
        return self  # a value

    @field_validator("decision_filter")
    @classmethod
    def check_filter(cls, text: str) -> str:
        """Refuse a filter that there is not."""
        parse_filter(text)
        return text

    @field_validator("observe")
    @classmethod
    def check_groups(cls, groups: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse a group of features that there is not."""
        for group in groups:
            if group not in GROUPS:
                raise ValueError(f": value '{group}' ({nearest(group, GROUPS)})")
        return groups

    @field_validator("reward")
    @classmethod
    def check_reward(cls, weights: dict[str, float]) -> dict[str, float]:
        """Refuse a term that there is not, and a reward of nothing."""
        if not weights:
            raise ValueError(f": value {{}} (allowed: weights of {', '.join(REWARD_TERMS)}, at least one)")
        for term in weights:
            if term not in REWARD_TERMS:
                raise ValueError(f": value '{term}' ({nearest(term, REWARD_TERMS)})")
        return weights

    @field_validator("penalty_levels")
    @classmethod
    def check_levels(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        """Refuse levels that are not a short list of scales with the series' own."""
        if not 1 <= len(levels) <= MAX_LEVELS or any(not 0 <= x <= 1024 for x in levels) or 1.0 not in levels:
            raise ValueError(f": value {list(levels)} (allowed: 1..{MAX_LEVELS} scales in 0..1024, 1 among them)")
        return levels


def env_config(defaults: Mapping[str, Any], given: Mapping[str, Any], also_allowed: Sequence[str]) -> EnvConfig:
    """The configuration from keyword arguments over an environment's own defaults.

    Raises:
        EnvConfigError: with one line for every argument that is wrong.
    """
    for name in given:
        if name not in EnvConfig.model_fields:
            known = [*also_allowed, *EnvConfig.model_fields]
            raise UnexpectedKeywordError(f"{name}: unexpected keyword argument '{name}' ({nearest(name, known)})")
    try:
        config = EnvConfig(**{**defaults, **given})
    except ValidationError as error:
        raise EnvConfigError(error_lines(EnvConfig, error)) from None
    if "epoch_ns" in given and config.epoch_ns > config.horizon_ns:
        raise EnvConfigError(f"epoch_ns: value {config.epoch_ns} (allowed: up to horizon_ns, {config.horizon_ns})")
    return config


def checked_render_mode(mode: Any, allowed: Sequence[str]) -> str | None:
    """The render mode.

    Raises:
        EnvConfigError: there is no such mode.
    """
    if mode is not None and not (isinstance(mode, str) and mode in allowed):
        raise EnvConfigError(f"render_mode: value {shown(mode)} (allowed: {', '.join(allowed)})")
    return mode  # type: ignore[no-any-return]


def rule_of(rule: Policy | str, privileged: bool = False) -> Policy:
    """The policy that answers what the agent does not; an oracle only if `privileged`.

    Raises:
        EnvConfigError: there is none of this name, or it waits for answers from outside itself.
    """
    policy = any_rule(rule)
    if policy.search is not None:
        raise EnvConfigError(f"rule: value {policy.name} searches (allowed: a rule; envs.lookahead searches)")
    if policy.oracle and not privileged:
        raise EnvConfigError(f"rule: value {policy.name} is an oracle (allowed: with privileged=True)")
    return policy


def any_rule(rule: Policy | str) -> Policy:
    """The policy of this name, or this one, if it answers by itself.

    Raises:
        EnvConfigError: there is none of this name, or it waits for answers from outside itself.
    """
    if isinstance(rule, str) and is_rule_file(rule):
        try:
            return policy_of(rule)
        except ValueError as error:
            raise EnvConfigError(f"rule: {error}") from None
    if isinstance(rule, str):
        if rule not in POLICIES:
            raise EnvConfigError(f"rule: value {shown(rule)} ({nearest(rule, POLICIES)})")
        return POLICIES[rule]
    if not isinstance(rule, Policy):
        raise EnvConfigError(f"rule: value {shown(rule)} (allowed: the name of a policy, FILE.py, or a Policy)")
    if isinstance(rule.target_rule, str) or isinstance(rule.penalty_rule, str):
        raise EnvConfigError(f"rule: value {rule.name} (allowed: a policy that answers by itself)")
    return rule


@dataclasses.dataclass(frozen=True)
class ScenarioMix:
    """The scenarios that episodes are drawn from, with their probabilities."""

    scenarios: tuple[Scenario, ...]
    probabilities: tuple[float, ...]

    def __deepcopy__(self, memo: dict[int, Any]) -> "ScenarioMix":
        return self  # a value


def kernels_of(mix: ScenarioMix, rule: Policy) -> list[str]:
    """The host kernels of the scenarios (`host.kernel`), for an environment's metadata.

    Raises:
        EnvConfigError: the rule has no meaning on one of them.
    """
    kernels: list[str] = sorted({scenario.host.kernel for scenario in mix.scenarios})
    for kernel in kernels:
        try:
            rule.check_kernel(kernel)
        except ValueError as error:
            raise EnvConfigError(f"rule: {error}") from None
    return kernels


def one_scenario(given: Any) -> Scenario:
    """A scenario from a name, a file or an object.

    Raises:
        EnvConfigError: there is no such scenario, or it is wrong.
    """
    if not isinstance(given, Scenario | str | Path):
        raise EnvConfigError(
            f"scenario: value {shown(given)} (allowed: a name, a .toml file, a Scenario, or a list of them)"
        )
    try:
        scenario = given if isinstance(given, Scenario) else load_scenario(given)
    except ScenarioError as error:
        raise EnvConfigError(str(error).splitlines()) from None
    if not scenario.vms:
        raise EnvConfigError(f"scenario: value '{scenario.name}' (allowed: one with VMs)")
    return scenario


def scenario_mix(given: Any) -> ScenarioMix:
    """One scenario, or a list of scenarios or of (scenario, weight).

    Raises:
        EnvConfigError: the list is empty, or an entry is wrong.
    """
    if not isinstance(given, list | tuple):
        return ScenarioMix((one_scenario(given),), (1.0,))
    scenarios, weights = [], []
    for entry in given:
        scenario, weight = entry if isinstance(entry, list | tuple) and len(entry) == 2 else (entry, 1.0)
        if not isinstance(weight, int | float) or not 0 < weight < float("inf"):
            raise EnvConfigError(f"scenario: weight {shown(weight)} (allowed: a number above 0)")
        scenarios.append(one_scenario(scenario))
        weights.append(float(weight))
    if not scenarios:
        raise EnvConfigError("scenario: value [] (allowed: at least one scenario)")
    return ScenarioMix(tuple(scenarios), tuple(weight / sum(weights) for weight in weights))
