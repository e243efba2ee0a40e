"""Every example runs and prints what it says it prints."""

import runpy

import pytest

from tests.helpers.paths import ROOT
from vcpu_env.base.jit import JIT

EXAMPLES = ROOT / "examples"
NEEDS = {"maskable_ppo": "sb3_contrib", "cleanrl_style_ppo": "torch", "tenants": "pettingzoo"}
PRINTS = {
    "random_agent": "episode 2: return",
    "rule_agent": "seed 3: receiver or longest wait",
    "maskable_ppo": "first decisions of the 16 machines:",
    "plan_by_fork": "seed 2: lookahead",
    "rollout_in_machine": "decisions/s, network included",
    "cleanrl_style_ppo": "4096 steps:",
    "tenants": "| anybody |",
}

pytestmark = pytest.mark.skipif(not JIT, reason="the examples are of the compiled simulator's size")


def test_every_example_is_run():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*PRINTS, "first_agent"}


@pytest.mark.parametrize("name", PRINTS)
def test_example(name, tmp_path, monkeypatch, capsys):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [name, "1"])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert PRINTS[name] in capsys.readouterr().out


def test_the_first_agent_beats_the_rule(capsys):
    runpy.run_path(str(EXAMPLES / "first_agent.py"), run_name="__main__")
    last = capsys.readouterr().out.splitlines()[-1].replace(",", "").split()
    assert float(last[3]) > 5 * float(last[-1])


def returns(line):
    """The two returns in a line like "seed 0: planner 2.041, series-v2 1.780 ms"."""
    return [float(word) for word in line.replace(",", "").split() if word.count(".") == 1 and word[0].isdigit()]


def test_the_planner_is_not_worse_than_the_rule(tmp_path, capsys):
    """It knows the future, and "as the rule would" is among its choices."""
    runpy.run_path(str(EXAMPLES / "plan_by_fork.py"), run_name="__main__")
    planned, ruled = zip(*(returns(line) for line in capsys.readouterr().out.splitlines()), strict=True)
    assert len(planned) == 3 and sum(planned) > sum(ruled)


def test_zoo_settings_are_of_registered_environments():
    yaml = pytest.importorskip("yaml")
    import gymnasium

    settings = yaml.safe_load((EXAMPLES / "rl_zoo3.yml").read_text())
    settings.pop("default")
    for env_id, chosen in settings.items():
        env = gymnasium.make(env_id, **chosen["env_kwargs"])
        env.action_space.seed(0)
        env.reset(seed=0)
        for _ in range(3):
            assert not env.step(env.action_space.sample())[2]
