"""Calls of the command line in this process."""

from typer.testing import CliRunner

from vcpu_env.cli import app

NOTICE = "compiling the simulator"


def call(*arguments) -> tuple[int, str, list[str]]:
    """Exit code, output and lines of the error stream of one call, without the notice of a long compilation."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    errors = [line for line in result.stderr.splitlines() if not line.startswith(NOTICE)]
    return result.exit_code, result.stdout, errors


def refused(*arguments) -> str:
    """The only error line of a call that must end with code 2 and print nothing else."""
    code, out, errors = call(*arguments)
    assert (code, out, len(errors)) == (2, "", 1), (out, errors)
    assert errors[0].startswith("error: ")
    return errors[0].removeprefix("error: ")
