"""What a comparison came to."""

from dataclasses import dataclass

MET, MISSED, SHOWN = "met", "missed", ""


@dataclass(frozen=True)
class Verdict:
    """One comparison with reality.

    Attributes:
        name: what was compared.
        expected: what is right, in words or numbers.
        seen: what the simulator gave.
        met: None: shown without a bar.
    """

    name: str
    expected: str
    seen: str
    met: bool | None = None

    @property
    def word(self) -> str:
        """met, missed, or nothing."""
        return SHOWN if self.met is None else MET if self.met else MISSED


@dataclass(frozen=True)
class Part:
    """A part of the validation: a heading, what it is, its verdicts, and which share of them has to be met."""

    title: str
    words: str
    verdicts: tuple[Verdict, ...]
    needed: float = 1.0

    @property
    def score(self) -> tuple[int, int]:
        """Met, of those that have a bar."""
        judged = [verdict.met for verdict in self.verdicts if verdict.met is not None]
        return sum(judged), len(judged)
