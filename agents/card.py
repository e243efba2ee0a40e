"""Model cards: where a shipped policy comes from, what it scores, where it fails; JSON, and Markdown made from it.

A card is of one configuration, trained with one or several seeds; every training's weights lie beside it.
"""

import math
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.config import ConfigError, TrainConfig
from agents.pooled import against, pooled_change, pooled_gap, pooled_worst_vm
from baselines.policies import STOCK
from baselines.report.results import Results
from baselines.scoring import TOLERATED
from vcpu_env.nets.learned import LearnedPolicy
from vcpu_env.scenario.errors import error_lines

MODELS = Path(str(resources.files("agents") / "models"))
"""Where shipped policies and their cards lie."""

SERIES = "series-v2"

FIRST_HOSTS = "in step: every VM with one vCPU on each CPU, all from one instant; simplified paravirtual locks"
HOSTS = "launched: VMs one after another, placed by the scheduler; pvqspinlock"
"""The model of hosts and guests: that of the first cards, and today's (docs/changes-of-results.md)."""

Interval = tuple[float, float, float]
"""A value and its 95 % interval."""


class Part(BaseModel):
    """Base of all parts."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Member(Part):
    """One training."""

    seed: int = Field(ge=0, description="of the training")
    digest: str = Field(description="of its weights and what they mean")
    command: str = Field(description="that trained it")
    hours: float = Field(ge=0, description="from its start to its end")
    validation: float = Field(description="change of the best validation, by which its weights were chosen")
    curve: tuple[tuple[int, float], ...] = Field(
        default=(), description="all validations: after how many decisions or generations, change against stock"
    )
    score: Interval | None = Field(default=None, description="change of throughput against stock")


class Cell(Part):
    """One scenario, all trainings together: change of throughput and of the worst VM."""

    scenario: str = Field(description="name")
    change: Interval = Field(description="of throughput, against stock")
    over_series: Interval = Field(description="of throughput, against series-v2")
    worst_vm: Interval = Field(description="of the VM that does worst, against stock")
    worst_vm_each: tuple[Interval, ...] = Field(default=(), description="the same of each training alone")


class Card(Part):
    """All that is known of a policy."""

    name: str = Field(description="of the configuration; files are NAME-SEED.npz")
    summary: str = Field(description="one line")
    config: TrainConfig = Field(description="of the first training; the others differ in the seed")
    members: tuple[Member, ...] = Field(min_length=1, description="the trainings")
    trained_hosts: str = Field(default=FIRST_HOSTS, description="the model that it was trained on")
    scored_hosts: str = Field(default=FIRST_HOSTS, description="the model that the numbers below are of")
    trained_kernels: tuple[str, ...] = Field(default=("6.19",), description="host kernels that it was trained on")
    scored_kernels: tuple[str, ...] = Field(default=("6.19",), description="those that the numbers below are of")
    evaluation_set: tuple[str, ...] = Field(default=(), description="changes of the scenarios evaluated")
    seeds: int = Field(default=1, ge=1, description="of the evaluation, from 0")
    score: Interval | None = Field(default=None, description="change of throughput against stock")
    against: dict[str, Interval] = Field(default={}, description="the same against other policies")
    gap_closed: Interval | None = Field(default=None, description="of that from series-v2 to the oracle, same knobs")
    cells: tuple[Cell, ...] = Field(default=(), description="scenario by scenario")

    @property
    def files(self) -> list[str]:
        """The weights' files."""
        return [f"{self.name}-{member.seed}.npz" for member in self.members]

    @property
    def failures(self) -> list[Cell]:
        """Scenarios in which some VM is surely harmed."""
        return [cell for cell in self.cells if cell.worst_vm[2] < TOLERATED]

    @property
    def harmed_by_each(self) -> list[int]:
        """In how many scenarios each training alone surely harms some VM."""
        return [sum(cell.worst_vm_each[i][2] < TOLERATED for cell in self.cells) for i in range(len(self.members))]


