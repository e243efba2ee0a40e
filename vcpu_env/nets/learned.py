"""A learned policy as a file: a network's arrays, and for which environment it was trained.

The file is an .npz without pickled objects, and with a checksum. Beside the arrays of `nets.weights` it holds a JSON
text (`Description`). `nets.play` is the machine in which such a policy decides.
"""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vcpu_env.base.errors import InputError
from vcpu_env.base.files import write_whole
from vcpu_env.envs.action import Actions, boosts
from vcpu_env.envs.compiled.observe import CANDIDATE_FEATURES, FEATURES
from vcpu_env.envs.compiled.types import CANDIDATE_CHOICE, JOINT_YIELD, PENALTY_SCALE, WIDE_YIELD
from vcpu_env.envs.config import EnvConfig, rule_of
from vcpu_env.envs.register import VERSIONS
from vcpu_env.envs.start import nr_features
from vcpu_env.nets.packing import pack
from vcpu_env.nets.weights import PolicyWeights, parts_in_file, refuse, sealed
from vcpu_env.policy.policy import check_names
from vcpu_env.scenario.errors import error_lines

FORMAT = 1
PART = "description"
"""Name of the JSON text among the arrays of the file."""

NAMES = {
    "CandidateChoice": CANDIDATE_CHOICE,
    "JointYield": JOINT_YIELD,
    "WideYield": WIDE_YIELD,
    "PenaltyScale": PENALTY_SCALE,
}
OLDEST = {"PenaltyScale": 2}
"""The first version whose actions mean what they do now, if that is not 0."""
KINDS = {
    f"vcpu_env/{name}-v{version}": kind
    for name, kind in NAMES.items()
    for version in range(OLDEST.get(name, 0), VERSIONS[name] + 1)
}
"""Environments whose agent can be a network; versions differ in defaults, and a policy's description has them all."""


class Description(BaseModel):
    """What a network's numbers mean."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = Field(default=FORMAT, ge=FORMAT, le=FORMAT, description="of this text")
    name: str = Field(description="in tables")
    summary: str = Field(default="", description="one line")
    environment: str = Field(description="id of the environment")
    rule: str = Field(default="series-v2", description="policy that answers what the network does not")
    config: EnvConfig = Field(default_factory=EnvConfig, description="the environment's arguments")
    frame_stack: int = Field(default=1, ge=1, le=64, description="observations that the network sees at once")
    deterministic: bool = Field(default=True, description="it takes the likeliest action; else it draws one")
    masked: bool = Field(default=True, description="it never takes an illegal candidate; else that means nobody")
    layout: str = Field(default="", description="fingerprint of observations and actions")
    kernels: tuple[str, ...] = Field(default=("6.19",), description="host kernels that it was trained on")


def layout_of(kind: int, config: EnvConfig) -> str:
    """A fingerprint of what each observation and each action means."""
    parts = (FEATURES, CANDIDATE_FEATURES, config.nr_candidates, boosts(kind, config.penalty_levels))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def described_in(text: str) -> Description:
    """The description that a JSON text is.

    Raises:
        ValueError: it is none.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        refuse(PART, text, "a JSON object")
    return Description(**data)


@dataclass(frozen=True, eq=False)
class LearnedPolicy:
    """A network that decides.

    Raises:
        ValueError: the network does not fit the environment that it is said to be for.
    """

    about: Description
    weights: PolicyWeights

    def __post_init__(self) -> None:
        about, config = self.about, self.about.config
        check_names(about.name, about.summary)
        if about.environment not in KINDS:
            refuse("environment", repr(about.environment), ", ".join(KINDS))
        layout = layout_of(self.kind, config)
        if about.layout not in ("", layout):
            refuse("layout", f"'{about.layout}' of observations and actions", f"{layout}, as in this version")
        rule_of(about.rule)
        inputs = nr_features(self.kind, config) * about.frame_stack
        if self.weights.nr_inputs != inputs:
            refuse("weights", f"for {self.weights.nr_inputs} features", f"{inputs}")
        actions = Actions(self.kind, config)
        sizes = tuple(n for n in (actions.nr_candidates, actions.nr_boosts) if n)
        if self.weights.sizes != sizes or (not sizes and self.weights.nr_dims != actions.width):
            given = list(self.weights.sizes) or f"{self.weights.nr_dims} numbers"
            refuse("weights", f"for actions {given}", str(list(sizes) or f"{actions.width} number"))
        object.__setattr__(self, "about", about.model_copy(update={"layout": layout}))

    @property
    def kind(self) -> int:
        """Of its environment."""
        return KINDS[self.about.environment]

    @property
    def name(self) -> str:
        """In tables."""
        return self.about.name

    @property
    def digest(self) -> str:
        """A fingerprint of the network and of what it is for, whatever it was trained on and the file's compression."""
        found = hashlib.sha256(self.about.model_dump_json(exclude={"kernels"}).encode())
        for array in pack(self.weights):
            found.update(array.tobytes())
        return found.hexdigest()

    def save(self, path: Path | str) -> None:
        """Write the file; all of it or nothing."""
        described: dict[str, Any] = {PART: self.about.model_dump_json()}
        content = io.BytesIO()
        np.savez_compressed(content, **sealed(self.weights.parts() | described))
        write_whole(Path(path), content.getvalue())

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a file that `save` wrote.

        Raises:
            ValueError: it is damaged, holds pickled objects, or is for other observations, actions or another version.
        """
        return cls.of_bytes(Path(path).read_bytes(), path)

    @classmethod
    def of_bytes(cls, content: bytes, path: Any) -> Self:
        """The policy in a file's content; `path` is for messages."""
        parts = parts_in_file(content, path)
        try:
            if PART not in parts:
                refuse(PART, "missing", "a file of LearnedPolicy.save")
            about = described_in(str(parts.pop(PART)))
            return cls(about, PolicyWeights.of_parts(parts))
        except ValidationError as error:
            raise InputError(f"{path}: {'; '.join(error_lines(Description, error))}") from None
        except ValueError as error:
            raise InputError(f"{path}: {error}") from None
