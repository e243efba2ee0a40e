"""Figures of speed: how long they are measured, and how they are printed."""

import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """Figures of one kind: a title, what the columns are, and a row of numbers for each name."""

    title: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Effort:
    """How long to measure: runs of each figure, seconds of each."""

    repeats: int
    seconds: Any  # Gymnasium's functions say int, and take fractions

    def median(self, figure: Callable[[], float]) -> float:
        """The median of repeated runs."""
        return statistics.median(figure() for _ in range(self.repeats))

    def rate(self, step: Callable[[], int]) -> float:
        """Median of how much a second `step` does, which returns how much it did."""

        def once() -> float:
            done, begin = 0, time.perf_counter()
            while time.perf_counter() - begin < self.seconds:
                done += step()
            return done / (time.perf_counter() - begin)

        step()
        return self.median(once)


def markdown(table: Table) -> str:
    """A table as Markdown."""
    lines = [f"### {table.title}", "", "| | " + " | ".join(table.columns) + " |"]
    lines.append("|---|" + "---:|" * len(table.columns))
    for name, figures in table.rows.items():
        cells = " | ".join(f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}" for figure in figures)
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines) + "\n"


def print_tables(tables: Iterable[Table], as_json: bool) -> None:
    """Print tables as they come: as Markdown, or as a JSON object a figure."""
    for table in tables:
        if not as_json:
            print(markdown(table), flush=True)
            continue
        for row, figures in table.rows.items():
            for column, value in zip(table.columns, figures, strict=True):
                print(json.dumps({"table": table.title, "row": row, "column": column, "value": value}), flush=True)
