"""Model cards: made from an evaluation, read back, reproduced."""

import json
from pathlib import Path

import pytest

pytest.importorskip("cmaes")

from typer.testing import CliRunner

from agents.card import Card, differences, load_card, markdown
from agents.config import ConfigError
from agents.publish import app
from agents.run import Run, save
from tests.agent_config import quick
from tests.test_learned import policy_for

SHORT = ("run.warmup_ns=10_000_000", "run.duration_ns=20_000_000")
CONFIG = quick(name="shipped", summary="for a test")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A directory of one shipped policy, from a training that is made up."""
    root = tmp_path_factory.mktemp("models")
    run = Run(CONFIG, root / "run", resume=False)
    run.note("python -m agents.train shipped")
    policy = policy_for("vcpu_env/WideYield-v0").about.model_copy(update={"name": "shipped"})
    for name in ("best.npz", "last.npz"):
        save(
            type(policy_for("vcpu_env/WideYield-v0"))(policy, policy_for("vcpu_env/WideYield-v0").weights),
            run.directory / name,
        )
    (run.directory / "history.jsonl").write_text('{"step": 1, "change": 0.01}\n{"step": 2, "change": 0.04}\n')
    arguments = [
        "card",
        str(run.directory),
        "--seeds",
        "2",
        "--scenario",
        "dedup-2vm-8cpu",
        "--models",
        str(root / "models"),
    ]
    for change in SHORT:
        arguments += ["--set", change]
    done = CliRunner().invoke(app, [*arguments, "--out", str(root / "cells")])
    assert done.exit_code == 0, done.output
    return root / "models"


def test_a_card_says_it_all(models):
    card = load_card(models / "shipped.json")
    assert (card.name, card.validation, card.seeds, card.evaluation_set) == ("shipped", 0.04, 2, SHORT)
    assert card.command == "python -m agents.train shipped"
    assert card.config == CONFIG
    assert set(card.against) == {"series-v2", "unserved-credit"}
    assert [cell.scenario for cell in card.cells] == ["dedup-2vm-8cpu"]
    page = (models / "shipped.md").read_text()
    assert page == markdown(card)
    assert "| dedup-2vm-8cpu | " in page and "against series-v2: " in page


def test_it_is_reproduced(models, tmp_path):
    arguments = ["reproduce", "--models", str(models), "--out", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, done.output.splitlines()[-1]) == (0, "shipped: as published"), done.output
    other = tmp_path / "models"
    other.mkdir()
    (other / "shipped.npz").write_bytes((models / "shipped.npz").read_bytes())
    content = json.loads((models / "shipped.json").read_text())
    content["score"][0] += 0.01
    (other / "shipped.json").write_text(json.dumps(content))
    done = CliRunner().invoke(app, ["reproduce", "--models", str(other), "--out", str(tmp_path)])
    assert done.exit_code == 1 and "shipped: score: published " in done.output


def test_failures_are_named(models):
    card = load_card(models / "shipped.json")
    bad = card.cells[0].model_copy(update={"worst_vm": (-0.05, -0.09, -0.021)})
    assert card.model_copy(update={"cells": (bad,)}).failures == [bad]
    edge = bad.model_copy(update={"worst_vm": (-0.05, -0.09, -0.019)})
    harmless = card.model_copy(update={"cells": (edge,)})
    assert harmless.failures == [] and "In no scenario" in markdown(harmless)
    assert len(differences(card, {"cells": (bad,)})) == 1


def test_what_does_not_fit_is_refused(models, tmp_path):
    for name in ("shipped.json", "shipped.npz"):
        (tmp_path / name).write_bytes((models / name).read_bytes())
    (tmp_path / "shipped.npz").write_bytes(b"other weights")
    with pytest.raises(ConfigError, match=r"shipped.npz: not the policy of shipped.json \(allowed: sha256 "):
        load_card(tmp_path / "shipped.json")
    content = json.loads((models / "shipped.json").read_text()) | {"seeds": 0}
    (tmp_path / "shipped.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"shipped.json: seeds: value 0 \(allowed: integer >= 1\)"):
        load_card(tmp_path / "shipped.json")
    done = CliRunner().invoke(app, ["card", str(tmp_path)])
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception).startswith(f"run: value '{tmp_path}' (allowed: the directory of a finished training)")


def test_a_card_is_immutable(models):
    with pytest.raises(ValueError, match="frozen"):
        load_card(models / "shipped.json").seeds = 3
    assert Card.model_config["extra"] == "forbid"
