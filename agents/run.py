"""The directory of a training: what it holds, and how the best policy is chosen.

config.json      the configuration; command.txt what began it
checkpoint.pt    to go on from; or generations.jsonl (cma_es)
logs/            progress.csv and TensorBoard events, a directory for each start
validation/      the cells of the validations
history.jsonl    one line for each validation
best.npz         the policy with the best validation, last.npz the present one
"""

import json
import os
from pathlib import Path
from typing import Any

from agents.config import ConfigError, TrainConfig
from agents.validation import Verdict, validate
from vcpu_env.nets.learned import LearnedPolicy


class Run:
    """One training's directory.

    Args:
        directory: made if it does not exist.
        resume: go on in a directory that holds this training; without it, such a directory is refused.

    Raises:
        ConfigError: it holds something else.
    """

    def __init__(self, config: TrainConfig, directory: Path, resume: bool):
        self.config, self.directory = config, directory
        record = directory / "config.json"
        if record.exists():
            if not resume:
                raise ConfigError(f"out: value '{directory}' holds a training (--resume goes on with it)")
            if record.read_text("utf-8") != self._text:
                raise ConfigError(f"out: value '{directory}' holds a training with another configuration")
        elif directory.exists() and any(directory.iterdir()):
            raise ConfigError(f"out: value '{directory}' (allowed: an empty directory or one of this training)")
        directory.mkdir(parents=True, exist_ok=True)
        if not record.exists():
            write(record, self._text.encode())

    @property
    def _text(self) -> str:
        return self.config.model_dump_json(indent=1) + "\n"

    @property
    def checkpoint(self) -> Path:
        """The file to go on from."""
        return self.directory / "checkpoint.pt"

    def note(self, command: str) -> None:
        """Keep the command that began this training."""
        if not (self.directory / "command.txt").exists():
            write(self.directory / "command.txt", f"{command}\n".encode())

    def logs(self, step: int) -> str:
        """Directory of logs of a start at this step."""
        return str(self.directory / "logs" / f"from-{step:012d}")

    def validate(self, policy: LearnedPolicy, step: int, best: float | None) -> tuple[Verdict, float]:
        """Evaluate the present policy and keep it if it is the best so far. Returns the verdict and the best merit."""
        last = self.directory / "last.npz"
        save(policy, last)
        verdict = validate(last, self.config.name, self.config.validation, self.directory / "validation")
        if best is None or verdict.merit > best:
            save(policy, self.directory / "best.npz")
            best = verdict.merit
        with (self.directory / "history.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **verdict.numbers()}) + "\n")
        return verdict, best


def save(policy: LearnedPolicy, path: Path) -> None:
    """Write a policy's file so that it appears only when complete."""
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    policy.save(temporary)
    os.replace(temporary, path)


def write(path: Path, content: bytes) -> None:
    """Write a file so that it appears only when complete."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def history(directory: Path) -> list[dict[str, Any]]:
    """The validations of a training; one that a kill and a resume made twice is there once."""
    path = directory / "history.jsonl"
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return sorted({line["step"]: line for line in lines}.values(), key=lambda line: int(line["step"]))