def numbers(results: Results, card: Card) -> dict[str, Any]:
    """What an evaluation says about a policy: the part of a card that can be reproduced."""
    names = [file.removesuffix(".npz") for file in card.files]
    ours = [results.comparisons_of(name) for name in names]
    to_stock, to_series = against(results, names, STOCK), against(results, names, SERIES)
    others = [name for name in results.rivals if name not in names and not trained(name, results)]
    knobs = [p["label"] for p in results.manifest["policies"] if p["oracle"] and p["knobs"]]
    cells = []
    for i, comparison in enumerate(ours[0]):
        ratios = np.array([mine[i].vm_ratios for mine in ours])
        cells.append(
            Cell(
                scenario=comparison.scenario.name,
                change=interval(pooled_change([to_stock[i]])),
                over_series=interval(pooled_change([to_series[i]])),
                worst_vm=interval(pooled_worst_vm(ratios)),
                worst_vm_each=tuple(interval(pooled_worst_vm(one[None])) for one in ratios),
            )
        )
    gap = pooled_gap(results, names, knobs, SERIES) if card.config.environment != "WideYield" else None
    scores = [interval(pooled_change(against(results, [name], STOCK))) for name in names]
    return {
        "scored_kernels": tuple(sorted({case.scenario.host.kernel for case in results.cases})),
        "members": tuple(m.model_copy(update={"score": score}) for m, score in zip(card.members, scores, strict=True)),
        "score": interval(pooled_change(to_stock)),
        "against": {rival: interval(pooled_change(against(results, names, rival))) for rival in others},
        "gap_closed": interval(gap) if gap else None,
        "cells": tuple(cells),
    }


def trained(name: str, results: Results) -> bool:
    """Whether a policy of an evaluation came from a training."""
    return any(p["label"] == name and str(p.get("path", "")).endswith(".npz") for p in results.manifest["policies"])


def interval(estimate: Any) -> Interval:
    """An estimate as plain numbers."""
    return estimate.value, estimate.low, estimate.high


def load_card(path: Path) -> Card:
    """Read a card.

    Raises:
        ConfigError: it is damaged, or the policies beside it are not those that it describes.
    """
    try:
        card = Card.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except ValidationError as error:
        raise ConfigError(f"{path}: " + "; ".join(error_lines(Card, error))) from None
    for member, file in zip(card.members, card.files, strict=True):
        weights = path.with_name(file)
        if not weights.exists() or policy_of(weights).digest != member.digest:
            raise ConfigError(f"{weights}: not the policy of {path.name} (allowed: digest {member.digest[:12]}...)")
    return card


def policy_of(path: Path) -> LearnedPolicy:
    """The policy in a file.

    Raises:
        ConfigError: it is damaged or of another version.
    """
    try:
        return LearnedPolicy.load(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None


def differences(card: Card, again: dict[str, Any]) -> list[str]:
    """One line for each number of a card that another evaluation, of all scenarios or of some, does not give."""
    fresh = card.model_copy(update=again)
    pairs: list[tuple[str, Interval | None, Interval | None]] = []
    if len(fresh.cells) == len(card.cells):
        pairs += [("score", card.score, fresh.score), ("gap closed", card.gap_closed, fresh.gap_closed)]
        pairs += [(f"against {rival}", values, fresh.against.get(rival)) for rival, values in card.against.items()]
        pairs += [(f"seed {a.seed}", a.score, b.score) for a, b in zip(card.members, fresh.members, strict=True)]
    published = {cell.scenario: cell for cell in card.cells}
    for other in fresh.cells:
        mine = published[other.scenario]
        for what in ("change", "over_series", "worst_vm"):
            pairs.append((f"{mine.scenario}, {what}", getattr(mine, what), getattr(other, what)))
        for member, one, two in zip(card.members, mine.worst_vm_each, other.worst_vm_each, strict=True):
            pairs.append((f"{mine.scenario}, worst_vm of seed {member.seed}", one, two))
    return [
        f"{card.name}: {what}: published {text(published)}, found {text(found)}"
        for what, published, found in pairs
        if not same(published, found)
    ]


def same(published: Interval | None, found: Interval | None) -> bool:
    """Equal, up to the last bits of sums."""
    if published is None or found is None:
        return published is found
    return all(math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) for a, b in zip(published, found, strict=True))


