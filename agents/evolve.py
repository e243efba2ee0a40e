"""CMA-ES over a linear policy, every try played inside the machines: the simple rival of learning by gradient.

A try's fitness is how much better than the rule it does on the same episodes, in logarithms: the mean of its reward and
of each VM's work, and, `harm` times, what the VM that does worst loses. A generation's tries share their episodes. Each
generation's fitness is written down, and a training that was stopped goes on by asking the optimiser again for the same
tries: its randomness comes from the seed alone.

Hyperparameters: population_size, sigma (the first step size), episodes (of each scenario in a generation), harm.
"""

import time
from typing import Any

import numpy as np
import torch
from cmaes import CMA, SepCMA
from rich.console import Console
from rich.progress import track
from stable_baselines3.common.logger import configure

from agents.config import ConfigError, TrainConfig
from agents.learner import describe, make_environment
from agents.linear import as_the_rule, imitate, linear_policy
from agents.run import Run, append_line, read_lines
from agents.teacher import lessons
from baselines.command import say
from vcpu_env.base.errors import nearest
from vcpu_env.base.interrupts import INTERRUPTED, heard
from vcpu_env.envs.action import Actions, boosts
from vcpu_env.envs.config import rule_of
from vcpu_env.envs.parallel import handles, together
from vcpu_env.envs.start import nr_features, start
from vcpu_env.nets.learned import KINDS, LearnedPolicy
from vcpu_env.nets.packing import pack
from vcpu_env.nets.play import play_episodes
from vcpu_env.scenario import load_scenario

DEFAULTS = {"population_size": 24, "sigma": 0.3, "episodes": 1, "harm": 1.0}
LEAST = {"population_size": 4, "sigma": 1e-6, "episodes": 1, "harm": 0}
"""The hyperparameters, with their defaults and their least values."""
LARGEST_FULL = 100
"""Parameters up to which the whole covariance matrix is learned, else only its diagonal."""
LEAST_RATIO = 0.01
"""Of rewards: an episode that earned nothing must not decide alone."""
FEW_UNITS = 5.0
"""Added to counts of work, so that a few units by chance do not decide."""


class Arena:
    """Machines on which policies are tried.

    Attributes:
        decisions: taken in the last generation.
    """

    decisions = 0

    def __init__(self, config: TrainConfig, tries: int, episodes: int, harm: float):
        self.config, self.harm = config, harm
        self.kind = KINDS[config.environment_id]
        self.env_config = config.environment_arguments
        self.actions = Actions(self.kind, self.env_config)
        scenarios = [load_scenario(name) for name in config.stages[0].scenarios] * episodes
        rule = rule_of(config.rule)
        self.starts = [
            [start(scenario, rule, self.kind, self.env_config, number) for number in range(self.env_config.warm_starts)]
            for scenario in scenarios
        ]
        self.nr_vms = np.array([len(scenario.expanded_vms) for scenario in scenarios])
        self.machines = [starts[0].fork() for _ in range(tries) for starts in self.starts]

    def play(self, tried: list[np.ndarray], generation: int) -> tuple[np.ndarray, np.ndarray]:
        """Reward, (tries, episodes), and work of each VM, (tries, episodes, VMs), in the episodes of a generation."""
        rng = np.random.default_rng([self.config.seed, generation])
        count = len(self.starts)
        numbers = rng.integers(self.env_config.warm_starts, size=count)
        seeds = np.tile(rng.integers(2**31, size=count), len(tried))
        jitters = np.tile(rng.integers(self.env_config.jitter_ns + 1, size=count), len(tried))
        packed = [pack(linear_policy(parameters, self.actions)) for parameters in tried]
        weights = np.repeat(np.stack([weights for _, weights in packed]), count, axis=0)
        machines = self.machines[: len(tried) * count]
        for i, machine in enumerate(machines):
            np.copyto(machine.world.words, self.starts[i % count][numbers[i % count]].world.words)
        rewards, statuses = np.empty(len(machines)), np.full(len(machines), INTERRUPTED)
        works = np.zeros((len(machines), self.nr_vms.max()), np.int64)
        decisions = np.full(len(machines), -1)
        everything = (
            handles([machine.world for machine in machines]), seeds, jitters, packed[0][0], weights,
            nr_features(self.kind, self.env_config), self.actions.mask_length, self.actions.width, False,
            rewards, works, decisions, statuses,
        )  # fmt: skip
        with together(self.config.threads):
            while play_episodes(*everything):
                heard()
        for machine in machines:
            machine.check()
        self.decisions = int(decisions.sum())
        return rewards.reshape(len(tried), count), works.reshape(len(tried), count, -1)

    def fitness(self, tried: list[np.ndarray], generation: int) -> np.ndarray:
        """How much better than the rule each try is."""
        rewards, works = self.play([self.rule, *tried], generation)
        gains = np.log(np.maximum(rewards[1:] / np.maximum(rewards[0], 1e-9), LEAST_RATIO))
        there = np.arange(works.shape[2]) < self.nr_vms[:, None]
        vm_gains = np.where(there, np.log((works[1:] + FEW_UNITS) / (works[0] + FEW_UNITS)), 0.0)
        gains = (gains + vm_gains.sum(axis=2) / self.nr_vms) / 2
        return (gains + self.harm * vm_gains.min(axis=2).clip(max=0.0)).mean(axis=1)

    @property
    def rule(self) -> np.ndarray:
        """Parameters that leave every choice to the rule."""
        return as_the_rule(self.actions, own_boost(self.kind, self.env_config.penalty_levels))


