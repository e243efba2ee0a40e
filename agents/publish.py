"""``python -m agents.publish``: shipped policies: their cards, their numbers again, their trainings again.

ship RUN...      copy the best weights of trainings to agents/models; those that differ in the seed share a card
cards            evaluate everything shipped on the test split, beside the baselines; write numbers and the table
reproduce        evaluate everything shipped again and compare with the cards
retrain          say how many hours it takes, then train every shipped policy again
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from agents.card import HOSTS, MODELS, Card, Member, differences, load_card, markdown, numbers, policy_of
from agents.config import ConfigError, TrainConfig, parse_config
from agents.curves import draw
from agents.evolve import evolve
from agents.run import Run, history
from agents.table import page
from agents.train import train
from baselines.command import run_command, say
from baselines.evaluate import INPUT_ERRORS, evaluate
from baselines.experiment import Experiment, make_plan
from baselines.report.results import Results, read_results
from baselines.store import Store
from vcpu_env.base.files import write_whole
from vcpu_env.executors.make import make_executor
from vcpu_env.nets.learned import LearnedPolicy
from vcpu_env.policy.named import POLICIES
from vcpu_env.scenario.splits import SPLITS

BASELINES = (
    "debooster", "ipi", "series-v2", "vee21", "unserved-credit", "strict-credit", "strict-borrow", "oracle-eligible",
    "oracle-series", "oracle-credit", "oracle-borrow",
)  # fmt: skip
"""What shipped policies are shown beside."""

EVALUATION = ("run.warmup_ns=300_000_000", "run.duration_ns=300_000_000")
"""Changes of all scenarios in the cards' evaluation: shorter runs, so that it takes minutes, not hours."""

TABLE, CURVES = "README.md", "learning-curves.svg"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

