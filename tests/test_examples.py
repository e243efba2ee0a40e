"""Every example runs and prints what it says it prints."""

import re
import runpy
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT
from vcpu_env.base.jit import JIT

EXAMPLES = ROOT / "examples"
NEEDS = {"cleanrl_style_ppo": "torch", "tenants": "pettingzoo"}
PRINTS = {
    "random_agent": "episode 2: return",
    "rule_agent": "seed 3: receiver or longest wait",
    "plan_by_fork": "seed 2: lookahead",
    "rollout_in_machine": "decisions/s, network included",
    "cleanrl_style_ppo": "4096 steps:",
    "tenants": "| anybody |",
}
LEARN = {
    "reinforce": (["0.01"], "numpy"),
    "cross_entropy": (["DirectedYield", "0.01"], "numpy"),
    "sb3": (["maskable_ppo", "0.01"], "sb3_contrib"),
}
"""Those that print what they gain: arguments for a moment of learning, and what they need."""
LIBRARIES = {
    "with_torchrl": ("torchrl", "check_env_specs succeeded|torchrl: [0-9,]+ steps a CPU second"),
    "with_tianshou": ("tianshou", "tianshou: [0-9,]+ steps a CPU second"),
    "with_sbx": ("sbx", "sbx: [0-9,]+ steps a CPU second"),
    "with_rllib": ("ray.rllib", "rllib: [0-9,]+ steps a CPU second"),
    "offline": ("minari", "advantage-weighted regression: [+-].* over the rule"),
}

pytestmark = pytest.mark.skipif(not JIT, reason="the examples are of the compiled simulator's size")


def test_every_example_is_run():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*PRINTS, *LEARN, *LIBRARIES, "first_agent"}


@pytest.mark.parametrize("name", PRINTS)
def test_example(name, tmp_path, monkeypatch, capsys):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [name, "1"])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert PRINTS[name] in capsys.readouterr().out


def run(name, arguments=()):
    """What an example prints, in a process of its own."""
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


GAIN = re.compile(r"([\d.]+) s, ([\d,]+) decisions: ([+-][\d.]+) over the rule, standard error ([\d.]+), 64 episodes")


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARN)
def test_an_example_that_learns_says_what_it_gains(name):
    arguments, needed = LEARN[name]
    pytest.importorskip(needed)
    first, *_, last = GAIN.findall(run(name, arguments))
    assert first[1] == "0" and int(last[1].replace(",", "")) > 0


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "sac", "qr_dqn", "recurrent_ppo"])
def test_the_other_algorithms_of_stable_baselines3(algorithm):
    pytest.importorskip("sb3_contrib")
    assert GAIN.search(run("sb3", [algorithm, "0.01"]))


@pytest.mark.slow
def test_reinforce_beats_the_rule():
    """Within 25 CPU seconds, by more than five standard errors at its best; the page's curve goes on longer."""
    gains = [(float(gain), float(error)) for _, _, gain, error in GAIN.findall(run("reinforce", ["0.4"]))]
    assert max(gain / error for gain, error in gains if error) > 5


@pytest.mark.slow
@pytest.mark.parametrize("name", LIBRARIES)
def test_an_example_of_a_library(name):
    needed, prints = LIBRARIES[name]
    pytest.importorskip(needed)
    assert re.search(prints, run(name))


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
        env = gymnasium.make(env_id, **chosen["env_kwargs"], horizon_ns=1_000_000)
        env.action_space.seed(0)
        env.reset(seed=0)
        for _ in range(3):
            assert not env.step(env.action_space.sample())[2]
