"""TOML from users: whatever is wrong with a text, the parser says so in one kind of error."""

import tomllib
from typing import Any


def read_toml(text: str) -> dict[str, Any]:
    """The table that a text describes.

    Raises:
        tomllib.TOMLDecodeError: it is no TOML, or nested or long beyond reason.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise tomllib.TOMLDecodeError("too many brackets in each other") from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as error:  # an integer of more digits than Python converts, a day that no calendar has
        raise tomllib.TOMLDecodeError(str(error)) from None
