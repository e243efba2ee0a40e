"""Everything that the rest of a training depends on, as one file: after a kill it goes on as if nothing had happened.

Networks, optimisers, random generators, the machines themselves, replay buffer and statistics. The file begins with a
line that names its format and the checksum of what follows, is read without unpickling code
(``torch.load(weights_only=True)``), and appears under its name only when complete.
"""

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecNormalize

from agents.config import TrainConfig
from vcpu_env.base.errors import InputError
from vcpu_env.base.files import checksum, write_whole
from vcpu_env.envs.lane import Snapshot, SnapshotError
from vcpu_env.nets.rollout import RolloutCollector

MAGIC = "vcpu-env checkpoint"
FORMAT = 2
ZIP = b"PK\x03\x04"
"""What a checkpoint of version 0.1 begins with."""

COUNTERS = ("num_timesteps", "_n_updates", "_episode_num", "_num_timesteps_at_start", "_total_timesteps")
ARRAYS = ("_last_obs", "_last_episode_starts", "_last_original_obs")
REPLAY = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


class CheckpointError(InputError):
    """A checkpoint that cannot be read, or is of another training."""


def save(path: Path, config: TrainConfig, model: Any, progress: dict[str, Any]) -> None:
    """Write a checkpoint. `progress` is what the training's own bookkeeping wants back: plain data."""
    env = model.get_env()
    content = {
        "config": config.digest,
        "progress": json.dumps(progress),
        "counters": {name: getattr(model, name) for name in COUNTERS if hasattr(model, name)},
        "arrays": {name: tensor(getattr(model, name)) for name in ARRAYS if getattr(model, name, None) is not None},
        "parameters": model.get_parameters(),
        "variables": {name: attribute(model, name).detach() for name in variables(model)},
        "random": random_state(model),
        "environment": environment_state(env),
    }
    if getattr(model, "collector", None) is not None:
        content["collector"] = {name: tensor(getattr(model.collector, name)) for name in ("keys", "counts")}
    if getattr(model, "replay_buffer", None) is not None:
        content["replay"] = replay_state(model.replay_buffer)
    body = io.BytesIO()
    torch.save(content, body)
    header = f"{MAGIC} {FORMAT} {checksum(body.getbuffer())}\n"
    write_whole(path, b"".join((header.encode(), body.getbuffer())))


def load(path: Path, config: TrainConfig, model: Any) -> None:
    """Bring a fresh model, with its environment, to where the checkpoint was written.

    Raises:
        CheckpointError: it is damaged, or of another configuration or version.
    """
    content = read(path, config)
    env = model.get_env()
    try:
        restore_environment(env, content["environment"])
    except SnapshotError as error:
        raise CheckpointError(f"{path}: {error}") from None
    for name, value in content["counters"].items():
        setattr(model, name, value)
    for name, value in content["arrays"].items():
        setattr(model, name, value.numpy())
    model.set_parameters(content["parameters"], exact_match=True)
    with torch.no_grad():
        for name, value in content["variables"].items():
            attribute(model, name).copy_(value)
    if "collector" in content:
        model.collector = RolloutCollector(env.unwrapped.environment)
        model.collector.keys = content["collector"]["keys"].numpy()
        model.collector.counts = content["collector"]["counts"].numpy()
    if "replay" in content:
        restore_replay(model.replay_buffer, content["replay"])
    restore_random(model, content["random"])


def read(path: Path, config: TrainConfig) -> dict[str, Any]:
    """The content of a checkpoint's file, of this configuration."""
    try:
        header, _, body = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    magic, _, rest = header.decode("latin-1").rpartition(" ")[0].rpartition(" ")
    if magic == MAGIC and rest.isascii() and rest.isdigit() and int(rest) != FORMAT:
        raise CheckpointError(f"{path}: format: value {rest} (allowed: {FORMAT})")
    if header.startswith(ZIP):
        raise CheckpointError(f"{path}: written by version 0.1 (allowed: a checkpoint of version 0.2)")
    if header != f"{MAGIC} {FORMAT} {checksum(body)}".encode():
        raise CheckpointError(f"{path}: damaged, or not a checkpoint (allowed: one that this command wrote)")
    content = dict(torch.load(io.BytesIO(body), weights_only=True))
    if content["config"] != config.digest:
        raise CheckpointError(f"{path}: of configuration {content['config']} (allowed: {config.digest}, the one given)")
    return content


