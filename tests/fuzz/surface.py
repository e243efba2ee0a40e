"""A surface: something that takes an input from a user, and what it may do with it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

LONGEST_LINE = 2100
"""Of a message, and what a command says before it."""


@dataclass(frozen=True)
class Surface:
    """One surface.

    Attributes:
        inputs: makes the strategy of inputs; called once in a process.
        attempt: tries one input and returns what it was taken for.
        refusals: exceptions that say in one line what is wrong with an input.
        check: looks closer at what was accepted; raises AssertionError if something does not hold.
        every: of the inputs accepted, each so many-th is looked at closer.
        compiled: inputs are tried on compiled code; else as Python, where nothing waits for the compiler.
    """

    name: str
    inputs: Callable[[], st.SearchStrategy[Any]]
    attempt: Callable[[Any], Any]
    refusals: tuple[type[BaseException], ...] = ()
    check: Callable[[Any], None] | None = None
    every: int = 1
    compiled: bool = False


class BadRefusalError(Exception):
    """A refusal whose text is not what a user should read."""


def check_refusal(error: BaseException) -> None:
    """Refuse texts that are empty, endless or not printable; several lines only as one for each field.

    Raises:
        BadRefusalError: what is wrong with it.
    """
    lines = str(error).split("\n")
    for line in lines:
        if not line.strip() or len(line) > LONGEST_LINE or not line.isprintable():
            raise BadRefusalError(f"{type(error).__name__}: {str(error)[:200]!r}") from error
