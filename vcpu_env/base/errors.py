"""What is said to a user whose input is wrong: one short line for each thing, whatever it quotes."""

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np

LONGEST_SHOWN = 60
LONGEST_LINE = 2000


class InputError(ValueError):
    """Something from outside that cannot be.

    Args:
        lines: the message, or one for every wrong field. Each is one line of the error, whatever it quotes.
    """

    def __init__(self, lines: str | Iterable[str]):
        super().__init__("\n".join(map(one_line, [lines] if isinstance(lines, str) else lines)))


def one_line(text: str) -> str:
    """Text that takes one line of a terminal: what cannot be printed is written as in a Python string."""
    plain = text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return plain if len(plain) <= LONGEST_LINE else f"{plain[: LONGEST_LINE - 3]}..."


def nearest(name: str, allowed: Iterable[str]) -> str:
    """The text of an error's bracket: the nearest allowed name, or all of them."""
    allowed = list(allowed)
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"allowed: {', '.join(allowed)}"


def shown(value: Any) -> str:
    """A value in an error: on one line, cut off where it is long."""
    if isinstance(value, int) and value.bit_length() > 10_000:  # Python converts 4300 digits at most
        return "an integer of thousands of digits"
    try:
        text = f"'{value}'" if isinstance(value, str) else str(value)
    except RecursionError:
        return "brackets in brackets"
    except Exception:  # of a class of somebody else's
        text = f"of type {type(value).__name__}"
    text = one_line(text)
    if len(text) > LONGEST_SHOWN and not text[:LONGEST_SHOWN].strip("[({"):  # some Pythons can print these
        return "brackets in brackets"
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


def whole_number(name: str, value: Any, least: int, most: int, kind: type[InputError] = InputError) -> int:
    """An integer from outside; a truth value or a fraction is none.

    Raises:
        InputError: of that kind, naming value and bounds.
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not least <= value <= most:
        raise kind(f"{name}: value {shown(value)} (allowed: {least}..{most})")
    return int(value)
