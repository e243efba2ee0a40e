"""``python -m vcpu_env.bench peers`` and ``history``: speed beside others', and over time."""

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, help="Speed beside others', and over time.")


@app.command()
def peers(
    json_: Annotated[bool, typer.Option("--json", help="one JSON object a figure: table, row, column, value")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="one run of a twentieth of a second for each figure")] = False,
) -> None:
    """Measure other simulators and environments beside this one; others come with the extra ``peers``."""
    from vcpu_env.bench.peers import peers
    from vcpu_env.bench.tables import Effort

    peers(Effort(1, 0.05) if quick else Effort(5, 1.0), json_)


@app.command()
def history(
    files: Annotated[list[Path] | None, typer.Argument(help="of `vcpu-env bench --json`; default: docs/bench")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="draw it, too: an image file")] = None,
) -> None:
    """Compare results of `vcpu-env bench --json` that were kept, oldest first by name."""
    from vcpu_env.bench.history import HistoryError, history

    try:
        history(files or [], out)
    except HistoryError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    if len(sys.argv) == 1:
        allowed = "python -m vcpu_env.bench peers, ... history, python -m vcpu_env.bench.envs, vcpu-env bench"
        print(f"error: vcpu_env.bench: nothing to run (allowed: {allowed})", file=sys.stderr)
        sys.exit(2)
    app(prog_name="python -m vcpu_env.bench")