def own_boost(kind: int, levels: tuple[float, ...]) -> int:
    """The second number of an action that means the series' own penalty."""
    return next((i for i, (name, _, _) in enumerate(boosts(kind, levels)) if name == "penalty_1"), 0)


def settings(config: TrainConfig) -> dict[str, Any]:
    """The hyperparameters, with defaults.

    Raises:
        ConfigError: there is no such hyperparameter, or it cannot have that value.
    """
    for name, value in config.hyperparameters.items():
        if name not in DEFAULTS:
            raise ConfigError(f"hyperparameters: unknown '{name}' of cma_es ({nearest(name, DEFAULTS)})")
        kind, what = (int, "whole number") if isinstance(DEFAULTS[name], int) else ((int, float), "number")
        if isinstance(value, bool) or not isinstance(value, kind) or not value >= LEAST[name]:
            raise ConfigError(f"hyperparameters.{name}: value {value!r} (allowed: a {what} from {LEAST[name]})")
    if len(config.stages) > 1:
        raise ConfigError(f"stages: {len(config.stages)} (allowed with cma_es: 1)")
    return DEFAULTS | config.hyperparameters


def optimiser(config: TrainConfig, mean: np.ndarray, how: dict[str, Any]) -> CMA | SepCMA:
    """The evolution strategy at its start."""
    kind = CMA if len(mean) <= LARGEST_FULL else SepCMA
    return kind(mean=mean, sigma=how["sigma"], population_size=how["population_size"], seed=config.seed)


def first_mean(config: TrainConfig, arena: Arena) -> np.ndarray:
    """Where the search begins: at the rule, or at what imitates a teacher best."""
    if config.cloning is None:
        return arena.rule
    cloning = config.cloning
    taught = lessons(config, cloning, make_environment(config, config.stages[0]).unwrapped.environment)
    torch.set_num_threads(config.torch_threads)  # sums depend on their number
    return imitate(taught, arena.actions, arena.rule, cloning.epochs, cloning.learning_rate, config.seed)


def evolve(config: TrainConfig, run: Run) -> LearnedPolicy:
    """Evolve for `total_steps` generations, from the start or from where the run's directory ends."""
    how = settings(config)
    arena = Arena(config, how["population_size"] + 1, how["episodes"], how["harm"])
    strategy = optimiser(config, first_mean(config, arena), how)
    record = run.directory / "generations.jsonl"
    done = read_lines(record)
    best: float | None = None
    every = max(1, round(config.validation.every * config.total_steps))
    console = Console(stderr=True)
    logger = configure(run.logs(len(done)), ["csv", "tensorboard"])
    for generation in track(range(config.total_steps), config.name, console=console, disable=not console.is_terminal):
        tried = [strategy.ask() for _ in range(how["population_size"])]
        if generation < len(done):
            fitness = np.array(done[generation]["fitness"])
            best = done[generation]["best"]
        else:
            began = time.perf_counter()
            fitness = arena.fitness(tried, generation)
            logger.record("time/decisions_per_s", arena.decisions / (time.perf_counter() - began))
        strategy.tell([(parameters, -float(value)) for parameters, value in zip(tried, fitness, strict=True)])
        if generation < len(done):
            continue
        logger.record("fitness/mean", fitness.mean())
        logger.record("fitness/best", fitness.max())
        policy = LearnedPolicy(describe(config), linear_policy(strategy.mean, arena.actions))
        if (generation + 1) % every == 0 or generation + 1 == config.total_steps:
            verdict, best = run.validate(policy, generation + 1, best)
            for name, value in verdict.numbers().items():
                logger.record(f"validation/{name}", value)
            say(f"generation {generation + 1}: {verdict.change:+.1%} against stock, series-v2 {verdict.reference:+.1%}")
        logger.dump(generation + 1)
        append_line(record, {"generation": generation, "fitness": fitness.tolist(), "best": best})
    logger.close()
    policy = LearnedPolicy(describe(config), linear_policy(strategy.mean, arena.actions))
    policy.save(run.directory / "last.npz")
    return policy
