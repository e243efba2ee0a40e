"""What there is to learn: the figures of a table, who plays, what is kept."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from agents import reference  # noqa: E402
from vcpu_env.envs.register import IDS, id_of  # noqa: E402


def test_figures_worked_out_by_hand():
    """Gains 1, 2, 0: mean 1, standard deviation 1; the rule's returns 1, 1, 4 have one of the square root of 3."""
    result = reference.row("x", np.array([2.0, 3.0, 4.0]), np.array([1.0, 1.0, 4.0]), 5.0)
    assert (result.earned, result.gain, result.signal, result.decisions) == (3.0, 1.0, 1.0, 5.0)
    assert result.gain_error == pytest.approx(3**-0.5) and result.alone == pytest.approx(3**-0.5)


def test_every_environment_is_measured():
    kept = json.loads(reference.OUT.read_text())
    assert list(kept) == [id_of(name) for name in IDS]
    for name in IDS:
        env = reference.Table(name, 1).make()
        table = kept[id_of(name)]
        assert (table["scenario"], table["horizon_ns"]) == (env.mix.scenarios[0].name, env.config.horizon_ns)
        assert table["rows"][0]["player"] == f"the rule: {env.rule.name}"


def test_a_name_that_is_none():
    with pytest.raises(reference.ReferenceError, match=r"environment: value 'CandidateChoise' \(did you mean 'Candid"):
        reference.checked_names(["CandidateChoise"])
    assert reference.checked_names(None) == list(IDS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "player"),
    [
        ("PenaltyScale", reference.always([0.0])),
        ("CandidateChoice", reference.choosing(reference.constant(1), 0.0)),
        ("DirectedYield", reference.choosing(reference.constant(1), 0.0)),
    ],
)
def test_who_plays_as_the_rule_earns_what_it_earns(name, player):
    result = reference.Table(name, 3).report("as the rule", player)
    assert result.gain == pytest.approx(0.0, abs=1e-9) and result.decisions >= 200


@pytest.mark.slow
def test_the_best_is_chosen_on_other_episodes():
    table = reference.Table("PenaltyScale", 3)
    players = {f"{a:g}": reference.always([a]) for a in (1.0, -0.999)}
    earned = {name: table.play(player, reference.CHOICE_SEED)[0].mean() for name, player in players.items()}
    result = table.best("best", players)
    assert result.player == f"best: {max(earned, key=earned.get)}"
    assert result.earned == table.play(players[result.player[6:]], reference.REPORT_SEED)[0].mean()
