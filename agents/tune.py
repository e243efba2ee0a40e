"""``python -m agents.tune``: search for hyperparameters of a training, or for the series' own constants.

Trials are kept in a journal file: a search that was stopped goes on, and several processes can work on one journal.

    python -m agents.tune series --journal tune.log --trials 200        # tuned-v2.toml, a policy of the evaluation
    python -m agents.tune training wide-ppo --journal wide.log --trials 50
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import optuna
import typer
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from agents.config import ConfigError, TrainConfig, load_config
from agents.evolve import evolve
from agents.run import Run, history
from agents.train import train
from baselines.cells import Cell, CellError, run_cell
from baselines.command import run_command, say
from baselines.constants import Constants
from baselines.policies import PolicySource
from baselines.statistics import geometric_mean, paired_ratios
from vcpu_env.base.files import write_whole
from vcpu_env.envs.compiled import tuner
from vcpu_env.kernel.yield_types import CAPS, RATE_LIMIT_NS
from vcpu_env.kvm.types import IPI_WINDOW_NS
from vcpu_env.precompile import ensure_compiled
from vcpu_env.scenario import Scenario, ScenarioError, apply_overrides, load_scenario
from vcpu_env.scenario.splits import SPLITS

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

SHORT = ("run.warmup_ns=300_000_000", "run.duration_ns=200_000_000")
FIRST_SEED = 200_000
"""Seeds of a search start here: neither an evaluation nor a validation uses them."""

Journal = Annotated[Path, typer.Option(metavar="FILE", help="Where trials are kept; several processes can share it.")]
Trials = Annotated[int, typer.Option(min=1, help="Trials that the journal shall hold in all.")]


def constants_of(action: Sequence[float], name: str = "tuned-v2") -> Constants:
    """The constants that an action of HostTuner sets (`vcpu_env.envs.compiled.tuner.tune`)."""
    numbers = np.asarray(action, np.float64)
    return Constants(
        name=name,
        penalty_scale=tuner.tuned_penalty_scale(numbers),
        cap_scales=tuple(tuner.factor(numbers, tuner.FIRST_CAP + i) for i in range(len(CAPS))),
        rate_limit_ns=int(RATE_LIMIT_NS * tuner.factor(numbers, tuner.RATE_LIMIT)),
        ipi_window_ns=int(IPI_WINDOW_NS * tuner.factor(numbers, tuner.IPI_WINDOW)),
        relaxed_boost=action[tuner.RELAXED] >= 0.0,
    )


def constants_toml(constants: Constants) -> str:
    """The file of a policy of these constants."""
    scales = ", ".join(f"{scale:.6g}" for scale in constants.cap_scales)
    return (
        f'name = "{constants.name}"\nsummary = "{constants.summary}"\nsource = "{constants.source}"\n'
        f"penalty_scale = {constants.penalty_scale:.6g}\ncap_scales = [{scales}]\n"
        f"rate_limit_ns = {constants.rate_limit_ns}\nipi_window_ns = {constants.ipi_window_ns}\n"
        f"relaxed_boost = {str(constants.relaxed_boost).lower()}\n"
    )


@dataclass(frozen=True)
class Search:
    """What constants are judged by: throughput over stock's in these scenarios, on paired seeds."""

    scenarios: tuple[Scenario, ...]
    seeds: range

    def work(self, policy: PolicySource) -> list[np.ndarray]:
        """Work of each VM of every scenario, (seeds, VMs)."""
        return [
            np.array([run_cell(Cell(scenario, policy, seed))["vm_units_per_s"] for seed in self.seeds])
            for scenario in self.scenarios
        ]

    def change(self, policy: PolicySource, stock: list[np.ndarray]) -> float:
        """Geometric mean over scenarios, seeds and VMs, less one."""
        ratios = [geometric_mean(paired_ratios(*pair)) for pair in zip(self.work(policy), stock, strict=True)]
        return float(np.exp(np.mean([np.log(ratio).mean() for ratio in ratios])) - 1.0)


def source_of(constants: Constants) -> PolicySource:
    """Constants as a policy, as if they lay in a file."""
    return PolicySource(constants.name, path=f"{constants.name}.toml", text=constants_toml(constants))


def suggest(trial: optuna.Trial) -> list[float]:
    """An action of HostTuner: penalty, a common factor and a slope of the caps, the two times, the relaxed round."""
    level, slope = trial.suggest_float("cap_level", -1, 1), trial.suggest_float("cap_slope", -1, 1)
    caps = [max(-1.0, min(1.0, level + slope * (2 * i / (len(CAPS) - 1) - 1))) for i in range(len(CAPS))]
    return [
        trial.suggest_float("penalty_scale", -1, 1),
        *caps,
        trial.suggest_float("rate_limit", -1, 1),
        trial.suggest_float("ipi_window", -1, 1),
        1.0 if trial.suggest_categorical("relaxed_boost", [True, False]) else -1.0,
    ]


SERIES = {"penalty_scale": 0.0, "cap_level": 0.0, "cap_slope": 0.0, "rate_limit": 0.0, "ipi_window": 0.0,
          "relaxed_boost": True}  # fmt: skip
"""The series' own constants: the first trial."""


