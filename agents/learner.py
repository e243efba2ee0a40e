"""From a configuration to what learns: the batched environment as Stable-Baselines3 takes it, and the algorithm."""

import inspect
from typing import Any

from sb3_contrib import TQC, MaskablePPO
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecNormalize

from agents.candidates import CandidatesPolicy
from agents.config import INSIDE, ConfigError, Stage, TrainConfig
from agents.inside import InsideMaskablePPO, InsidePPO, weights_of
from vcpu_env.base.errors import nearest
from vcpu_env.envs.config import EnvConfigError
from vcpu_env.envs.sb3 import make_sb3
from vcpu_env.nets.learned import Description, LearnedPolicy

CLASSES: dict[tuple[str, bool], Any] = {
    ("maskable_ppo", True): InsideMaskablePPO,
    ("maskable_ppo", False): MaskablePPO,
    ("ppo", True): InsidePPO,
    ("ppo", False): PPO,
    ("sac", False): SAC,
    ("tqc", False): TQC,
}
"""By algorithm, and whether its rollouts are collected inside the machines."""

OWN = ("self", "policy", "env", "device", "seed", "verbose", "tensorboard_log", "policy_kwargs", "_init_setup_model")
"""Arguments of an algorithm that are not hyperparameters."""


def make_environment(config: TrainConfig, stage: Stage) -> VecEnv:
    """The batched environment of one stage of the training.

    Raises:
        ConfigError: its arguments are not allowed.
    """
    arguments = config.arguments
    if config.algorithm == "ppo" and config.environment != "PenaltyScale":
        arguments["strict"] = False  # it knows no masks: a candidate that is not there means nobody
    try:
        env: VecEnv = make_sb3(
            config.environment_id,
            config.num_envs,
            scenario=stage.mix,
            rule=config.rule,
            threads=config.threads,
            **arguments,
        )
    except EnvConfigError as error:
        raise ConfigError(f"environment_arguments: {error}") from None
    if config.frame_stack > 1:
        env = VecFrameStack(env, config.frame_stack)
    if config.normalise:
        env = VecNormalize(env, norm_reward=False, training=not config.inside)
    return env


def make_model(config: TrainConfig, env: VecEnv) -> Any:
    """The algorithm, untrained.

    Raises:
        ConfigError: a hyperparameter that it does not have, or does not take.
    """
    kind = CLASSES[config.algorithm, config.inside]
    base = CLASSES[config.algorithm, False]
    allowed = [name for name in inspect.signature(base.__init__).parameters if name not in OWN]
    for name in config.hyperparameters:
        if name not in allowed:
            raise ConfigError(f"hyperparameters: unknown '{name}' of {config.algorithm} ({nearest(name, allowed)})")
    rate = config.hyperparameters.get("learning_rate")
    scheduled = {"learning_rate": learning_rate(rate)} if rate is not None else {}
    try:
        model = kind(
            CandidatesPolicy if config.network == "candidates" else "MlpPolicy", env, seed=config.seed, device="cpu",
            policy_kwargs={"net_arch": list(config.net_arch)}, **config.hyperparameters | scheduled,
        )  # fmt: skip
    except (AssertionError, TypeError, ValueError) as error:
        raise ConfigError(f"hyperparameters: {config.algorithm} refuses them: {error}") from None
    if config.inside:
        model.half_life_ns, model.trace_half_life_ns = config.half_life_ns, config.trace_half_life_ns
    return model


def learning_rate(given: Any) -> Any:
    """A number, or ``lin_NUMBER``: falling to 0 with the share of the training that is left."""
    if isinstance(given, str) and given.startswith("lin_"):
        try:
            start = float(given.removeprefix("lin_"))
        except ValueError:
            raise ConfigError(f"hyperparameters.learning_rate: value '{given}' (allowed: lin_NUMBER)") from None
        return lambda left: start * left
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < 1:
        raise ConfigError(f"hyperparameters.learning_rate: value {given!r} (allowed: above 0, below 1; lin_NUMBER)")
    return given


def learned_policy(config: TrainConfig, model: Any) -> LearnedPolicy:
    """The model's present network as a policy that needs neither torch nor pickle."""
    return LearnedPolicy(describe(config), weights_of(model))


def describe(config: TrainConfig) -> Description:
    """What the network of this training means."""
    summary = config.summary or f"{config.algorithm} on {config.environment}"
    masked = config.algorithm in ("maskable_ppo", "cma_es")
    return Description(
        name=config.name,
        summary=summary,
        environment=config.environment_id,
        rule=config.rule,
        config=config.environment_arguments,
        frame_stack=config.frame_stack,
        masked=masked,
        deterministic=config.deterministic,
        kernels=config.kernels,
    )


assert {name for name, _ in CLASSES} >= set(INSIDE)
