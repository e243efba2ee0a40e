"""Tables for a terminal: they fit 80 columns, break names between words only, and leave out what is empty."""

import re
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from baselines.report.numbers import NOTHING

WIDTH = 80
EMPTY = ("", NOTHING)


def console() -> Console:
    """Where tables are printed; wider than they are, since they keep their width themselves."""
    return Console(width=2 * WIDTH, highlight=False)


def broken(name: str, width: int) -> str:
    """A name in lines of at most so many letters, broken after its separators; a longer word stays whole."""
    lines = [""]
    for piece in re.findall(r"[-_/:,.+ ]*[^-_/:,.+ ]*[-_/:,.+ ]*", name):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.strip() if i else line.rstrip() for i, line in enumerate(lines))


def lines_of(text: str) -> list[str]:
    """The lines of a text, at least one."""
    return text.splitlines() or [""]


def fitted(
    title: str, names: Sequence[str], columns: Mapping[str, Sequence[str]], headings: Mapping[int, str] | None = None
) -> Table:
    """A table.

    Args:
        names: of the rows, the first column.
        columns: the others: title and an entry a row.
        headings: lines that stand above the rows with these numbers.
    """
    headings = headings or {}
    kept = {name: list(entries) for name, entries in columns.items() if any(entry not in EMPTY for entry in entries)}
    widths = [
        max(len(word) for text in (*title.split(), *entries) for word in lines_of(text))
        for title, entries in kept.items()
    ]
    indent = "  " if headings else ""
    left = WIDTH - sum(widths) - len(widths)
    longest = max(len(text) for text in (*headings.values(), *(indent + name for name in names)))
    room = left - longest >= len(widths)
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0, 0, int(room)), pad_edge=False)
    table.add_column("", no_wrap=True)
    for name, width in zip(kept, widths, strict=True):
        table.add_column(broken(name, width), justify="right", no_wrap=True)
    for i, name in enumerate(names):
        if i in headings:
            table.add_row(f"[bold]{broken(headings[i], left)}[/bold]")
        indented = "\n".join(indent + line for line in lines_of(broken(name, left - len(indent))))
        table.add_row(indented, *(entries[i] for entries in kept.values()))
    return table
