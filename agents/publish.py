"""``python -m agents.publish``: shipped policies: their cards, their numbers again, their trainings again.

card RUN         evaluate a training's best policy on the test split; its weights and card go to agents/models
reproduce        evaluate every shipped policy again and compare with its card
retrain          say how many hours it takes, then train every shipped policy again
"""

import json
import shutil
from pathlib import Path
from typing import Annotated

import typer

from agents.card import MODELS, Card, differences, digest, load_card, markdown, numbers
from agents.config import ConfigError, parse_config
from agents.evaluate import RIVALS
from agents.evolve import evolve
from agents.run import Run, history, write
from agents.train import train
from baselines.command import run_command, say
from baselines.evaluate import INPUT_ERRORS, evaluate
from baselines.executor import make_executor
from baselines.experiment import Experiment, make_plan
from baselines.report.results import Results, read_results
from baselines.store import Store
from vcpu_env.policy.named import POLICIES
from vcpu_env.scenario.splits import SPLITS

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

Directory = Annotated[Path, typer.Option("--models", metavar="DIR", help="Of policies and cards.")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Of the evaluation's cells; what is there is not run again.")]


def evaluation(path: Path, changes: tuple[str, ...], seeds: int, scenarios: tuple[str, ...], out: Path) -> Results:
    """Evaluate a policy beside its rivals, without what was already run."""
    asked = Experiment(name=path.stem, scenarios=scenarios, policies=(*RIVALS, str(path)), seeds=seeds, set=changes)
    directory = out / path.stem
    evaluate(make_plan(asked, POLICIES), Store(directory, resume=True), make_executor("process"))
    return read_results(directory)


def cards(directory: Path) -> list[Card]:
    """All cards of a directory."""
    return [load_card(path) for path in sorted(directory.glob("*.json"))]


@app.command()
def card(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a finished training.")],
    seeds: Annotated[int, typer.Option(min=1, help="Of the evaluation.")] = 8,
    scenario: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Instead of the test split.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change all scenarios.")] = None,
    models: Directory = MODELS,
    out: Out = Path("results/cards"),
) -> None:
    """Evaluate a training's best policy, and ship it with its card."""
    if not (run / "best.npz").exists():
        raise ConfigError(f"run: value '{run}' (allowed: the directory of a finished training)")
    config = parse_config(json.loads((run / "config.json").read_text("utf-8")))
    models.mkdir(parents=True, exist_ok=True)
    path = models / f"{config.name}.npz"
    shutil.copyfile(run / "best.npz", path)
    changes, names = tuple(set_ or ()), tuple(scenario or SPLITS["test"])
    found = Card(
        name=config.name,
        summary=config.summary or f"{config.algorithm} on {config.environment}",
        sha256=digest(path),
        command=command_of(run),
        config=config,
        hours=((run / "last.npz").stat().st_mtime - (run / "config.json").stat().st_mtime) / 3600,
        validation=max(line["change"] for line in history(run)),
        evaluation_set=changes,
        seeds=seeds,
        **numbers(evaluation(path, changes, seeds, names, out), config.name),
    )
    write(path.with_suffix(".json"), (found.model_dump_json(indent=1) + "\n").encode())
    write(path.with_suffix(".md"), markdown(found).encode())
    say(f"{path}, {path.with_suffix('.json').name}, {path.with_suffix('.md').name}")


def command_of(run: Path) -> str:
    """What began a training."""
    path = run / "command.txt"
    return path.read_text("utf-8").strip() if path.exists() else "python -m agents.publish retrain"


@app.command()
def reproduce(models: Directory = MODELS, out: Out = Path("results/cards")) -> None:
    """Evaluate every shipped policy again; exit code 1 if a number is not that of its card."""
    shipped, wrong = cards(models), 0
    if not shipped:
        say(f"{models}: no shipped policies")
    for each in shipped:
        names = tuple(cell.scenario for cell in each.cells)
        results = evaluation(models / f"{each.name}.npz", each.evaluation_set, each.seeds, names, out)
        lines = differences(each, numbers(results, each.name))
        for line in lines:
            print(line)
        print(f"{each.name}: {'as published' if not lines else f'{len(lines)} numbers differ'}")
        wrong += bool(lines)
    raise typer.Exit(1 if wrong else 0)


@app.command()
def retrain(
    models: Directory = MODELS,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Of the trainings; they are gone on with.")] = Path(
        "results/retrain"
    ),
) -> None:
    """Train every shipped policy again; expected hours first."""
    shipped = cards(models)
    hours = sum(each.hours for each in shipped)
    print(f"{len(shipped)} trainings, {hours:.1f} hours on the machine of the cards")
    for each in shipped:
        run = Run(each.config, out / each.name, resume=True)
        (evolve if each.config.algorithm == "cma_es" else train)(each.config, run)
        same = digest(run.directory / "best.npz") == each.sha256
        print(f"{each.name}: {'the weights of the card' if same else 'other weights than those of the card'}")


def main() -> None:
    """Run the command; bad input ends with one line on stderr and exit code 2."""
    run_command(app, (ConfigError, *INPUT_ERRORS))


if __name__ == "__main__":
    main()
