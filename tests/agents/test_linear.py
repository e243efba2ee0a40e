"""Linear policies: what their parameters mean, what imitation finds, what a search is judged by."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("cmaes")

import torch

from agents.config import ConfigError
from agents.evolve import Arena, settings
from agents.linear import (
    LARGEST,
    as_the_rule,
    imitate,
    linear_policy,
    nr_parameters,
    parameters_of,
    scaled,
    scores,
    split,
)
from agents.teacher import Lessons
from tests.helpers.agent_config import EVOLVE, quick
from tests.helpers.learned import policy_for
from tests.helpers.network import compiled
from tests.helpers.stopping import Stopping
from vcpu_env.base.jit import JIT
from vcpu_env.envs.action import Actions
from vcpu_env.envs.compiled.observe import CANDIDATE_FEATURES, NR_CANDIDATE_FEATURES, NR_FEATURES
from vcpu_env.envs.compiled.types import CANDIDATE_CHOICE, WIDE_YIELD
from vcpu_env.envs.config import EnvConfig
from vcpu_env.nets.learned import Description, LearnedPolicy

SHOWN = 4
KINDS = {"candidate": CANDIDATE_CHOICE, "and boost": WIDE_YIELD}
UNSERVED = [feature.name for feature in CANDIDATE_FEATURES].index("unserved")


def actions_of(kind: str) -> Actions:
    return Actions(KINDS[kind], EnvConfig(nr_candidates=SHOWN))


def observations(count: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    size = NR_FEATURES + SHOWN * NR_CANDIDATE_FEATURES
    return (rng.normal(0, 0.5, (count, size)) * (rng.random((count, size)) < 0.6)).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_gives_the_scores(kind):
    actions = actions_of(kind)
    parameters = np.random.default_rng(2).normal(0, 1, nr_parameters(actions))
    policy, seen = linear_policy(parameters, actions), observations(30)
    expected = scores(torch.tensor(parameters), torch.tensor(seen, dtype=torch.float64)).numpy()
    layer = policy.actor[0]
    np.testing.assert_allclose(seen @ layer.weight + layer.bias, expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_start_is_the_rule(kind):
    actions = actions_of(kind)
    policy = linear_policy(as_the_rule(actions, 2), actions)
    for observation in observations(5):
        _, action, _, _ = compiled(policy, observation, np.ones(sum(policy.sizes), np.int8), 0, 0, True)
        assert action.tolist() == [1.0, 2.0][: len(policy.sizes)]


def test_imitation_finds_a_teacher_that_is_linear():
    """The teacher takes the first candidate for which an interrupt waits, credits it, else leaves it to the rule."""
    actions, seen = actions_of("and boost"), observations(4000)
    unserved = seen[:, NR_FEATURES:].reshape(-1, SHOWN, NR_CANDIDATE_FEATURES)[..., UNSERVED]
    unserved[:] = np.random.default_rng(3).random(unserved.shape) < 0.2
    seen[:, NR_FEATURES:].reshape(-1, SHOWN, NR_CANDIDATE_FEATURES)[..., UNSERVED] = unserved
    some = unserved.any(axis=1)
    first = np.where(some, 2 + unserved.argmax(axis=1), 1)
    given = np.column_stack([first, np.where(some, 6, 3)])
    taught = Lessons(seen, given, np.ones((len(seen), actions.mask_length), bool))
    found = imitate(taught, actions, as_the_rule(actions, 3), 60, 0.05, 0)
    logits = scores(torch.tensor(found), torch.tensor(seen, dtype=torch.float64)).numpy()
    likeliest = logits[:, : actions.nr_candidates].argmax(axis=1)
    several = unserved.sum(axis=1) > 1  # which of several it takes is not a matter of features
    assert (likeliest == first)[~several].mean() > 0.97
    assert (logits[:, actions.nr_candidates :].argmax(axis=1) == given[:, 1]).mean() > 0.97


def test_scaling_changes_no_choice():
    actions = actions_of("and boost")
    parameters = np.random.default_rng(2).normal(0, 7, nr_parameters(actions))
    small, seen = scaled(parameters), torch.tensor(observations(50), dtype=torch.float64)
    before, after = scores(torch.tensor(parameters), seen), scores(torch.tensor(small), seen)
    for part in (slice(0, actions.nr_candidates), slice(actions.nr_candidates, None)):
        assert (before[:, part].argmax(1) == after[:, part].argmax(1)).all()
    assert max(np.abs(part).max() for part in split(small)) == pytest.approx(LARGEST)


def test_fitness_counts_every_vms_work_and_what_the_worst_loses(monkeypatch):
    config = quick(**EVOLVE)
    arena = Arena(config, 3, 1, harm=2.0)
    works = np.array([[[95, 95, 95]], [[195, 95, 95]], [[95, 45, 95]]])
    monkeypatch.setattr(arena, "play", lambda tried, generation: (np.ones((3, 1)), works))
    gained, harmed = arena.fitness([arena.rule, arena.rule], 0)
    assert gained == pytest.approx(np.log(2) / 3 / 2)
    assert harmed == pytest.approx(np.log(0.5) / 3 / 2 + 2.0 * np.log(0.5))


def test_an_arena_counts_work():
    config = quick(**EVOLVE)
    arena = Arena(config, 2, 1, harm=0.0)
    rewards, works = arena.play([arena.rule, arena.rule], 0)
    assert works.shape == (2, 1, 3) and works.sum() > 0
    assert (works[0] == works[1]).all() and (rewards[0] == rewards[1]).all()
    assert arena.fitness([arena.rule], 0) == pytest.approx([0.0])


@pytest.mark.skipif(not JIT, reason="uncompiled, Python itself handles signals")
def test_tries_that_were_stopped_are_the_same():
    arena = Arena(quick(**EVOLVE), 4, 2, harm=0.0)
    tried = [arena.rule + 0.1 * i for i in range(4)]
    plain = arena.play(tried, 0)
    with Stopping() as stopping:
        stopped = arena.play(tried, 0)
    assert stopping.heard > 0
    assert all((before == after).all() for before, after in zip(plain, stopped, strict=True))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"harms": 1}, r"hyperparameters: unknown 'harms' of cma_es \(did you mean 'harm'"),
        ({"harm": -1}, r"hyperparameters.harm: value -1 \(allowed: a number from 0\)"),
        ({"population_size": 3}, r"hyperparameters.population_size: value 3 \(allowed: a whole number from 4\)"),
        ({"episodes": 1.5}, r"hyperparameters.episodes: value 1.5 \(allowed: a whole number from 1\)"),
        ({"sigma": 0}, r"hyperparameters.sigma: value 0 \(allowed: a number from 1e-06\)"),
    ],
)
def test_hyperparameters_are_checked(given, message):
    with pytest.raises(ConfigError, match=message):
        settings(quick(**EVOLVE | {"hyperparameters": given}))


def test_parameters_come_back_from_a_network():
    config = EnvConfig(nr_candidates=SHOWN)
    actions = Actions(WIDE_YIELD, config)
    given = np.random.default_rng(4).normal(0, 1, nr_parameters(actions)).astype(np.float32)
    about = Description(name="linear", environment="vcpu_env/WideYield-v0", config=config)
    assert np.array_equal(parameters_of(LearnedPolicy(about, linear_policy(given, actions))), given)
    with pytest.raises(ConfigError, match=r"policy: net \(allowed: linear ones"):
        parameters_of(policy_for("vcpu_env/WideYield-v0"))
