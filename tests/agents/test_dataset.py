"""Offline data: what is recorded is what the environment shows, whoever plays; the samples can be read."""

import subprocess
import sys
import zipfile

import numpy as np
import pytest

pytest.importorskip("torch")
minari = pytest.importorskip("minari")

from agents import dataset  # noqa: E402
from tests.helpers.paths import ROOT  # noqa: E402
from tests.helpers.small_env import CANDIDATE_CHOICE, DIRECTED_YIELD, PENALTY_SCALE, make, make_vec  # noqa: E402

SAMPLES = ROOT / "examples" / "data" / "minari.zip"
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("env_id", [CANDIDATE_CHOICE, DIRECTED_YIELD, PENALTY_SCALE])
def test_playing_the_recorded_actions_again_gives_the_recorded_data(env_id):
    arguments = {} if env_id == PENALTY_SCALE else {"horizon_ns": 300_000}
    batch = make_vec(env_id, 2, autoreset_mode="NextStep", **arguments)
    choose, _, _ = dataset.player_of("random", env_id.split("/")[1].split("-")[0])
    env = make(env_id, **arguments)
    for episode in dataset.record(batch, choose, seed=5):
        observation, info = env.reset(seed=episode.seed)
        assert episode.actions and episode.truncations[-1] and not any(episode.truncations[:-1])
        for t, action in enumerate(episode.actions):
            assert np.array_equal(observation, episode.observations[t])
            for name, value in episode.infos[t].items():
                assert value == info[name] if isinstance(value, dict) else np.array_equal(value, info[name])
            observation, reward, _, over, info = env.step(action)
            assert (reward, over) == (episode.rewards[t], episode.truncations[t])
        assert np.array_equal(observation, episode.observations[-1])


def test_a_rule_s_actions_are_its_candidates():
    """Played again by hand they earn what the rule itself earns as the configured one."""
    batch = make_vec(CANDIDATE_CHOICE, 2, autoreset_mode="NextStep", rule="round-robin")
    choose, _, _ = dataset.player_of("round-robin", "CandidateChoice")
    chosen = set()
    for episode in dataset.record(batch, choose, seed=3):
        env = make(CANDIDATE_CHOICE, rule="round-robin")
        env.reset(seed=episode.seed)
        earned, over = 0.0, False
        while not over:
            _, reward, _, over, _ = env.step(1)
            earned += reward
        assert sum(episode.rewards) == pytest.approx(earned, abs=1e-9)
        chosen |= set(map(int, episode.actions))
    assert max(chosen) > 1


@pytest.mark.parametrize(
    ("player", "message"),
    [
        ("rnadom", r"player: value 'rnadom' \(did you mean 'random'"),
        ("oracle-credit", r"player: value 'oracle-credit' \("),
        (str(ROOT / "agents/models/wide-es-1.npz"), r"player: wide-es-1 is for vcpu_env/WideYield-v0 \(allowed: vcpu"),
    ],
)
def test_a_player_that_is_none(player, message):
    with pytest.raises(dataset.DatasetError, match=message) as caught:
        dataset.player_of(player, "CandidateChoice")
    assert "\n" not in str(caught.value)


def test_the_samples(tmp_path, monkeypatch):
    zipfile.ZipFile(SAMPLES).extractall(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    found = minari.list_local_datasets()
    names = ("random", "strict-borrow", "stock", "series-v2")
    assert set(found) == {*(f"vcpu_env/CandidateChoice/{name}-v2" for name in names), "vcpu_env/WideYield/wide-es-1-v0"}
    for name in found:
        kept = minari.load_dataset(name)
        env = kept.recover_environment()
        for episode in kept.iterate_episodes():
            masks, steps = episode.infos["action_mask"], len(episode)
            assert len(masks) == len(episode.observations) == len(episode.infos["elapsed_ns"]) == steps + 1
            first = episode.actions if episode.actions.ndim == 1 else episode.actions[:, 0]
            assert masks[np.arange(steps), first.astype(int)].all()
            assert env.observation_space.contains(episode.observations[0])
            assert set(episode.infos["reward_terms"][0]) == {
                "useful",
                "work",
                "spin",
                "unfairness",
                "switches",
                "ipi_latency",
            }
    assert SAMPLES.stat().st_size < 1_000_000


@pytest.mark.slow
def test_the_command(tmp_path):
    command = [sys.executable, "-m", "agents.dataset", "CandidateChoice", "random", "stock"]
    options = ["--episodes", "2", "--max-decisions", "50", "--out", str(tmp_path)]
    made = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0 and "vcpu_env/CandidateChoice/stock-v2: 2 episodes, 100 steps" in made.stderr
    again = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 2 and again.stderr.count("\n") == 1
    assert "error: dataset: 'vcpu_env/CandidateChoice/random-v2' is there" in again.stderr
