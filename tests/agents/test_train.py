"""Training: the same weights from the same configuration, interrupted or not; what is written; what is refused."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sb3_contrib")
pytest.importorskip("cmaes")

import torch  # noqa: E402

from agents.checkpoint import CheckpointError, read
from agents.config import SHIPPED, ConfigError, list_configs, load_config
from agents.evolve import evolve, settings
from agents.learner import make_environment, make_model
from agents.run import Run, append_line, history, read_lines
from agents.train import Watch, train
from baselines.policies import choose_policies
from tests.helpers.agent_config import EVOLVE, PENALTY, QUICK, quick
from vcpu_env.nets.learned import LearnedPolicy
from vcpu_env.nets.packing import pack
from vcpu_env.policy.named import POLICIES

OFF_POLICY = PENALTY | {
    "total_steps": 240,
    "hyperparameters": {"learning_starts": 40, "batch_size": 16, "buffer_size": 100, "train_freq": 4},
}
TWO_STAGES = [{"scenarios": ["vips-3vm-8cpu"], "until": 0.4}, {"scenarios": ["dbench-2vm-8cpu", "vips-3vm-8cpu"]}]
CASES = {
    "inside": {},
    "inside, normalised, two stages": {"normalise": True, "stages": TWO_STAGES},
    "without masks": {"algorithm": "ppo", "half_life_ns": None},
    "penalty": PENALTY | {"algorithm": "ppo"},
    "candidate, in Python, stacked": {
        "environment": "CandidateChoice", "rollouts": "python", "frame_stack": 2, "normalise": True,
    },
    "sac": OFF_POLICY | {"algorithm": "sac"},
    "tqc": OFF_POLICY | {"algorithm": "tqc", "normalise": True},
    "candidates alike, trace by time": {
        "network": "candidates", "net_arch": [2, 4], "trace_half_life_ns": 100_000,
    },
    "cloned": {
        "environment": "JointYield", "cloning": {"teacher": "spinner-hint", "decisions": 1000, "epochs": 1},
    },
}  # fmt: skip


class KilledError(Exception):
    """Stands for the end of the process."""


def weights_of(directory: Path, name: str = "last.npz") -> bytes:
    return b"".join(array.tobytes() for array in pack(LearnedPolicy.load(directory / name).weights))


@pytest.mark.parametrize("case", CASES)
def test_a_training_that_was_stopped_ends_like_one_that_was_not(case, tmp_path, monkeypatch):
    config = quick(**CASES[case])
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    train(config, Run(config, whole, resume=False))
    save = Watch.save

    def save_and_die(watch):
        save(watch)
        raise KilledError

    monkeypatch.setattr(Watch, "save", save_and_die)
    with pytest.raises(KilledError):
        train(config, Run(config, halves, resume=False))
    monkeypatch.undo()
    np.random.seed(1)
    model = train(config, Run(config, halves, resume=True))
    assert model.num_timesteps >= config.total_steps
    assert weights_of(whole) == weights_of(halves)
    assert weights_of(whole, "best.npz") == weights_of(halves, "best.npz")
    assert history(whole) == history(halves)
    assert len(history(whole)) >= 2


def test_an_evolution_that_was_stopped_ends_like_one_that_was_not(tmp_path):
    config = quick(**EVOLVE)
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    policy = evolve(config, Run(config, whole, resume=False))
    evolve(config, Run(config, halves, resume=False))
    lines = (halves / "generations.jsonl").read_text().splitlines(keepends=True)
    (halves / "generations.jsonl").write_text("".join(lines[:2]) + lines[2][:9])
    again = evolve(config, Run(config, halves, resume=True))
    assert (halves / "generations.jsonl").read_text() == "".join(lines)
    assert np.array_equal(policy.weights.actor[0].weight, again.weights.actor[0].weight)
    assert weights_of(whole, "best.npz") == weights_of(halves, "best.npz")


def test_a_seed_is_a_training(tmp_path):
    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        config = quick(seed=seed)
        train(config, Run(config, tmp_path / name, resume=False))
        found.append(weights_of(tmp_path / name))
    assert found[0] == found[1] != found[2]


def test_what_a_training_leaves(tmp_path):
    config = quick()
    train(config, Run(config, tmp_path / "run", resume=False))
    logs = tmp_path / "run" / "logs" / "from-000000000000"
    assert "rollout/reward_per_ms" in (logs / "progress.csv").read_text()
    assert list(logs.glob("events.out.tfevents.*"))
    source = choose_policies([str(tmp_path / "run" / "best.npz")], POLICIES)[1]
    assert source.label == "quick" and source.digest
    with pytest.raises(ConfigError, match=r"out: value '.*' holds a training \(--resume goes on with it\)"):
        Run(config, tmp_path / "run", resume=False)
    with pytest.raises(ConfigError, match=r"holds a training with another configuration"):
        Run(quick(seed=5), tmp_path / "run", resume=True)
    with pytest.raises(ConfigError, match=r"allowed: an empty directory or one of this training"):
        Run(config, tmp_path, resume=True)


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    config = quick()
    run = Run(config, tmp_path / "run", resume=False)
    train(config, run)
    (tmp_path / "other").mkdir()
    other = Run(quick(seed=9), tmp_path / "other", resume=False)
    other.checkpoint.write_bytes(run.checkpoint.read_bytes())
    with pytest.raises(CheckpointError, match=r"checkpoint.pt: of configuration [0-9a-f]{8} \(allowed: [0-9a-f]{8}"):
        train(quick(seed=9), other)
    run.checkpoint.write_bytes(run.checkpoint.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r"checkpoint.pt: damaged, or not a checkpoint"):
        train(config, run)


def test_a_checkpoint_of_version_0_1_is_refused(tmp_path):
    torch.save({"format": 1}, tmp_path / "checkpoint.pt")
    said = r"checkpoint\.pt: written by version 0\.1 \(allowed: a checkpoint of version 0\.2\)$"
    with pytest.raises(CheckpointError, match=said):
        read(tmp_path / "checkpoint.pt", quick())


def test_a_changed_byte_of_a_checkpoint_is_refused(tmp_path):
    """Wherever it lies, and before anything of the model or its machines is touched."""
    config = quick()
    run = Run(config, tmp_path / "run", resume=False)
    train(config, run)
    whole = run.checkpoint.read_bytes()
    for at in np.linspace(0, len(whole) - 1, 200).astype(int):
        run.checkpoint.write_bytes(whole[:at] + bytes([whole[at] ^ 8]) + whole[at + 1 :])
        with pytest.raises(CheckpointError, match=r"checkpoint.pt: (damaged, or not a checkpoint|format: value) "):
            read(run.checkpoint, config)
    run.checkpoint.write_bytes(whole.replace(b" 2 ", b" 1 ", 1))
    with pytest.raises(CheckpointError, match=r"checkpoint.pt: format: value 1 \(allowed: 2\)"):
        read(run.checkpoint, config)
    run.checkpoint.write_bytes(whole)
    assert read(run.checkpoint, config)["config"] == config.digest


def test_a_damaged_line_is_refused(tmp_path, capsys):
    path = tmp_path / "lines.jsonl"
    for i in range(3):
        append_line(path, {"generation": i, "fitness": [0.1, -2e300], "best": None})
    lines = read_lines(path)
    assert lines[1] == {"generation": 1, "fitness": [0.1, -2e300], "best": None}
    text = path.read_text()
    path.write_text(text + text[:9])
    assert read_lines(path) == lines and path.read_text() == text
    for wrong in (text.replace("0.1", "0.2", 1), "5\n", "[" * 5000 + "\n", text.replace('"', "'")):
        path.write_text(wrong)
        with pytest.raises(ConfigError, match=r"lines.jsonl: line 1 is damaged"):
            read_lines(path)
    path.write_text('{"step": 5}\n')
    assert not capsys.readouterr().err
    assert read_lines(path) == [{"step": 5}]
    assert capsys.readouterr().err.startswith(f"{path}: has no checksum (written by version 0.1)")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"hyperparameters": {"n_step": 4}},
            r"hyperparameters: unknown 'n_step' of maskable_ppo \(did you mean 'n_steps'",
        ),
        (
            {"hyperparameters": {"learning_rate": "fast"}},
            r"hyperparameters.learning_rate: value 'fast' \(allowed: above 0",
        ),
        ({"hyperparameters": {"n_steps": "many"}}, r"hyperparameters: maskable_ppo refuses them: "),
    ],
)
def test_hyperparameters_are_checked(changes, message, tmp_path):
    config = quick(**changes)
    with pytest.raises(ConfigError, match=message):
        train(config, Run(config, tmp_path, resume=False))


@pytest.mark.parametrize("name", [name for name in list_configs() if load_config(name).algorithm != "cma_es"])
def test_shipped_configurations_make_a_learner(name):
    config = load_config(name, ["hyperparameters.buffer_size=100"] if name in ("penalty-sac", "penalty-tqc") else [])
    model = make_model(config, make_environment(config, config.stages[0]))
    widths = list(config.net_arch)
    assert model.policy.net_arch in (widths, {"pi": widths, "vf": widths})


@pytest.mark.parametrize("name", [name for name in list_configs() if load_config(name).algorithm == "cma_es"])
def test_shipped_searches_have_settings(name):
    config = load_config(name)
    assert settings(config)["population_size"] >= 4
    assert load_config(name).validation.every * config.total_steps >= 1


@pytest.mark.parametrize("algorithm", ["sac", "tqc"])
def test_zoo_settings_are_hyperparameters(algorithm):
    yaml = pytest.importorskip("yaml")
    zoo = yaml.safe_load((SHIPPED / f"rl_zoo3-{algorithm}.yml").read_text())["vcpu_env/PenaltyScale-v2"]
    for name in ("policy", "n_envs", "n_timesteps", "env_kwargs", "policy_kwargs"):
        zoo.pop(name)
    config = quick(**PENALTY | {"algorithm": algorithm, "hyperparameters": zoo | {"buffer_size": 100}})
    model = make_model(config, make_environment(config, config.stages[0]))
    assert model.gamma == 0.9


def test_a_validation_too_short_to_compare_is_refused(tmp_path):
    config = quick(validation=QUICK["validation"] | {"set": ["run.warmup_ns=0", "run.duration_ns=1000"]})
    with pytest.raises(ConfigError, match=r"validation.set: stock completes no work in these runs"):
        train(config, Run(config, tmp_path, resume=False))
