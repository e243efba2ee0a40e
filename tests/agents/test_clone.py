"""Behaviour cloning: the teacher's actions become the likeliest, and how much else is still tried."""

import numpy as np
import pytest

pytest.importorskip("sb3_contrib")

from agents.clone import clone, evaluate
from agents.learner import make_environment, make_model
from agents.teacher import lessons
from tests.helpers.agent_config import quick


def cloned(entropy: float) -> tuple[float, float]:
    """Share of the teacher's actions that are the likeliest, and their mean probability."""
    cloning = {"teacher": "strict-borrow", "decisions": 2_000, "epochs": 30, "learning_rate": 0.01, "entropy": entropy}
    config = quick(cloning=cloning)
    model = make_model(config, make_environment(config, config.stages[0]))
    share = clone(config, config.cloning, model)
    taught = lessons(config, config.cloning, model.get_env().unwrapped.environment)
    log_prob = evaluate(model, taught, np.arange(len(taught.observations)))[1]
    return share, float(log_prob.detach().exp().mean())


def test_entropy_leaves_something_to_try():
    sure, open_minded = cloned(0.0), cloned(0.35)
    assert min(sure[0], open_minded[0]) > 0.9
    assert sure[1] > 0.9
    assert 0.3 < open_minded[1] < 0.9
