"""Policies as weights: files, what is refused, and what comes out of Stable-Baselines3."""

from dataclasses import replace

import numpy as np
import pytest

from tests.twin.random_policy import POLICIES, random_policy
from vcpu_env.nets.packing import pack
from vcpu_env.nets.weights import CHECKSUM, Layer, Normalisation, PolicyWeights, sealed


@pytest.mark.parametrize("name", POLICIES)
def test_save_and_load(tmp_path, name):
    path = tmp_path / "policy.bin"
    POLICIES[name].save(path)
    loaded = PolicyWeights.load(path)
    for saved, read in zip(pack(POLICIES[name]), pack(loaded), strict=True):
        assert saved.dtype == read.dtype and saved.tobytes() == read.tobytes()
    loaded.save(tmp_path / "again.bin")
    assert path.read_bytes() == (tmp_path / "again.bin").read_bytes()


def test_damaged_files_are_refused(tmp_path):
    policy, path = random_policy(1, inputs=2, actor=(), critic=None), tmp_path / "policy.npz"
    policy.save(path)
    whole = path.read_bytes()
    damaged = [whole[:n] for n in range(0, len(whole), 37)] + [b"text", b"", whole[:100] + whole[200:]]
    damaged += [whole[:i] + bytes([whole[i] ^ 0x41]) + whole[i + 1 :] for i in range(0, len(whole), 3)]
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            loaded = PolicyWeights.load(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")
            assert "allowed: " in str(error) and "\n" not in str(error)
            refused += 1
        else:
            assert pack(loaded)[1].tobytes() == pack(policy)[1].tobytes()
    assert refused > len(damaged) / 2


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "policy.npz"
    np.savez(path, format_version=3)
    with pytest.raises(ValueError, match=r"policy.npz: format_version: value 3 \(allowed: 2\)"):
        PolicyWeights.load(path)
    np.savez(path, format_version=1)
    with pytest.raises(ValueError, match=r"policy.npz: activation: missing \(allowed: the parts that .* writes\)"):
        PolicyWeights.load(path)
    policy = POLICIES["no critic"]
    policy.save(path)
    with np.load(path) as archive:
        parts = dict(archive)
    del parts[CHECKSUM]
    np.savez(path, **sealed(parts | {"colour": 1}))
    with pytest.raises(ValueError, match=r"policy.npz: part: value 'colour' \(allowed: the parts that "):
        PolicyWeights.load(path)
    np.savez(path, **sealed(parts | {"actor_1_bias": np.zeros(3, np.float32)}))
    with pytest.raises(
        ValueError, match=r"policy.npz: actor\[1\].bias: value of shape \(3,\) \(allowed: shape \(5,\)\)"
    ):
        PolicyWeights.load(path)
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(ValueError, match="array.npy: damaged, or not a policy"):
        PolicyWeights.load(tmp_path / "array.npy")
    with pytest.raises(FileNotFoundError):
        PolicyWeights.load(tmp_path / "none.npz")


F = np.float32
GOOD = {"actor": (Layer(np.ones((2, 3), F), np.zeros(3, F)),), "head": "categorical", "sizes": (3,)}
GAUSSIAN = GOOD | {"head": "gaussian", "sizes": (), "log_std": np.zeros(3, F)}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"activation": "gelu"}, "activation: value 'gelu' (allowed: tanh, relu)"),
        ({"head": "beta"}, "head: value 'beta' (allowed: categorical, gaussian, squashed_gaussian)"),
        ({"actor": ()}, "actor: value no layers (allowed: at least one (weight, bias))"),
        ({"actor": ((np.ones((2, 3), F),),)}, "actor[0]: value of length 1 (allowed: (weight, bias))"),
        ({"actor": (([[1.0]], np.zeros(1, F)),)}, "actor[0].weight: value list (allowed: numpy array)"),
        (
            {"actor": ((np.ones((2, 3)), np.zeros(3, F)),)},
            "actor[0].weight: value of dtype float64 (allowed: dtype float32)",
        ),
        (
            {"actor": ((np.ones(3, F), np.zeros(3, F)),)},
            "actor[0].weight: value of shape (3,) (allowed: shape (any, any))",
        ),
        (
            {"actor": ((np.ones((0, 3), F), np.zeros(3, F)),)},
            "actor[0].weight: value of shape (0, 3) (allowed: shape (any, any))",
        ),
        (
            {"actor": ((np.ones((2, 3), F), np.zeros(4, F)),)},
            "actor[0].bias: value of shape (4,) (allowed: shape (3,))",
        ),
        (
            {"actor": (*GOOD["actor"], (np.ones((4, 3), F), np.zeros(3, F)))},
            "actor[1].weight: value of shape (4, 3) (allowed: shape (3, any))",
        ),
        (
            {"actor": ((np.full((2, 3), np.nan, F), np.zeros(3, F)),)},
            "actor[0].weight: value nan (allowed: finite numbers)",
        ),
        (
            {"critic": ((np.ones((3, 1), F), np.zeros(1, F)),)},
            "critic[0].weight: value of shape (3, 1) (allowed: shape (2, any))",
        ),
        ({"critic": ((np.ones((2, 2), F), np.zeros(2, F)),)}, "critic: value 2 outputs (allowed: 1 output)"),
        ({"sizes": ()}, "sizes: value () (allowed: one integer >= 1 for each dimension of the action)"),
        ({"sizes": (3, 0)}, "sizes: value (3, 0) (allowed: one integer >= 1 for each dimension of the action)"),
        ({"sizes": (1.5, 1.5)}, "sizes: value (1.5, 1.5) (allowed: one integer >= 1 for each dimension of the action)"),
        ({"sizes": (2, 2)}, "sizes: value (2, 2) (allowed: sum 3, the outputs of the actor)"),
        ({"log_std": np.zeros(3, F)}, "log_std: value given (allowed: only with head gaussian)"),
        (GAUSSIAN | {"sizes": (3,)}, "sizes: value (3,) (allowed: empty unless head is categorical)"),
        (GAUSSIAN | {"log_std": None}, "log_std: value NoneType (allowed: numpy array)"),
        (GAUSSIAN | {"log_std": np.zeros(2, F)}, "log_std: value of shape (2,) (allowed: shape (3,))"),
        (GAUSSIAN | {"log_std": np.full(3, -21, F)}, "log_std: value -21.0 (allowed: -20..20)"),
        (
            {"head": "squashed_gaussian", "sizes": ()},
            "actor: value 3 outputs (allowed: an even number: means, log stds)",
        ),
        (
            {"normalisation": Normalisation(np.zeros(3, F), np.ones(2, F), 10.0)},
            "normalisation.mean: value of shape (3,) (allowed: shape (2,))",
        ),
        (
            {"normalisation": Normalisation(np.zeros(2, F), np.ones(2, F), 0.0)},
            "normalisation.clip: value 0.0 (allowed: finite number > 0)",
        ),
    ],
)
def test_what_is_no_policy_is_refused(parts, message):
    with pytest.raises(ValueError) as caught:
        PolicyWeights(**GOOD | parts)
    assert str(caught.value) == message


def test_arrays_are_copies_that_nobody_can_change():
    bias = np.zeros(3, F)
    policy = PolicyWeights(actor=(Layer(np.ones((2, 3), F), bias),), head="categorical", sizes=(3,))
    bias[0] = 1
    assert policy.actor[0].bias[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        policy.actor[0].bias[0] = 1
    assert not replace(POLICIES["mlp"], critic=()).critic
