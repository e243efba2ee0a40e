"""Model cards: made from an evaluation, read back, reproduced; several trainings pooled."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cmaes")

from typer.testing import CliRunner

from agents import publish
from agents.card import Card, differences, load_card, markdown
from agents.config import ConfigError
from agents.pooled import pooled_change, pooled_worst_vm
from agents.publish import app
from agents.run import Run, save
from baselines.statistics import change
from tests.helpers.agent_config import BRIEF, quick
from tests.helpers.learned import policy_for
from vcpu_env.nets.learned import LearnedPolicy

SHORT = (*BRIEF, "run.warmup_ns=10_000_000", "run.duration_ns=20_000_000")
CONFIG = quick(name="shipped", summary="for a test")
SEEDS = (0, 3)


def made_up(directory: Path, seed: int, **changes) -> Path:
    """A training's directory; the weights depend on the seed."""
    config = CONFIG.model_copy(update={"seed": seed} | changes)
    run = Run(config, directory, resume=False)
    run.note(f"python -m agents.train shipped --set=seed={seed}")
    policy = policy_for("vcpu_env/WideYield-v0", seed=seed)
    about = policy.about.model_copy(update={"name": "shipped"})
    for name in ("best.npz", "last.npz"):
        save(LearnedPolicy(about, policy.weights), run.directory / name)
    (run.directory / "history.jsonl").write_text('{"step": 1, "change": 0.01}\n{"step": 2, "change": 0.04}\n')
    return directory


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A directory of one shipped configuration with two trainings, and where it was evaluated."""
    root = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "BASELINES", ("series-v2", "oracle-naive"))
        runs = [str(made_up(root / f"run-{seed}", seed)) for seed in SEEDS]
        directory = ["--models", str(root / "models")]
        done = CliRunner().invoke(app, ["ship", *runs, *directory])
        assert done.exit_code == 0, done.output
        changes = [part for change in SHORT for part in ("--set", change)]
        asked = ["cards", *directory, "--seeds", "2", "--scenario", "dedup-2vm-8cpu", "--out", str(root / "cells")]
        done = CliRunner().invoke(app, [*asked, *changes])
        assert done.exit_code == 0, done.output
        yield root / "models"


def test_a_card_says_it_all(models):
    card = load_card(models / "shipped.json")
    assert (card.name, card.seeds, card.evaluation_set) == ("shipped", 2, SHORT)
    assert [(m.seed, m.validation, m.command) for m in card.members] == [
        (seed, 0.04, f"python -m agents.train shipped --set=seed={seed}") for seed in SEEDS
    ]
    assert card.config == CONFIG
    assert set(card.against) == {"series-v2", "oracle-naive"}
    assert [cell.scenario for cell in card.cells] == ["dedup-2vm-8cpu"]
    page = (models / "shipped.md").read_text()
    assert page == markdown(card)
    assert "| dedup-2vm-8cpu | " in page and "against series-v2: " in page
    table = (models / "README.md").read_text()
    assert "| **shipped** | 2 | " in table and "`oracle-naive` (oracle)" in table
    assert not LearnedPolicy.load(models / "shipped-3.npz").weights.critic


def test_it_is_reproduced(models, tmp_path):
    arguments = ["reproduce", "--models", str(models), "--out", str(tmp_path / "cells")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-2:] == ["shipped: as published", "README.md: as published"]
    done = CliRunner().invoke(app, [*arguments, "--scenario", "dbench-4vm"])
    assert str(done.exception) == "scenario: value 'dbench-4vm' (allowed: dedup-2vm-8cpu)"
    other = tmp_path / "models"
    other.mkdir()
    for seed in SEEDS:
        (other / f"shipped-{seed}.npz").write_bytes((models / f"shipped-{seed}.npz").read_bytes())
    (other / "README.md").write_text("another table")
    content = json.loads((models / "shipped.json").read_text())
    content["score"][0] += 0.01
    (other / "shipped.json").write_text(json.dumps(content))
    done = CliRunner().invoke(app, ["reproduce", "--models", str(other), "--out", str(tmp_path / "cells")])
    assert done.exit_code == 1 and "shipped: score: published " in done.output
    assert done.output.splitlines()[-1] == "README.md: another table"


def test_failures_are_named(models):
    card = load_card(models / "shipped.json")
    bad = card.cells[0].model_copy(update={"worst_vm": (-0.05, -0.09, -0.021)})
    assert card.model_copy(update={"cells": (bad,)}).failures == [bad]
    edge = bad.model_copy(update={"worst_vm": (-0.05, -0.09, -0.019)})
    harmless = card.model_copy(update={"cells": (edge,)})
    assert harmless.failures == [] and "In no scenario" in markdown(harmless)
    assert len(differences(card, {"cells": (bad,)})) == 1


def test_what_does_not_fit_is_refused(models, tmp_path):
    for seed in SEEDS:
        (tmp_path / f"shipped-{seed}.npz").write_bytes((models / f"shipped-{seed}.npz").read_bytes())
    (tmp_path / "shipped.json").write_bytes((models / "shipped.json").read_bytes())
    (tmp_path / "shipped-3.npz").write_bytes((models / "shipped-0.npz").read_bytes())
    with pytest.raises(ConfigError, match=r"shipped-3.npz: not the policy of shipped.json \(allowed: digest "):
        load_card(tmp_path / "shipped.json")
    (tmp_path / "shipped-3.npz").write_bytes(b"no policy")
    with pytest.raises(ConfigError, match=r"shipped-3.npz: .*damaged, or not a policy"):
        load_card(tmp_path / "shipped.json")
    content = json.loads((models / "shipped.json").read_text()) | {"seeds": 0}
    (tmp_path / "shipped.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"shipped.json: seeds: value 0 \(allowed: integer >= 1\)"):
        load_card(tmp_path / "shipped.json")
    done = CliRunner().invoke(app, ["ship", str(tmp_path)])
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception).startswith(f"run: value '{tmp_path}' (allowed: the directory of a finished training)")
    empty = tmp_path / "empty"
    empty.mkdir()
    done = CliRunner().invoke(app, ["reproduce", "--models", str(empty)])
    assert isinstance(done.exception, ConfigError) and "holds no shipped policies" in str(done.exception)


def test_trainings_of_one_name_differ_in_the_seed_alone(tmp_path):
    runs = [made_up(tmp_path / "a", 0), made_up(tmp_path / "b", 1, total_steps=1024)]
    done = CliRunner().invoke(app, ["ship", *map(str, runs), "--models", str(tmp_path / "models")])
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception).endswith("(allowed with 'shipped': what differs in the seed alone)")


def test_a_card_is_immutable(models):
    with pytest.raises(ValueError, match="frozen"):
        load_card(models / "shipped.json").seeds = 3
    assert Card.model_config["extra"] == "forbid"


def test_one_training_is_an_ordinary_comparison():
    ratios = [np.random.default_rng(i).lognormal(0.1, 0.2, 12) for i in range(3)]
    pooled, plain = pooled_change([stratum[None] for stratum in ratios]), change(ratios)
    assert pooled.value == pytest.approx(plain.value)
    assert pooled.low == pytest.approx(plain.low, abs=0.02) and pooled.high == pytest.approx(plain.high, abs=0.02)


def test_trainings_that_differ_widen_the_interval():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, (5, 8))
    alike, unlike = np.exp(noise), np.exp(noise + rng.normal(0, 0.1, (5, 1)))
    narrow, wide = pooled_change([alike, alike]), pooled_change([unlike, unlike])
    assert wide.high - wide.low > 5 * (narrow.high - narrow.low)


def test_the_interval_holds_the_truth_most_of_the_time():
    rng, held = np.random.default_rng(1), 0
    for _ in range(200):
        trainings = rng.normal(0, 0.1, (5, 1))
        found = pooled_change([np.exp(trainings + rng.normal(0, 0.1, (5, 8))) for _ in range(3)])
        held += found.low <= 0 <= found.high
    assert 0.75 <= held / 200 <= 0.97  # five trainings are few: too narrow, as docs/evaluation.md says of few seeds


def test_the_worst_vm_is_the_one_that_loses_most():
    ratios = np.exp(np.random.default_rng(0).normal([0.1, -0.3, 0.0], 0.01, (4, 6, 3)))
    worst = pooled_worst_vm(ratios)
    assert worst.low < worst.value < worst.high
    assert worst.value == pytest.approx(np.expm1(-0.3), abs=0.01)
