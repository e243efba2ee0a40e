"""Models that Stable-Baselines3 has saved become policies' files, and nothing in them is run."""

import importlib
import io
import os
import pickle
import sys
import zipfile

import gymnasium
import numpy as np
import pytest

from agents.imported import ImportedError, app, arrays_of, environment_arguments, imported, normalisation_in
from baselines.command import run_command
from tests.helpers.network import NO_MASK, compiled
from vcpu_env.envs.register import id_of
from vcpu_env.nets.from_sb3 import from_sb3
from vcpu_env.nets.from_torch import from_torch
from vcpu_env.nets.learned import LearnedPolicy

torch = pytest.importorskip("torch")
sb3 = pytest.importorskip("stable_baselines3")
contrib = pytest.importorskip("sb3_contrib")
vec_env = pytest.importorskip("stable_baselines3.common.vec_env")
mean_std = pytest.importorskip("stable_baselines3.common.running_mean_std")

CHOICE, PENALTY = id_of("CandidateChoice"), id_of("PenaltyScale")
FEW = {"nr_candidates": 4}


class Spaces(gymnasium.Env):
    """An environment's spaces, and nothing behind them."""

    def __init__(self, env_id):
        environment = gymnasium.make(env_id, **FEW).unwrapped
        self.observation_space, self.action_space = environment.observation_space, environment.action_space

    def reset(self, *, seed=None, options=None):
        return np.zeros(self.observation_space.shape, np.float32), {}

    def step(self, action):
        return np.zeros(self.observation_space.shape, np.float32), 0.0, False, True, {}


def saved(tmp_path, method, env_id=CHOICE, env=None, policy="MlpPolicy", **arguments):
    """An untrained model and the zip that it is saved in."""
    model = method(policy, env or Spaces(env_id), seed=3, device="cpu", **arguments)
    model.save(tmp_path / "mine.zip")
    return model, tmp_path / "mine.zip"


def same(ours, theirs):
    """Whether two networks are one."""
    mine, other = ours.parts(), theirs.parts()
    return mine.keys() == other.keys() and all(np.array_equal(mine[name], other[name]) for name in mine)


@pytest.mark.parametrize(
    ("method", "env_id", "arguments"),
    [
        (contrib.MaskablePPO, CHOICE, {"n_steps": 2, "batch_size": 2}),
        (sb3.PPO, CHOICE, {"n_steps": 2, "batch_size": 2, "policy_kwargs": {"activation_fn": torch.nn.ReLU}}),
        (sb3.A2C, PENALTY, {"policy_kwargs": {"net_arch": [5]}}),
        (sb3.SAC, PENALTY, {}),
        (contrib.TQC, PENALTY, {"policy_kwargs": {"activation_fn": torch.nn.Tanh}}),
    ],
)
def test_what_is_saved_is_what_comes_in(tmp_path, method, env_id, arguments):
    model, path = saved(tmp_path, method, env_id, **arguments)
    policy = imported(path, env_id, FEW)
    assert same(policy.weights, from_sb3(model))
    assert policy.about.masked == (method is contrib.MaskablePPO) and policy.about.config.nr_candidates == 4
    policy.save(tmp_path / "mine.npz")
    assert LearnedPolicy.load(tmp_path / "mine.npz").digest == policy.digest


@pytest.mark.parametrize("method", [sb3.DQN, contrib.QRDQN])
def test_the_best_valued_action_is_the_likeliest(tmp_path, method):
    model, path = saved(tmp_path, method, policy_kwargs={"net_arch": [16]}, buffer_size=10)
    policy = imported(path, CHOICE, FEW)
    rng = np.random.default_rng(4)
    for count in range(20):
        observation = rng.normal(0, 3, policy.weights.nr_inputs).astype(np.float32)
        _, action, _, _ = compiled(policy.weights, observation, NO_MASK, 1, count, True)
        assert action.tolist() == [int(model.predict(observation, deterministic=True)[0])]


def test_statistics_of_observations(tmp_path):
    env = vec_env.VecNormalize(vec_env.DummyVecEnv([lambda: Spaces(CHOICE)]), norm_reward=False)
    env.obs_rms = mean_std.RunningMeanStd(shape=env.observation_space.shape)
    env.obs_rms.update(np.random.default_rng(1).normal(2, 3, (50, *env.observation_space.shape)))
    model, path = saved(tmp_path, sb3.PPO, env=env, n_steps=2, batch_size=2)
    env.save(str(tmp_path / "statistics.pkl"))
    assert same(imported(path, CHOICE, FEW, tmp_path / "statistics.pkl").weights, from_sb3(model))
    env.norm_obs = False
    env.save(str(tmp_path / "statistics.pkl"))
    assert normalisation_in(tmp_path / "statistics.pkl") is None


