"""What is shipped: every card fits its weights, its page and the table; what was distilled is what the files say."""

import shutil
import subprocess

import pytest

pytest.importorskip("sb3_contrib")
pytest.importorskip("cmaes")

from agents.card import MODELS, load_card, markdown, text
from agents.config import TrainConfig, load_config
from agents.curves import draw
from agents.export import FLAGS
from baselines.policies import choose_policies
from vcpu_env.policy.named import POLICIES
from vcpu_env.scenario.splits import SPLITS

CARDS = sorted(path.stem for path in MODELS.glob("*.json"))
HEADLINES = {"joint-es", "wide-es"}


def test_something_is_shipped():
    assert set(CARDS) > HEADLINES


@pytest.mark.parametrize("name", CARDS)
def test_a_card_fits_its_weights_its_page_and_the_table(name):
    card = load_card(MODELS / f"{name}.json")  # refuses weights with another digest
    assert [member.seed for member in card.members] == list(range(len(card.members)))
    assert name not in HEADLINES or len(card.members) == 5
    assert tuple(cell.scenario for cell in card.cells) == SPLITS["test"]
    assert (MODELS / f"{name}.md").read_text() == markdown(card)
    (line,) = [line for line in (MODELS / "README.md").read_text().splitlines() if line.startswith(f"| **{name}** |")]
    each = f" (each: {', '.join(map(str, card.harmed_by_each))})" if len(card.members) > 1 else ""
    assert f"| {text(card.score)} |" in line and line.endswith(f"| {len(card.failures)}{each} |")


@pytest.mark.parametrize("name", CARDS)
def test_the_best_validation_is_on_the_curve(name):
    for member in load_card(MODELS / f"{name}.json").members:
        assert member.validation in [change for _, change in member.curve]


def test_every_training_is_in_the_figure(tmp_path):
    draw([load_card(MODELS / f"{name}.json") for name in CARDS], tmp_path / "curves.svg")
    for figure in (tmp_path / "curves.svg", MODELS / "learning-curves.svg"):
        assert all(f"<!-- {name} -->" in figure.read_text("utf-8") for name in CARDS)


def untimed(config: TrainConfig) -> TrainConfig:
    """A configuration without the lengths of its validations: since hosts are launched, warm-ups are longer."""
    return config.model_copy(update={"validation": config.validation.model_copy(update={"set": ()})})


@pytest.mark.parametrize("name", CARDS)
def test_it_was_trained_by_the_shipped_configuration(name):
    card = load_card(MODELS / f"{name}.json")
    assert untimed(card.config) == untimed(load_config(name, [f"seed={card.config.seed}"]))
    assert not set(card.config.stages[0].scenarios) & {*SPLITS["validation"], *SPLITS["test"]}


def test_fixed_policies_are_policies():
    files = [str(MODELS / "tuned-v2.toml"), f"{MODELS / 'wide_es_1_tree.py'}:TREE"]
    labels = [policy.label for policy in choose_policies(files, POLICIES)]
    assert labels == ["stock", "tuned-v2", "wide-es-1-tree"]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_the_c_of_the_tree_compiles(tmp_path):
    subprocess.run(["gcc", *FLAGS, "-c", "-o", tmp_path / "tree.o", MODELS / "wide-es-1-tree.c"], check=True)
    assert (tmp_path / "tree.o").stat().st_size > 0
