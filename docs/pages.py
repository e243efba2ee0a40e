"""The pages that print results, and the commands that make them.

    python docs/pages.py                 # the list: was it made with the code of today, and how long did that take
    python docs/pages.py make NAME...    # run their commands again; without a name all of them

What made a page is recorded in docs/pages.json: the digest of the simulator's source, and the seconds it took.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
RECORD = ROOT / "docs" / "pages.json"


@dataclass(frozen=True)
class Page:
    """What one command writes.

    Attributes:
        files: the pages, from the repository's root.
        command: its arguments after the interpreter.
        needs: what must be there, in words; empty: nothing but the development environment.
    """

    files: tuple[str, ...]
    command: tuple[str, ...]
    needs: str = ""


PAGES = {
    "commands": Page(("docs/commands.md",), ("docs/make_commands.py",)),
    "architecture": Page(("docs/architecture.svg",), ("docs/make_architecture.py",)),
    "picture": Page(("docs/stock-vs-series.gif",), ("docs/make_gif.py",)),
    "launches": Page(("docs/launches.png",), ("docs/make_launches.py",)),
    "environments": Page(("docs/environments",), ("docs/make_environment_tables.py", "--rates")),
    "curves": Page(("docs/environments/curves.json", "docs/environments/curves"), ("docs/make_curves.py",)),
    "calibration": Page(("docs/calibration.md", "experiments/calibration"), ("-m", "experiments.calibration")),
    "series-review": Page(("experiments/series-review",), ("-m", "experiments", "series-review")),
    "sensitivity": Page(("experiments/sensitivity",), ("-m", "experiments", "sensitivity")),
    "kernel-7.3": Page(("experiments/kernel-7.3",), ("-m", "experiments", "kernel-7.3")),
    "validation": Page(
        ("docs/validation.md",),
        ("-m", "vcpu_env", "validate", "--golden", "GOLDEN", "--seeds", "16", "-o", "docs/validation.md"),
        "VCPU_ENV_GOLDEN: the directory with the full sets of traces",
    ),
    "leaderboard": Page(("docs/leaderboard.md",), ("-m", "baselines.leaderboard")),
    "cards": Page(("agents/models",), ("-m", "agents.publish", "cards")),
}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def source_digest() -> str:
    """Digest of the simulator's and the evaluation's source: what results depend on."""
    digest = hashlib.sha256()
    for folder in ("vcpu_env", "baselines"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def record() -> dict[str, dict[str, object]]:
    """What is known of the pages: ``{name: {"source": digest, "seconds": wall time}}``."""
    return json.loads(RECORD.read_text()) if RECORD.exists() else {}


def stale() -> list[str]:
    """Pages that were not made with the source of today."""
    known, today = record(), source_digest()
    return [name for name in PAGES if known.get(name, {}).get("source") != today]


@app.callback(invoke_without_command=True)
def show(context: typer.Context) -> None:
    """List the pages."""
    if context.invoked_subcommand:
        return
    known, old = record(), stale()
    table = Table("page", "files", "made with", "seconds", "needs", box=None)
    for name, page in PAGES.items():
        seconds = known.get(name, {}).get("seconds", "")
        made = "" if name not in known else "an older source" if name in old else "the source of today"
        table.add_row(name, " ".join(page.files), made, str(seconds), page.needs)
    Console().print(table)


@app.command()
def make(names: Annotated[list[str] | None, typer.Argument(metavar="NAME")] = None) -> None:
    """Make pages again: those named, or all that can be made here."""
    chosen = names or [name for name, page in PAGES.items() if not page.needs or "VCPU_ENV_GOLDEN" in os.environ]
    if wrong := [name for name in chosen if name not in PAGES]:
        print(f"error: NAME: value '{wrong[0]}' (allowed: {', '.join(PAGES)})", file=sys.stderr)
        raise typer.Exit(2)
    if "VCPU_ENV_GOLDEN" not in os.environ and (lacking := [name for name in chosen if PAGES[name].needs]):
        print(f"error: {lacking[0]}: needs {PAGES[lacking[0]].needs}", file=sys.stderr)
        raise typer.Exit(2)
    for i, name in enumerate(chosen, 1):
        print(f"[{i}/{len(chosen)}] {name}", flush=True)
        make_page(name)


def make_page(name: str) -> None:
    """Run the command of one page, and record it."""
    golden = os.environ.get("VCPU_ENV_GOLDEN", "")
    command = [golden if word == "GOLDEN" else word for word in PAGES[name].command]
    source, begin = source_digest(), time.monotonic()
    if subprocess.run([sys.executable, *command], cwd=ROOT).returncode != 0:
        print(f"error: {name}: its command failed, the record stays as it was", file=sys.stderr)
        raise typer.Exit(1)
    known = record() | {name: {"source": source, "seconds": round(time.monotonic() - begin)}}
    RECORD.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    app()
