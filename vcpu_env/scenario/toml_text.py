"""TOML from users: whatever is wrong with a text, the parser says so in one kind of error."""

import tomllib
from typing import Any

from vcpu_env.scenario.brackets import too_deep


class TomlError(tomllib.TOMLDecodeError):
    """What the parser does not call an error of the text, or not in the same words on every Python."""

    def __init__(self, message: str):
        ValueError.__init__(self, message)


def read_toml(text: str) -> dict[str, Any]:
    """The table that a text describes.

    Raises:
        tomllib.TOMLDecodeError: it is no TOML, or nested or long beyond reason.
    """
    if too_deep(text):
        raise TomlError("too many brackets in each other")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as error:  # an integer of more digits than Python converts, a day that no calendar has
        raise TomlError(str(error)) from None
