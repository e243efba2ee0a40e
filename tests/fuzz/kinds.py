"""What was found: exceptions that should not have left, by kind, and how many inputs were tried."""

import json
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.fuzz.surface import BadRefusalError

ROOT = Path(__file__).parent.parent.parent
OURS = ("vcpu_env", "baselines", "agents", "experiments", "tests")
LONGEST_INPUT = 4000


def kind_of(error: BaseException) -> str:
    """An exception's type and where it was raised: the last line of ours, and the module beyond it."""
    if isinstance(error, BadRefusalError) and error.__cause__ is not None:
        return f"unclear {kind_of(error.__cause__)}"
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if is_ours(frame.filename)]
    last = ours[-1] if ours else frames[-1]
    beyond = "" if frames[-1] is last else f" (from {Path(frames[-1].filename).stem}.{frames[-1].name})"
    where = Path(last.filename)
    name = where.relative_to(ROOT).as_posix() if is_ours(last.filename) else where.name
    return f"{type(error).__name__} at {name}:{last.lineno}{beyond}"


def is_ours(filename: str) -> bool:
    """Whether a source file is the project's, the fuzz command's own aside."""
    path = Path(filename)
    inside = path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in OURS
    return inside and not path.is_relative_to(Path(__file__).parent)


@dataclass
class Found:
    """One kind: how often, and the first input of it."""

    count: int
    first: str
    message: str


@dataclass
class Tally:
    """What a surface has been through."""

    batches: int = 0
    tried: int = 0
    accepted: int = 0
    checked: int = 0
    seconds: float = 0.0
    kinds: dict[str, Found] = field(default_factory=dict)

    def add(self, kind: str, given: str, message: str) -> None:
        """Count one more of a kind."""
        if kind in self.kinds:
            self.kinds[kind].count += 1
        else:
            self.kinds[kind] = Found(1, given[:LONGEST_INPUT], message[:300])

    def merge(self, other: "Tally") -> None:
        """Take over what another process went through."""
        self.batches = max(self.batches, other.batches)
        self.tried += other.tried
        self.accepted += other.accepted
        self.checked += other.checked
        self.seconds += other.seconds
        for kind, found in other.kinds.items():
            if kind in self.kinds:
                self.kinds[kind].count += found.count
            else:
                self.kinds[kind] = found

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Tally":
        """From that text."""
        data = json.loads(text)
        return cls(**data | {"kinds": {kind: Found(**found) for kind, found in data["kinds"].items()}})
