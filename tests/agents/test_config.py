"""Configurations of trainings: the shipped ones load, and what cannot be is refused in one line."""

import pytest

from agents.config import ConfigError, list_configs, load_config, parse_config
from tests.helpers.agent_config import PENALTY, QUICK, quick

pytestmark = pytest.mark.core


@pytest.mark.parametrize("name", list_configs())
def test_shipped(name):
    assert load_config(name).name == name


def test_a_file_and_changes_of_it(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('environment = "WideYield"\nalgorithm = "ppo"\ntotal_steps = 1000\n')
    config = load_config(str(path), ["seed=3", "environment_arguments.horizon_ns=5_000", "rule=stock"])
    assert (config.name, config.seed, config.rule) == ("mine", 3, "stock")
    assert config.environment_arguments.horizon_ns == 5000
    assert config.digest != load_config(str(path)).digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": "dreamer"}, r"algorithm: value 'dreamer' \(allowed: maskable_ppo, ppo, sac, tqc, cma_es\)"),
        ({"environment": "HostTuner"}, r"environment: value 'HostTuner' \(allowed: CandidateChoice, JointYield"),
        ({"algoritm": "ppo"}, r"algoritm: unknown field \(did you mean 'algorithm'\?\)"),
        ({"algorithm": "sac"}, r"algorithm: value 'sac' \(allowed for WideYield: maskable_ppo, ppo\)"),
        (PENALTY, r"algorithm: value 'maskable_ppo' \(allowed for PenaltyScale: ppo, sac, tqc\)"),
        ({"frame_stack": 4}, r"frame_stack: value 4 \(allowed: 1, or rollouts = 'python'\)"),
        ({"rule": "series-v9"}, r"rule: value 'series-v9' \(did you mean"),
        ({"stages": [{"scenarios": ["dedup-4vm"]}]}, r"stages.0: value 'dedup-4vm' \(.*the training split\)"),
        ({"stages": [{"scenarios": ["host-libvirts"]}]}, r"stages.0: value 'host-libvirts' \(.*the training split\)"),
        ({"stages": [{"until": 0.5}]}, r"stages: until \[0.5\] \(allowed: rising, the last 1\)"),
        ({"validation": {"scenarios": ["dedup-4vm"]}}, r"validation.scenarios: value 'dedup-4vm' .*not the test split"),
        ({"cloning": {"teacher": "oracle-naive"}}, r"cloning.teacher: value 'oracle-naive' \("),
        ({"environment_arguments": {"nr_candidates": 0}}, r"environment_arguments.nr_candidates: value 0 \(allowed: "),
        ({"algorithm": "cma_es", "deterministic": False}, r"deterministic: value false \(allowed with: maskable_ppo, "),
        ({"total_steps": 0}, r"total_steps: value 0 \(allowed: integer 1\.\."),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_config(QUICK | changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("wide", r"config: value 'wide' \(a .toml file or a shipped name; did you mean"),
        ("nowhere.toml", r"config: value 'nowhere.toml' \(allowed: a file that can be read; No such file"),
    ],
)
def test_a_config_that_is_not_there(given, message):
    with pytest.raises(ConfigError, match=message):
        load_config(given)


def test_a_change_that_is_none():
    with pytest.raises(ConfigError, match=r"set: value 'seed' \(allowed: KEY=VALUE, as seed=1\)"):
        load_config(list_configs()[0], ["seed"])


def test_it_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        quick().seed = 4
