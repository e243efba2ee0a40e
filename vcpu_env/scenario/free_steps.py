"""How many steps of a program may follow each other without any time passing; too many, and a run never ends."""

from collections.abc import Iterable
from dataclasses import dataclass

from vcpu_env.scenario.bounds import MOST_FREE_STEPS


@dataclass(frozen=True)
class Stretch:
    """Longest runs of steps that take no time, on all ways through a part of a program.

    Attributes:
        through: from its begin to its end; None if every way takes time.
        head, tail: from its begin, and up to its end.
        most: anywhere in it.
    """

    through: int | None = 0
    head: int = 0
    tail: int = 0
    most: int = 0


FREE, TAKES_TIME = Stretch(1, 1, 1, 1), Stretch(None)


def after(first: Stretch, second: Stretch) -> Stretch:
    """Of one part after the other."""
    return Stretch(
        None if first.through is None or second.through is None else first.through + second.through,
        max(first.head, 0 if first.through is None else first.through + second.head),
        max(second.tail, 0 if second.through is None else second.through + first.tail),
        max(first.most, second.most, first.tail + second.head),
    )


def either(first: Stretch, second: Stretch) -> Stretch:
    """Of one part or the other."""
    ways = [part.through for part in (first, second) if part.through is not None]
    heads, tails, most = (max(getattr(first, n), getattr(second, n)) for n in ("head", "tail", "most"))
    return Stretch(max(ways, default=None), heads, tails, most)


def repeated(times: int, part: Stretch) -> Stretch:
    """Of a part that is run so many times, with a step of its own for each."""
    part = after(part, FREE)
    if times == 1:
        return part
    if part.through is None:
        return Stretch(None, part.head, part.tail, max(part.most, part.tail + part.head))
    others = (times - 1) * part.through
    most = max(part.most, part.tail + others - part.through + part.head)
    return Stretch(times * part.through, others + part.head, others + part.tail, most)


def stretch_of(parts: Iterable[Stretch]) -> Stretch:
    """Of parts in their order."""
    whole = Stretch()
    for part in parts:
        whole = after(whole, part)
    return whole


def too_many(most: int) -> str:
    """What is wrong with so many steps, and what is allowed."""
    return f"{most} steps in a row would take no time; allowed: up to {MOST_FREE_STEPS}"