def progress(path: Path, config: TrainConfig) -> dict[str, Any]:
    """The bookkeeping in a checkpoint, without a model.

    Raises:
        CheckpointError: as of `load`.
    """
    return dict(json.loads(read(path, config)["progress"]))


def tensor(array: Any) -> torch.Tensor:
    """A copy of an array."""
    return torch.from_numpy(np.array(array))


def variables(model: Any) -> list[str]:
    """Names of the model's tensors that belong to no module, as SAC's entropy coefficient."""
    return list(model._get_torch_save_params()[1])


def attribute(model: Any, path: str) -> Any:
    """An attribute by a path with dots."""
    for name in path.split("."):
        model = getattr(model, name)
    return model


def random_state(model: Any) -> dict[str, Any]:
    """The states of all generators that a training draws from."""
    name, keys, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "numpy": tensor(np.asarray(keys, np.int64)),
        "numpy_rest": json.dumps([name, *rest]),
        "actions": json.dumps(model.action_space.np_random.bit_generator.state),
    }


def restore_random(model: Any, state: dict[str, Any]) -> None:
    """Bring all generators back."""
    torch.set_rng_state(state["torch"])
    name, *rest = json.loads(state["numpy_rest"])
    np.random.set_state((name, state["numpy"].numpy().astype(np.uint32), *rest))
    model.action_space.np_random.bit_generator.state = json.loads(state["actions"])


def layers_of(env: VecEnv) -> dict[type, Any]:
    """The wrappers around an environment, by type."""
    found: dict[type, Any] = {}
    while hasattr(env, "venv"):
        found[type(env)] = env
        env = env.venv
    return found


def environment_state(env: VecEnv) -> dict[str, Any]:
    """The machines, and what the wrappers remember."""
    snapshots = env.unwrapped.environment.snapshot()  # type: ignore[attr-defined]
    described = [{**asdict(snapshot), "words": None} for snapshot in snapshots]
    words = [torch.frombuffer(bytearray(snapshot.words), dtype=torch.uint8) for snapshot in snapshots]
    state: dict[str, Any] = {"machines": json.dumps(described), "words": words}
    wrappers = layers_of(env)
    if VecNormalize in wrappers:
        normalise = wrappers[VecNormalize]
        statistics = normalise.obs_rms
        state["statistics"] = [tensor(statistics.mean), tensor(statistics.var), float(statistics.count)]
        state["old_obs"] = tensor(getattr(normalise, "old_obs", np.zeros(0)))
    if VecFrameStack in wrappers:
        state["frames"] = tensor(wrappers[VecFrameStack].stacked_obs.stacked_obs)
    return state


def restore_environment(env: VecEnv, state: dict[str, Any]) -> None:
    """Bring the machines and the wrappers back."""
    described = json.loads(state["machines"])
    snapshots = [
        Snapshot(**(about | {"words": words.numpy().tobytes()}))
        for about, words in zip(described, state["words"], strict=True)
    ]
    env.unwrapped.environment.restore(snapshots)  # type: ignore[attr-defined]
    wrappers = layers_of(env)
    if "statistics" in state:
        mean, var, count = state["statistics"]
        statistics = wrappers[VecNormalize].obs_rms
        statistics.mean, statistics.var, statistics.count = mean.numpy(), var.numpy(), count
        wrappers[VecNormalize].old_obs = state["old_obs"].numpy()
    if "frames" in state:
        wrappers[VecFrameStack].stacked_obs.stacked_obs = state["frames"].numpy()


def hand_over(env: VecEnv, to: VecEnv) -> None:
    """Let the next stage's environment go on with the statistics of observations."""
    old, new = layers_of(env).get(VecNormalize), layers_of(to).get(VecNormalize)
    if old is not None and new is not None:
        new.obs_rms = old.obs_rms


def replay_state(buffer: Any) -> dict[str, Any]:
    """What a replay buffer holds, without the room that is still empty."""
    filled = buffer.buffer_size if buffer.full else buffer.pos
    arrays = {name: tensor(getattr(buffer, name)[:filled]) for name in REPLAY}
    return {"pos": buffer.pos, "full": buffer.full, "arrays": arrays}


def restore_replay(buffer: Any, state: dict[str, Any]) -> None:
    """Fill a replay buffer."""
    buffer.pos, buffer.full = state["pos"], state["full"]
    for name, value in state["arrays"].items():
        getattr(buffer, name)[: len(value)] = value.numpy()
