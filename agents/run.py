"""The directory of a training: what it holds, and how the best policy is chosen.

config.json      the configuration; command.txt what began it
checkpoint.pt    to go on from; or generations.jsonl (cma_es)
logs/            progress.csv and TensorBoard events, a directory for each start
validation/      the cells of the validations
history.jsonl    one line for each validation
best.npz         the policy with the best validation, last.npz the present one
"""

import json
from pathlib import Path
from typing import Any

from agents.config import ConfigError, TrainConfig
from agents.validation import Verdict, validate
from vcpu_env.base.files import checksum_of_data, holds_nothing, say_unchecked, write_whole
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
            history(directory)  # a line that a kill cut short must not be gone on with
        elif directory.exists() and not holds_nothing(directory):
            raise ConfigError(f"out: value '{directory}' (allowed: an empty directory or one of this training)")
        directory.mkdir(parents=True, exist_ok=True)
        if not record.exists():
            write_whole(record, self._text.encode())

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
            write_whole(self.directory / "command.txt", f"{command}\n".encode())

    def logs(self, step: int) -> str:
        """Directory of logs of a start at this step."""
        return str(self.directory / "logs" / f"from-{step:012d}")

    def validate(self, policy: LearnedPolicy, step: int, best: float | None) -> tuple[Verdict, float]:
        """Evaluate the present policy and keep it if it is the best so far. Returns the verdict and the best merit."""
        last = self.directory / "last.npz"
        policy.save(last)
        verdict = validate(last, self.config.name, self.config.validation, self.directory / "validation")
        if best is None or verdict.merit > best:
            policy.save(self.directory / "best.npz")
            best = verdict.merit
        append_line(self.directory / "history.jsonl", {"step": step, **verdict.numbers()})
        return verdict, best


def history(directory: Path) -> list[dict[str, Any]]:
    """The validations of a training; one that a kill and a resume made twice is there once.

    Raises:
        ConfigError: a line is damaged.
    """
    lines = read_lines(directory / "history.jsonl")
    return sorted({line["step"]: line for line in lines}.values(), key=lambda line: int(line["step"]))


def append_line(path: Path, entry: dict[str, Any]) -> None:
    """Write one more line of JSON, with its checksum."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry | {"checksum": checksum_of_data(entry)}) + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """What `append_line` wrote; a last line that a kill cut short is left out, also from the file.

    Lines of an older version have no checksum, which is said.

    Raises:
        ConfigError: a line is damaged.
    """
    if not path.exists():
        return []
    whole, newline, rest = path.read_bytes().rpartition(b"\n")
    entries, checked = [], True
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            entry = json.loads(line)
            expected = entry.pop("checksum", None)
            checked = checked and expected is not None
            damaged = expected not in (None, checksum_of_data(entry))
        except (ValueError, AttributeError, TypeError, RecursionError):
            damaged = True
        if damaged:
            raise ConfigError(f"{path}: line {number} is damaged (allowed: lines as they were written)")
        entries.append(entry)
    if not checked:
        say_unchecked(path)
    if rest:
        write_whole(path, whole + newline)
    return entries