class Evil:
    """What a pickle can do."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_code_in_a_model_is_refused_and_not_run(tmp_path):
    _, path = saved(tmp_path, sb3.A2C)
    weights = io.BytesIO()
    torch.save({"action_net.weight": Evil(tmp_path / "ran")}, weights)
    with zipfile.ZipFile(path) as file:
        data = file.read("data")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data", data)
        file.writestr("policy.pth", weights.getvalue())
    with pytest.raises(ImportedError, match=r"'policy.pth': it holds code: \S*system \(allowed: weights\)"):
        imported(path, CHOICE, FEW)
    (tmp_path / "statistics.pkl").write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    with pytest.raises(ImportedError, match=r"it holds code: \w+.system"):
        normalisation_in(tmp_path / "statistics.pkl")
    assert not (tmp_path / "ran").exists()


def zip_of(path, **members):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "."), content)
    return path


def test_files_that_are_no_models(tmp_path):
    path = tmp_path / "mine.zip"
    for content, message in (
        (None, r"cannot be read \(No such file"),
        (b"no zip", "no model"),
        (b"PK\x03\x04" + bytes(30), "no model"),
    ):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ImportedError, match=message):
            imported(path, CHOICE, FEW)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("data", "{}" * 500)
        file.writestr("policy.pth", b"1")
    damaged = bytearray(path.read_bytes())
    damaged[34:38] = b"\xff" * 4  # of the compressed text
    path.write_bytes(damaged)
    with pytest.raises(ImportedError, match="no model"):
        imported(path, CHOICE, FEW)
    with pytest.raises(ImportedError, match=r"'data': 0 bytes"):
        imported(zip_of(path, policy__pth=b"1"), CHOICE, FEW)
    with pytest.raises(ImportedError, match="no model"):
        imported(zip_of(path, data="[1", policy__pth=b"1"), CHOICE, FEW)
    with pytest.raises(ImportedError, match="no settings"):
        imported(zip_of(path, data="[1]", policy__pth=b"1"), CHOICE, FEW)
    with pytest.raises(ImportedError, match="it holds no weights"):
        arrays_of(path, b"no weights")
    for content in (b"", b"no pickle", pickle.dumps([1, 2])):
        path.write_bytes(content)
        with pytest.raises(ImportedError, match="no statistics"):
            normalisation_in(path)


def test_models_of_something_else(tmp_path):
    _, path = saved(tmp_path, sb3.A2C)
    with pytest.raises(ValueError, match=r"has \d+ features and Discrete\(7\)"):
        imported(path, CHOICE, {"nr_candidates": 5})
    with pytest.raises(ImportedError, match=r"--env: value 'CartPole-v1' \(allowed: vcpu_env/CandidateChoice-v0"):
        imported(path, "CartPole-v1", {})
    _, path = saved(tmp_path, contrib.RecurrentPPO, policy="MlpLstmPolicy", n_steps=2, batch_size=2)
    with pytest.raises(ValueError, match="model.policy: value parameter 'lstm_"):
        imported(path, CHOICE, FEW)
    _, path = saved(tmp_path, sb3.A2C, policy_kwargs={"activation_fn": torch.nn.ELU})
    with pytest.raises(ValueError, match=r"activation_fn: value ELU \(allowed: Tanh, ReLU\)"):
        imported(path, CHOICE, FEW)


def test_the_command(tmp_path, monkeypatch, capsys):
    _, path = saved(tmp_path, sb3.A2C)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["agents.import", str(path), "--env", CHOICE, *arguments])
        with pytest.raises(SystemExit) as ended:
            run_command(app, (ValueError,))
        return ended.value.code, capsys.readouterr()

    code, said = run("-o", str(tmp_path / "out" / "mine.npz"), "--set", "nr_candidates=4", "--set", "rule=vee21")
    assert not code and f"for {CHOICE} over vee21" in said.out
    assert LearnedPolicy.load(tmp_path / "out" / "mine.npz").about.rule == "vee21"
    code, said = run("-o", str(tmp_path / "mine.pt"))
    assert code == 2 and "(allowed: FILE.npz)" in said.err
    code, said = run("-o", str(tmp_path / "other.npz"), "--set", "nr_candidats=4")
    assert code == 2 and "nr_candidates" in said.err and said.err.count("\n") == 1
    assert not (tmp_path / "other.npz").exists()
    assert importlib.import_module("agents.import").main


def test_arguments_of_the_environment():
    assert environment_arguments(["rule=vee21", "nr_candidates=4", 'reward={"work"=1.0}']) == {
        "rule": "vee21",
        "nr_candidates": 4,
        "reward": {"work": 1.0},
    }
    with pytest.raises(ImportedError, match=r"--set: value 'rule' \(allowed: NAME=VALUE\)"):
        environment_arguments(["rule"])


def test_modules_of_ones_own():
    actor = torch.nn.Sequential(torch.nn.Linear(7, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3, bias=False))
    policy = from_torch(actor, torch.nn.Sequential(torch.nn.Linear(7, 1)), sizes=(3,))
    observation = np.linspace(-1, 1, 7, dtype=np.float32)
    _, action, _, _ = compiled(policy, observation, NO_MASK, 1, 0, True)
    assert action.tolist() == [int(actor(torch.as_tensor(observation)).argmax())]
    with pytest.raises(ValueError, match=r"actor\[1\]: value GELU"):
        from_torch([actor[0], torch.nn.GELU(), actor[2]], sizes=(3,))
    with pytest.raises(ValueError, match=r"actor\[1\]: value Tanh"):
        from_torch(list(actor)[:2], sizes=(5,))
    with pytest.raises(ValueError, match="activation: value ReLU, Tanh"):
        from_torch(actor, [torch.nn.Linear(7, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1)], sizes=(3,))