def text(values: Interval | None) -> str:
    """A change with its interval."""
    if values is None:
        return "none"
    value, low, high = values
    return f"{value:+.1%} [{low:+.1%}, {high:+.1%}]"


def markdown(card: Card) -> str:
    """The card to read."""
    return "\n".join([*about(card), *scored(card), *failed(card)]) + "\n"


def about(card: Card) -> list[str]:
    """Where the policy comes from."""
    config = card.config
    scenarios = "; then ".join(", ".join(stage.scenarios) for stage in config.stages)
    unit = "generations" if config.algorithm == "cma_es" else "decisions"
    return [
        f"# {card.name}\n",
        f"{card.summary}. Made from `{card.name}.json` by `python -m agents.publish cards`.\n",
        "| | |",
        "|---|---|",
        f"| environment, rule for the rest | {config.environment}, {config.rule} |",
        f"| algorithm | {config.algorithm} |",
        f"| budget of a training | {config.total_steps:,} {unit} |",
        f"| trained on | {scenarios} |",
        f"| hosts of the training | {card.trained_hosts}; Linux {', '.join(card.trained_kernels)} |",
        f"| hosts of the scores | {card.scored_hosts}; Linux {', '.join(card.scored_kernels)} |",
        f"| weights chosen on | {', '.join(config.validation.scenarios)} |\n",
        "## Trainings\n",
        "| seed | command | hours | best validation, against stock | test, against stock |",
        "|---:|---|---:|---:|---:|",
        *(
            f"| {m.seed} | `{m.command}` | {m.hours:.2f} | {m.validation:+.1%} | {text(m.score)} |"
            for m in card.members
        ),
    ]  # fmt: skip


def scored(card: Card) -> list[str]:
    """What the evaluation says."""
    several = "both trainings and seeds of the evaluation" if len(card.members) > 1 else "seeds of the evaluation"
    gap = [f"* gap from {SERIES} to the best oracle with the same knobs: {text(card.gap_closed)} closed"]
    changes = f"; scenarios with {', '.join(f'`{change}`' for change in card.evaluation_set)}"
    return [
        "\n## Scores\n",
        f"Change of throughput over {card.seeds} seeds{changes if card.evaluation_set else ''}.\n",
        f"95 % intervals over {several}.\n",
        f"* against stock: {text(card.score)}",
        *(f"* against {rival}: {text(values)}" for rival, values in card.against.items()),
        *(gap if card.gap_closed else []),
        "\n| scenario | against stock | against series-v2 | worst VM, against stock |",
        "|---|---:|---:|---:|",
        *(f"| {c.scenario} | {text(c.change)} | {text(c.over_series)} | {text(c.worst_vm)} |" for c in card.cells),
    ]


def failed(card: Card) -> list[str]:
    """Where it does harm."""
    lines = [f"* {cell.scenario}: worst VM {text(cell.worst_vm)}" for cell in card.failures]
    none = f"In no scenario does the interval of the worst VM's change lie wholly below {TOLERATED:.0%}."
    each = [
        f"* {cell.scenario}, training {member.seed} alone: worst VM {text(worst)}"
        for cell in card.cells
        for member, worst in zip(card.members, cell.worst_vm_each, strict=True)
        if worst[2] < TOLERATED
    ]
    return ["\n## Failure cases\n", *(lines or [none]), *(["", *each] if len(card.members) > 1 and each else [])]
