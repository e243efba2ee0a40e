"""``python -m agents.train CONFIG.toml``: train a policy; a training that was stopped goes on with ``--resume``.

The same configuration gives the same weights, bit for bit, interrupted or not (on the same machine and versions).
"""

import functools
import shlex
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure

from agents import checkpoint
from agents.checkpoint import CheckpointError
from agents.clone import clone
from agents.config import ConfigError, TrainConfig, load_config
from agents.evolve import evolve
from agents.learner import learned_policy, make_environment, make_model
from agents.run import Run
from baselines.command import InterruptError, run_command, say

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class Watch(BaseCallback):
    """Validates, writes checkpoints and shows progress between rollouts, when all state is settled.

    Attributes:
        progress: what a resumed training must know of this: plain data.
    """

    def __init__(self, run: Run, stage: int, progress: dict[str, Any]):
        super().__init__()
        self.run, self.progress = run, progress | {"stage": stage}
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
                   TimeRemainingColumn())  # fmt: skip
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.task = self.bar.add_task(run.config.name, total=run.config.total_steps)

    def _on_training_start(self) -> None:
        self.bar.start()

    def _on_rollout_start(self) -> None:
        """Between two rollouts."""
        torch.set_num_threads(self.run.config.torch_threads)  # sums depend on their number
        steps = self.model.num_timesteps
        self.bar.update(self.task, completed=steps)
        if steps == 0:
            return
        total, progress, config = self.run.config.total_steps, self.progress, self.run.config
        if steps - progress["validated"] >= config.validation.every * total:
            self.validate()
        if steps - progress["saved"] >= config.checkpoint_every * total:
            self.save()

    def validate(self) -> None:
        """Evaluate the present network."""
        self.bar.stop()
        steps = self.model.num_timesteps
        policy = learned_policy(self.run.config, self.model)
        verdict, self.progress["best"] = self.run.validate(policy, steps, self.progress["best"])
        self.progress["validated"] = steps
        for name, value in verdict.numbers().items():
            self.logger.record(f"validation/{name}", value)
        say(
            f"{steps:,} steps: {verdict.change:+.1%} [{verdict.low:+.1%}, {verdict.high:+.1%}] against stock, "
            f"series-v2 {verdict.reference:+.1%}"
        )
        self.bar.start()

    def save(self) -> None:
        """Write a checkpoint."""
        self.progress["saved"] = self.model.num_timesteps
        checkpoint.save(self.run.checkpoint, self.run.config, self.model, self.progress)

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self.bar.stop()


def whole_progress(model: Any, total: int, num_timesteps: int, _: int) -> None:
    """What is left of the whole training, not of its stage: for schedules."""
    model._current_progress_remaining = max(0.0, 1.0 - num_timesteps / total)


def train(config: TrainConfig, run: Run) -> Any:
    """Train from the start, or from the checkpoint in the run's directory. Returns the model."""
    progress: dict[str, Any] = {"validated": 0, "saved": 0, "best": None, "stage": 0}
    resumed = run.checkpoint.exists()
    if resumed:
        progress = checkpoint.progress(run.checkpoint, config)
    stage = progress["stage"]
    model = make_model(config, make_environment(config, config.stages[stage]))
    model._update_current_progress_remaining = functools.partial(whole_progress, model, config.total_steps)
    if resumed:
        checkpoint.load(run.checkpoint, config, model)
    elif config.cloning is not None:
        clone(config, config.cloning, model)
    model.set_logger(configure(run.logs(model.num_timesteps), ["csv", "tensorboard"]))
    try:
        learn_stages(config, model, Watch(run, stage, progress))
    finally:
        model.logger.close()
    learned_policy(config, model).save(run.directory / "last.npz")
    return model


def learn_stages(config: TrainConfig, model: Any, watch: Watch) -> None:
    """Learn from the present stage to the last, then validate."""
    stage = watch.progress["stage"]
    for number in range(stage, len(config.stages)):
        if number != stage:
            env = make_environment(config, config.stages[number])
            env.seed(config.seed + 1_000_000 * number)
            checkpoint.hand_over(model.get_env(), env)
            model.set_env(env)
            watch.progress["stage"] = number
        left = round(config.stages[number].until * config.total_steps) - model.num_timesteps
        if left > 0:
            model.learn(left, watch, reset_num_timesteps=False, log_interval=1)
    if watch.progress["validated"] < model.num_timesteps:
        watch.init_callback(model)
        watch.validate()
        watch.bar.stop()
        watch.save()


@app.command()
def command(
    config: Annotated[str, typer.Argument(metavar="NAME|FILE", help="Shipped configuration or TOML file.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a field, as seed=1.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Directory.  [default: results/train/NAME-HASH]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on in a directory that holds this training.")] = False,
) -> None:
    """Train a policy: checkpoints, logs, and the best policy by validation."""
    loaded = load_config(config, set_ or ())
    directory = out or Path("results") / "train" / f"{loaded.name}-{loaded.digest}"
    run = Run(loaded, directory, resume)
    run.note(shlex.join(["python", "-m", "agents.train", config, *(f"--set={change}" for change in set_ or ())]))
    try:
        if loaded.algorithm == "cma_es":
            evolve(loaded, run)
        else:
            train(loaded, run)
    except KeyboardInterrupt:
        raise InterruptError(f"--resume goes on from the last checkpoint in {directory}") from None
    say(f"{directory / 'best.npz'}: evaluate it with python -m agents.evaluate {directory / 'best.npz'}")


def main() -> None:
    """Run the command; bad input ends with one line on stderr and exit code 2."""
    run_command(app, (ConfigError, CheckpointError))


if __name__ == "__main__":
    main()
