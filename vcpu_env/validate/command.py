"""What `vcpu-env validate` does: run the parts asked for, print the summary, write the page."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TextColumn

from vcpu_env.base.errors import nearest
from vcpu_env.executors.base import Executor
from vcpu_env.executors.make import make_executor
from vcpu_env.validate import cells, golden, launches, page, probes, published
from vcpu_env.validate.verdict import Part

PARTS = ("cells", "launches", "published", "probes", "golden")


def check_names(wanted: Sequence[str], directory: Path | None) -> list[str]:
    """The parts to run, in the order of the page.

    Raises:
        ValueError: an unknown part, or traces asked for without their directory.
    """
    for name in wanted:
        if name not in PARTS:
            raise ValueError(f"PART: value '{name}' ({nearest(name, PARTS)})")
    if "golden" in wanted and directory is None:
        raise ValueError("golden: no directory of traces (allowed: with --golden DIR)")
    if directory is not None:
        golden.sets_of(directory)
    return [name for name in PARTS if (not wanted or name in wanted) and (name != "golden" or directory is not None)]


def run_part(name: str, executor: Executor, seeds: int, directory: Path | None, say) -> list[Part]:
    """One part of the validation."""
    if name == "cells":
        return cells.parts(executor, seeds, say)
    if name == "launches":
        return launches.parts(executor, say)
    if name == "published":
        return published.parts(executor, seeds, say)
    if name == "probes":
        return probes.parts(min(seeds, 3))
    assert directory is not None
    return golden.parts(executor, directory, say)


def shown(progress: Progress, name: str) -> Callable[[int, int], None]:
    """A bar for one part."""
    bar = progress.add_task(name, total=None)
    return lambda done, of: progress.update(bar, completed=done, total=of)


def validate(
    wanted: Sequence[str], seeds: int, directory: Path | None, out: Path | None, workers: int | None, as_json: bool
) -> bool:
    """The whole command; whether every part met what it needs.

    Raises:
        ValueError: with a line of what is wrong.
    """
    names = check_names(wanted, directory)
    executor = make_executor("process", workers)
    parts: list[Part] = []
    columns = (*Progress.get_default_columns(), TextColumn("{task.completed:.0f}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for name in names:
            parts += run_part(name, executor, seeds, directory, shown(progress, name))
    given = [*wanted, *(["--golden DIR"] if directory is not None else []), f"--seeds {seeds}"]
    text = page.markdown(parts, " ".join(["vcpu-env validate", *given]))
    if out is not None:
        out.write_text(text, "utf-8")
    if as_json:
        json.dump(page.as_json(parts), sys.stdout, indent=1)
        print()
    else:
        print("\n".join(page.head(parts)) if out is not None else text)
    return all(part.score[0] >= part.needed * part.score[1] for part in parts)
