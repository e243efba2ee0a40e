"""What the commands of this package share: how they end, and how they say what is wrong."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn

import typer
from typer.exceptions import TyperException

from vcpu_env.base.errors import one_line
from vcpu_env.base.interrupts import INTERRUPTED_COMMAND, end_on_signals, exit_code
from vcpu_env.cli import with_output
from vcpu_env.executors.base import WorkerDiedError


class InterruptError(Exception):
    """A signal has ended a command that has something to say about it: what is stored, and how to go on."""


def run_command(app: typer.Typer, errors: tuple[type[Exception], ...]) -> None:
    """Run a command; these errors, and those of its arguments, end with one line on stderr and exit code 2.

    SIGINT and SIGTERM end it within a second, with one line and exit code 130 or 143.
    """
    end_on_signals()
    try:
        with_output(lambda: end_of(app(standalone_mode=False)))
    except InterruptError as interrupted:
        say(f"interrupted: {interrupted}")
        leave()
    except TyperException as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        say(f"error: {one_line(message)}")
    except errors as error:
        say("error: " + "; ".join(map(one_line, str(error).splitlines())))
    sys.exit(2)


@contextlib.contextmanager
def resumable(how: Callable[[], str]) -> Iterator[None]:
    """Around long work whose finished parts are stored: if a signal or the end of a worker stops it, say how to go on.

    Args:
        how: what is stored, and what goes on with it; asked then.

    Raises:
        InterruptError: a signal. typer.Exit: a worker has died; the exit code is 1.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptError(how()) from None
    except WorkerDiedError:
        say(f"error: a worker died (out of memory?): {how()}")
        raise typer.Exit(1) from None


def say(line: str) -> None:
    """Tell the user something that is no result."""
    print(line, file=sys.stderr)


def end_of(code: object) -> None:
    """End with a command's exit code; one that a signal has ended says so."""
    if code == INTERRUPTED_COMMAND:
        say("interrupted")
        leave()
    sys.exit(code)  # type: ignore[arg-type]


def leave() -> NoReturn:
    """End after a signal, and say no more: a pool that it has broken may complain when the interpreter tidies up."""
    sys.unraisablehook = lambda _: None
    sys.exit(exit_code())
