"""Searches: journals that go on, what is searched, what comes out."""

import warnings

import pytest

pytest.importorskip("cmaes")

import optuna

from agents.config import ConfigError
from agents.tune import SERIES, constants_of, constants_toml, finish, hyperparameters, open_study, series, suggest
from baselines.constants import constants_in_text
from tests.helpers.agent_config import EVOLVE, PENALTY, quick


def study_of(journal, seed=0):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # optuna says that what is used here is experimental
        return open_study(journal, "series", seed)


def height(trial: optuna.Trial) -> float:
    return -sum(value**2 for value in suggest(trial))


def test_a_search_goes_on_where_it_stopped(tmp_path):
    journal = tmp_path / "journal.log"
    first = study_of(journal)
    finish(first, height, 4)
    again = study_of(journal)
    finish(again, height, 7)
    values = [trial.value for trial in again.trials]
    assert len(values) == len(set(values)) == 7
    assert values[:4] == [trial.value for trial in first.trials[:4]]
    finish(again, height, 5)
    assert len(again.trials) == 7


def test_the_series_own_constants_are_a_point_of_the_search():
    constants = constants_of(suggest(optuna.trial.FixedTrial(SERIES)))
    assert constants == constants_in_text('name = "tuned-v2"')
    assert constants_in_text(constants_toml(constants)) == constants


def test_what_is_found_survives_its_file():
    found = SERIES | {"cap_slope": -0.7, "penalty_scale": -1.0, "rate_limit": 0.31, "relaxed_boost": False}
    constants = constants_of(suggest(optuna.trial.FixedTrial(found)))
    again = constants_in_text(constants_toml(constants))
    assert again.penalty_scale == 0.0 and again.relaxed_boost is False
    assert again.cap_scales == pytest.approx(constants.cap_scales, rel=1e-5)
    assert again.policy().settings["deboost_params", "rate_limit_ns"] == constants.rate_limit_ns


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, {"learning_rate", "ent_coef", "gae_lambda", "n_epochs", "clip_range"}),
        (PENALTY | {"algorithm": "sac", "hyperparameters": {}}, {"learning_rate", "tau", "gamma"}),
        (EVOLVE, {"sigma", "population_size"}),
    ],
)
def test_hyperparameters_of_each_algorithm(changes, names, tmp_path):
    config, study = quick(**changes), study_of(tmp_path / "journal.log")
    tried = hyperparameters(config, study.ask())
    assert set(tried.hyperparameters) == set(config.hyperparameters) | names
    assert tried.digest != config.digest


def test_the_test_split_is_not_searched(tmp_path):
    with pytest.raises(ConfigError, match=r"scenario: value 'dedup-4vm' \(allowed: not of the test split\)"):
        series(journal=tmp_path / "journal.log", scenario=["dedup-4vm"])
