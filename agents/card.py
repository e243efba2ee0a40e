"""Model cards: where a shipped policy comes from, what it scores, where it fails; JSON, and Markdown made from it."""

import hashlib
import math
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.config import ConfigError, TrainConfig
from baselines.report.results import Results
from baselines.statistics import change, geometric_mean, paired_ratios
from baselines.summary import Comparison
from vcpu_env.scenario.errors import error_lines

MODELS = Path(str(resources.files("agents") / "models"))
"""Where shipped policies and their cards lie."""

HARM = -0.02
"""A scenario is a failure case if the interval of its worst VM's change lies wholly below this."""

Interval = tuple[float, float, float]
"""A value and its 95 % interval."""


class Part(BaseModel):
    """Base of all parts."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Cell(Part):
    """One scenario: change of throughput and of the worst VM, against stock."""

    scenario: str = Field(description="name")
    change: Interval = Field(description="of throughput")
    worst_vm: Interval = Field(description="of the VM that does worst")
    worst_vm_name: str = Field(description="which")


class Card(Part):
    """All that is known of a policy."""

    name: str = Field(description="of the policy, and of its file")
    summary: str = Field(description="one line")
    sha256: str = Field(description="of the file")
    command: str = Field(description="that trained it")
    config: TrainConfig = Field(description="of the training")
    hours: float = Field(ge=0, description="from the start of the training to its end")
    validation: float = Field(description="change of the best validation, by which it was chosen")
    evaluation_set: tuple[str, ...] = Field(default=(), description="changes of the scenarios evaluated")
    seeds: int = Field(ge=1, description="of the evaluation, from 0")
    score: Interval = Field(description="change of throughput against stock")
    against: dict[str, Interval] = Field(description="the same against other policies")
    cells: tuple[Cell, ...] = Field(description="scenario by scenario")

    @property
    def failures(self) -> list[Cell]:
        """Scenarios in which some VM is surely harmed."""
        return [cell for cell in self.cells if cell.worst_vm[2] < HARM]


def work_ratios(mine: Sequence[Comparison], theirs: Sequence[Comparison]) -> list[np.ndarray]:
    """Throughput of a policy over another's, on the same seeds, per scenario."""
    ratios = []
    for one, other in zip(mine, theirs, strict=True):
        if one.alike:
            ratios.append(paired_ratios(one.work.sum(axis=1), other.work.sum(axis=1)))
        else:
            ratios.append(geometric_mean(paired_ratios(one.work, other.work)))
    return ratios


def numbers(results: Results, name: str) -> dict[str, Any]:
    """What an evaluation says about a policy: the part of a card that can be reproduced."""
    mine = results.comparisons_of(name)
    score = change([comparison.ratios for comparison in mine])
    against = {}
    for rival in results.rivals:
        if rival != name:
            found = change(work_ratios(mine, results.comparisons_of(rival)))
            against[rival] = (found.value, found.low, found.high)
    cells = [
        Cell(
            scenario=comparison.scenario.name,
            change=(comparison.change.value, comparison.change.low, comparison.change.high),
            worst_vm=tuple(vars(comparison.worst_vm_change).values()),
            worst_vm_name=comparison.worst_vm,
        )
        for comparison in mine
    ]
    return {"score": (score.value, score.low, score.high), "against": against, "cells": tuple(cells)}


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_card(path: Path) -> Card:
    """Read a card.

    Raises:
        ConfigError: it is damaged, or the policy beside it is not the one that it describes.
    """
    try:
        card = Card.model_validate_json(path.read_text("utf-8"))
    except ValidationError as error:
        raise ConfigError(f"{path}: " + "; ".join(error_lines(Card, error))) from None
    weights = path.with_suffix(".npz")
    if not weights.exists() or digest(weights) != card.sha256:
        raise ConfigError(f"{weights}: not the policy of {path.name} (allowed: sha256 {card.sha256[:12]}...)")
    return card


def differences(card: Card, again: dict[str, Any]) -> list[str]:
    """One line for each number of a card that another evaluation does not give."""
    fresh = card.model_copy(update=again)
    pairs = [("score", card.score, fresh.score)]
    pairs += [(f"against {rival}", values, fresh.against[rival]) for rival, values in card.against.items()]
    for mine, other in zip(card.cells, fresh.cells, strict=True):
        pairs.append((mine.scenario, mine.change, other.change))
        pairs.append((f"{mine.scenario}, worst VM", mine.worst_vm, other.worst_vm))
    return [
        f"{card.name}: {what}: published {text(published)}, found {text(found)}"
        for what, published, found in pairs
        if not all(math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) for a, b in zip(published, found, strict=True))
    ]


def text(interval: Interval) -> str:
    """A change with its interval."""
    value, low, high = interval
    return f"{value:+.1%} [{low:+.1%}, {high:+.1%}]"


def markdown(card: Card) -> str:
    """The card to read."""
    config = card.config
    scenarios = "; then ".join(", ".join(stage.scenarios) for stage in config.stages)
    lines = [
        f"# {card.name}\n",
        f"{card.summary}. Made from `{card.name}.json` by `python -m agents.publish card`.\n",
        "| | |",
        "|---|---|",
        f"| trained by | `{card.command}` |",
        f"| environment, rule for the rest | {config.environment_id}, {config.rule} |",
        f"| algorithm, seed | {config.algorithm}, {config.seed} |",
        f"| budget | {config.total_steps:,} {'generations' if config.algorithm == 'cma_es' else 'decisions'} |",
        f"| time | {card.hours:.2f} hours |",
        f"| trained on | {scenarios} |",
        f"| chosen by | {card.validation:+.1%} against stock on {', '.join(config.validation.scenarios)} |",
        f"| file | `{card.name}.npz`, sha256 {card.sha256[:16]} |\n",
        "## Scores\n",
        f"Change of throughput over {card.seeds} seeds, 95 % intervals.\n",
        f"* against stock: {text(card.score)}",
        *(f"* against {rival}: {text(values)}" for rival, values in card.against.items()),
        "\n| scenario | against stock | worst VM | which |",
        "|---|---:|---:|---|",
        *(f"| {c.scenario} | {text(c.change)} | {text(c.worst_vm)} | {c.worst_vm_name} |" for c in card.cells),
        "\n## Failure cases\n",
    ]
    for cell in card.failures:
        lines.append(f"* {cell.scenario}: {cell.worst_vm_name} {text(cell.worst_vm)}")
    if not card.failures:
        lines.append(f"In no scenario does the interval of the worst VM's change lie wholly below {HARM:.0%}.")
    return "\n".join(lines) + "\n"
