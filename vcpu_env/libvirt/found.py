"""What became of each part of a description."""

from dataclasses import dataclass
from typing import Literal

from vcpu_env.libvirt.tree import Element

Effect = Literal["used", "approximated", "without effect"]


@dataclass(frozen=True)
class Found:
    """One element or parameter.

    Attributes:
        of: the domain, or "host".
        what: its path and value.
        effect: whether the model has it.
        how: what it sets, or why it sets nothing.
    """

    of: str
    what: str
    effect: Effect
    how: str


class Findings:
    """The list of what was found in one file."""

    def __init__(self, of: str):
        self.of = of
        self.rows: list[Found] = []

    def add(self, element: Element | str, effect: Effect, how: str, value: str = "") -> None:
        """Note what became of an element, or of something that has a name only."""
        name = element if isinstance(element, str) else element.path
        row = Found(self.of, f"{name} {value}".strip(), effect, how)
        if row not in self.rows:
            self.rows.append(row)

    def used(self, element: Element | str, how: str, value: str = "") -> None:
        """The model has exactly this."""
        self.add(element, "used", how, value)

    def approximated(self, element: Element | str, how: str, value: str = "") -> None:
        """The model has something like it."""
        self.add(element, "approximated", how, value)

    def without(self, element: Element | str, why: str, value: str = "") -> None:
        """The model has nothing like it, or it changes nothing."""
        self.add(element, "without effect", why, value)
