"""What the commands of this package share: how they end, and how they say what is wrong."""

import sys

import typer
from typer.exceptions import TyperException

from vcpu_env.base.errors import one_line
from vcpu_env.cli import with_output


def run_command(app: typer.Typer, errors: tuple[type[Exception], ...]) -> None:
    """Run a command; these errors, and those of its arguments, end with one line on stderr and exit code 2."""
    try:
        with_output(lambda: sys.exit(app(standalone_mode=False)))
    except TyperException as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        say(f"error: {one_line(message)}")
    except errors as error:
        say("error: " + "; ".join(map(one_line, str(error).splitlines())))
    sys.exit(2)


def say(line: str) -> None:
    """Tell the user something that is no result."""
    print(line, file=sys.stderr)