Directory = Annotated[Path, typer.Option("--models", metavar="DIR", help="Of policies and cards.")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Of the evaluation's cells; what is there is not run again.")]
Names = Annotated[list[str] | None, typer.Option("--scenario", metavar="NAME", help="Instead of the test split.")]
Some = Annotated[
    list[str] | None, typer.Option("--scenario", metavar="NAME", help="Only the numbers of these scenarios.")
]
Changes = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change all scenarios.")]


def evaluation(
    models: Path, shipped: list[Card], changes: tuple[str, ...], seeds: int, scenarios: tuple[str, ...], out: Path
) -> Results:
    """Evaluate everything in a directory of models beside the baselines, without what was already run."""
    fixed = [str(path) for path in sorted(models.glob("*.toml"))]
    fixed += [f"{path}:TREE" for path in sorted(models.glob("*_tree.py"))]
    learned = [str(models / file) for card in shipped for file in card.files]
    asked = Experiment(
        name="cards", scenarios=scenarios, policies=(*BASELINES, *fixed, *learned), seeds=seeds, set=changes
    )
    evaluate(make_plan(asked, POLICIES), Store(out, resume=True), make_executor("process"))
    return read_results(out)


def cards(directory: Path) -> list[Card]:
    """All cards of a directory.

    Raises:
        ConfigError: there is none.
    """
    found = [load_card(path) for path in sorted(directory.glob("*.json"))]
    if not found:
        raise ConfigError(f"models: value '{directory}' holds no shipped policies (allowed: a directory of cards)")
    return found


def write_card(models: Path, card: Card) -> None:
    """Both files of a card."""
    write_whole(models / f"{card.name}.json", (card.model_dump_json(indent=1) + "\n").encode())
    write_whole(models / f"{card.name}.md", markdown(card).encode())


def finished(run: Path) -> TrainConfig:
    """The configuration of a training whose best weights are there.

    Raises:
        ConfigError: it is not one.
    """
    if not (run / "best.npz").exists() or not (run / "last.npz").exists():
        raise ConfigError(f"run: value '{run}' (allowed: the directory of a finished training)")
    return parse_config(json.loads((run / "config.json").read_text("utf-8")))


def shipped_policy(policy: LearnedPolicy, seed: int) -> LearnedPolicy:
    """Without the critic, which decides nothing, and with the seed in its name."""
    about = policy.about.model_copy(update={"name": f"{policy.about.name}-{seed}"})
    return LearnedPolicy(about, replace(policy.weights, critic=()))


def member(run: Path, seed: int, digest: str) -> Member:
    """A training as a card has it."""
    lines = history(run)
    return Member(
        seed=seed,
        digest=digest,
        command=command_of(run),
        hours=((run / "last.npz").stat().st_mtime - (run / "config.json").stat().st_mtime) / 3600,
        validation=max(lines, key=lambda line: line["change"] - line.get("harm", 0.0))["change"],
        curve=tuple((line["step"], line["change"]) for line in lines),
    )


def command_of(run: Path) -> str:
    """What began a training."""
    path = run / "command.txt"
    return path.read_text("utf-8").strip() if path.exists() else "python -m agents.publish retrain"


@app.command()
def ship(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Directories of finished trainings.")],
    models: Directory = MODELS,
) -> None:
    """Copy the best weights of trainings to the shipped models, with cards that have no numbers yet."""
    configs = [finished(run) for run in runs]
    models.mkdir(parents=True, exist_ok=True)
    families: dict[str, list[tuple[TrainConfig, Path]]] = {}
    for config, run in sorted(zip(configs, runs, strict=True), key=lambda pair: pair[0].seed):
        families.setdefault(config.name, []).append((config, run))
    for name, trainings in families.items():
        first = trainings[0][0]
        for config, run in trainings[1:]:
            if config.model_copy(update={"seed": first.seed}) != first:
                raise ConfigError(f"run: value '{run}' (allowed with '{name}': what differs in the seed alone)")
        members = []
        for config, run in trainings:
            policy = shipped_policy(policy_of(run / "best.npz"), config.seed)
            policy.save(models / f"{name}-{config.seed}.npz")
            members.append(member(run, config.seed, policy.digest))
        summary = first.summary or f"{first.algorithm} on {first.environment}"
        card = Card(
            name=name,
            summary=summary,
            config=first,
            members=tuple(members),
            trained_hosts=HOSTS,
            trained_kernels=first.kernels,
        )
        write_card(models, card)
        say(f"{models / name}.json: {len(members)} trainings")


@app.command("cards")
def write_cards(
    seeds: Annotated[int, typer.Option(min=1, help="Of the evaluation.")] = 6,
    scenario: Names = None,
    set_: Changes = None,
    models: Directory = MODELS,
    out: Out = Path("results/cards"),
) -> None:
    """Evaluate everything shipped and write its numbers to the cards, and the table of all policies."""
    shipped, changes = cards(models), tuple(set_ or EVALUATION)
    results = evaluation(models, shipped, changes, seeds, tuple(scenario or SPLITS["test"]), out)
    done = [
        card.model_copy(
            update={"evaluation_set": changes, "seeds": seeds, "scored_hosts": HOSTS} | numbers(results, card)
        )
        for card in shipped
    ]
    for card in done:
        write_card(models, card)
    write_whole(models / TABLE, page(results, done).encode())
    draw(done, models / CURVES)
    say(f"{models / TABLE}")


@app.command()
def reproduce(scenario: Some = None, models: Directory = MODELS, out: Out = Path("results/reproduce")) -> None:
    """Evaluate everything shipped again; exit code 1 if a number is not that of its card."""
    shipped, wrong = cards(models), 0
    for card in shipped:
        if not card.cells:
            raise ConfigError(f"models: {card.name} has no numbers yet (allowed: after 'cards')")
        if card.scored_hosts != HOSTS:
            raise ConfigError(
                f"models: the numbers of {card.name} are of hosts {card.scored_hosts.partition(':')[0]!r} (allowed:"
                f" {HOSTS.partition(':')[0]!r}; 'cards' scores it anew)"
            )
    first = shipped[0]
    published = [cell.scenario for cell in first.cells]
    for name in scenario or ():
        if name not in published:
            raise ConfigError(f"scenario: value '{name}' (allowed: {', '.join(published)})")
    names = tuple(name for name in published if name in (scenario or published))
    results = evaluation(models, shipped, first.evaluation_set, first.seeds, names, out)
    for card in shipped:
        lines = differences(card, numbers(results, card))
        for line in lines:
            print(line)
        print(f"{card.name}: {'as published' if not lines else f'{len(lines)} numbers differ'}")
        wrong += bool(lines)
    if len(names) == len(published):
        same = page(results, shipped) == (models / TABLE).read_text("utf-8")
        print(f"{TABLE}: {'as published' if same else 'another table'}")
        wrong += not same
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
    trainings = [(card, training) for card in shipped for training in card.members]
    hours = sum(training.hours for _, training in trainings)
    print(f"{len(trainings)} trainings, {hours:.1f} hours on the machine of the cards")
    for card, training in trainings:
        config = card.config.model_copy(update={"seed": training.seed})
        name = f"{card.name}-{training.seed}"
        run = Run(config, out / name, resume=True)
        (evolve if config.algorithm == "cma_es" else train)(config, run)
        same = shipped_policy(policy_of(run.directory / "best.npz"), training.seed).digest == training.digest
        print(f"{name}: {'the weights of the card' if same else 'other weights than those of the card'}")


def main() -> None:
    """Run the command; bad input ends with one line on stderr and exit code 2."""
    run_command(app, (ConfigError, *INPUT_ERRORS))


if __name__ == "__main__":
    main()
