"""Runs that are killed at any moment and gone on with end like runs that were left alone, file for file.

``make kills KILLS=100`` kills each kind so often, and says how often it hit what.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.evaluation import LAUNCH
from tests.helpers.paths import ROOT
from tests.helpers.toml import toml

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("VCPU_ENV_KILLS", "3"))
"""Of each kind of run."""
SWEEP = ("--scenario", "dbench-2vm", "--scenario", "vips-3vm", "--policy", "ipi", "--seeds", "10", "--out", "results")
FAKE_SECONDS = "0.05"
"""A cell of the sweep takes twice as long: most of a run is cells, as it is with real ones."""
LONGEST_SECONDS = 600


def launch(arguments: list[str], cwd: Path) -> subprocess.Popen:
    """Start a run, or go on with it, as the leader of a group of processes."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "FAKE_MACHINE_S": FAKE_SECONDS, "COLUMNS": "100"}
    cwd.mkdir(exist_ok=True)
    with (cwd / "errors.txt").open("a") as errors:
        command = [sys.executable, *arguments]
        return subprocess.Popen(
            command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
        )


def ended(process: subprocess.Popen, cwd: Path, seconds: float) -> bool:
    """Whether a run ends within that time; if not, it is killed with all its processes.

    Raises:
        AssertionError: it ended badly.
    """
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        return False
    assert code == 0, (cwd / "errors.txt").read_text()[-2000:]
    return True


def files_of(directory: Path) -> dict[str, bytes]:
    """What lies in a directory; what a kill leaves of a file that was being written has a dot before its name."""
    paths = [path for path in sorted(directory.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths}


def kill_and_resume(arguments: list[str], tmp_path: Path, content: Callable[[Path], object]) -> None:
    """Kill runs until there were enough; each that ends must have the content of one that was left alone."""
    began = time.monotonic()
    assert ended(launch(arguments, tmp_path / "whole"), tmp_path / "whole", LONGEST_SECONDS)
    whole, longest = content(tmp_path / "whole"), time.monotonic() - began
    rng, killed, runs = random.Random(5), 0, 0
    while killed < KILLS:
        cwd = tmp_path / f"killed-{runs}"
        seconds = rng.uniform(0, longest)
        while not ended(launch([*arguments, "--resume"], cwd), cwd, seconds):
            killed += 1
            seconds = rng.uniform(0, longest) if killed < KILLS else LONGEST_SECONDS
        assert content(cwd) == whole, cwd
        runs += 1
    print(f"\n{killed} kills of runs of {longest:.1f} s; {runs} ended, all as one that was left alone")


def sweep(cwd: Path) -> dict[str, bytes]:
    """The results of a sweep; what was typed is the same but for the option to go on."""
    return files_of(cwd / "results")


def test_kills_of_a_sweep(tmp_path):
    kill_and_resume(["-c", LAUNCH, *SWEEP, "--workers", "2"], tmp_path, sweep)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_kills_of_a_sweep_on_ray(tmp_path):
    pytest.importorskip("ray")
    kill_and_resume(["-c", LAUNCH, *SWEEP, "--executor", "ray", "--workers", "2"], tmp_path, sweep)


def training(cwd: Path) -> dict[str, object]:
    """What a training comes to: policies, generations, and each validation once."""
    from agents.run import history

    results = cwd / "results"
    names = ["best.npz", "last.npz", "generations.jsonl", "config.json", "command.txt"]
    files = {name: (results / name).read_bytes() for name in names if (results / name).exists()}
    return files | {"history": history(results)}


TRAININGS = {
    "ppo": {"total_steps": 2048, "checkpoint_every": 0.05},
    "cma_es": {"algorithm": "cma_es", "total_steps": 12, "hyperparameters": {"population_size": 4}},
    "sac": {
        "algorithm": "sac", "environment": "PenaltyScale", "total_steps": 240, "checkpoint_every": 0.1,
        "environment_arguments": {"horizon_ns": 20_000_000, "warm_starts": 1, "nr_candidates": 4},
        "hyperparameters": {"learning_starts": 40, "batch_size": 16, "buffer_size": 100, "train_freq": 4},
    },
}  # fmt: skip


@pytest.mark.parametrize("algorithm", TRAININGS)
def test_kills_of_a_training(algorithm, tmp_path):
    pytest.importorskip("sb3_contrib")
    pytest.importorskip("cmaes")
    from tests.helpers.agent_config import QUICK

    config = tmp_path / "quick.toml"
    config.write_text("".join(f"{key} = {toml(value)}\n" for key, value in (QUICK | TRAININGS[algorithm]).items()))
    kill_and_resume(["-m", "agents.train", str(config), "--out", "results"], tmp_path, training)