def open_study(journal: Path, name: str, sampler_seed: int) -> optuna.Study:
    """The study of this name in a journal, made if it is not there."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(journal)))
    study = optuna.create_study(study_name=name, storage=storage, direction="maximize", load_if_exists=True)
    count = len(study.get_trials(deepcopy=False))  # a search that goes on must not draw its first trials again
    random = int(np.random.SeedSequence([sampler_seed, count]).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(seed=random, multivariate=True, constant_liar=True)
    return study


def finish(study: optuna.Study, objective: Any, trials: int) -> None:
    """Run trials until the study holds as many finished ones, whoever ran them."""
    done = (optuna.trial.TrialState.COMPLETE,)
    while len(study.get_trials(deepcopy=False, states=done)) < trials:
        study.optimize(objective, n_trials=1)
        best = study.best_trial
        count = len(study.get_trials(deepcopy=False, states=done))
        say(f"trial {count} of {trials}: best {best.value:+.2%} {best.params}")


@app.command()
def series(
    journal: Journal,
    trials: Trials = 200,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The policy.")] = Path("tuned-v2.toml"),
    scenario: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Instead of the training split.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change all scenarios.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each scenario.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of the search; give each process its own.")] = 0,
) -> None:
    """Search for the series' constants that give the most throughput on the training split."""
    names = scenario or list(SPLITS["train"])
    for name in names:
        if name in SPLITS["test"]:
            raise ConfigError(f"scenario: value '{name}' (allowed: not of the test split)")
    ensure_compiled()
    scenarios = tuple(apply_overrides(load_scenario(name), [*SHORT, *(set_ or [])]) for name in names)
    search = Search(scenarios, range(FIRST_SEED, FIRST_SEED + seeds))
    stock = search.work(PolicySource("stock"))
    study = open_study(journal, "series", seed)
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(SERIES)
    finish(study, lambda trial: search.change(source_of(constants_of(suggest(trial))), stock), trials)
    best = constants_of(suggest(optuna.trial.FixedTrial(study.best_params)))  # type: ignore[arg-type]
    source = f"agents.tune series, {len(study.get_trials(deepcopy=False))} trials, {study.best_value:+.2%} in training"
    write_whole(out, constants_toml(best.model_copy(update={"source": source})).encode())
    say(f"{out}: evaluate it with python -m agents.evaluate {out}")


RANGES: dict[str, Any] = {
    "learning_rate": lambda trial: trial.suggest_float("learning_rate", 1e-4, 3e-3, log=True),
    "ent_coef": lambda trial: trial.suggest_float("ent_coef", 1e-5, 3e-2, log=True),
    "gae_lambda": lambda trial: trial.suggest_categorical("gae_lambda", [0.8, 0.9, 0.95, 0.99]),
    "n_epochs": lambda trial: trial.suggest_int("n_epochs", 1, 6),
    "clip_range": lambda trial: trial.suggest_categorical("clip_range", [0.1, 0.2, 0.3]),
}
OFF_POLICY_RANGES: dict[str, Any] = {
    "learning_rate": RANGES["learning_rate"],
    "tau": lambda trial: trial.suggest_float("tau", 1e-3, 5e-2, log=True),
    "gamma": lambda trial: trial.suggest_categorical("gamma", [0.5, 0.9, 0.98]),
}
EVOLUTION_RANGES: dict[str, Any] = {
    "sigma": lambda trial: trial.suggest_float("sigma", 0.05, 1.0, log=True),
    "population_size": lambda trial: trial.suggest_categorical("population_size", [12, 24, 48]),
}


def hyperparameters(config: TrainConfig, trial: optuna.Trial) -> TrainConfig:
    """A training with hyperparameters of a trial's choice."""
    ranges = {"cma_es": EVOLUTION_RANGES, "sac": OFF_POLICY_RANGES, "tqc": OFF_POLICY_RANGES}
    chosen = {name: suggested(trial) for name, suggested in ranges.get(config.algorithm, RANGES).items()}
    update: dict[str, Any] = {"hyperparameters": config.hyperparameters | chosen}
    if config.inside:
        update["half_life_ns"] = round(trial.suggest_float("half_life_ns", 1e5, 2e7, log=True))
    return config.model_copy(update=update)


@app.command()
def training(
    config: Annotated[str, typer.Argument(metavar="NAME|FILE", help="Shipped configuration or TOML file.")],
    journal: Journal,
    trials: Trials = 50,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a field.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory of the trainings.")] = Path("results/tune"),
    seed: Annotated[int, typer.Option(min=0, help="Of the search; give each process its own.")] = 0,
) -> None:
    """Search for hyperparameters: each trial is a training, judged by its best validation."""
    loaded = load_config(config, set_ or ())
    study = open_study(journal, f"{loaded.name}-{loaded.digest}", seed)

    def objective(trial: optuna.Trial) -> float:
        tried = hyperparameters(loaded, trial)
        run = Run(tried, out / f"{tried.name}-{tried.digest}-{trial.number}", resume=False)
        (evolve if tried.algorithm == "cma_es" else train)(tried, run)
        return max((line["change"] for line in history(run.directory)), default=-math.inf)

    finish(study, objective, trials)
    for name, value in study.best_params.items():
        print(f"{name} = {value}")


def main() -> None:
    """Run the command; bad input ends with one line on stderr and exit code 2."""
    run_command(app, (ConfigError, ScenarioError, CellError))


if __name__ == "__main__":
    main()
