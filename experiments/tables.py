"""Tables of a study: as CSV, and as Markdown between the marks of its README.

::

    <!-- table: causes -->
    (replaced)
    <!-- end -->
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from baselines.statistics import Estimate
from experiments.study import StudyError

Value = str | int | float | Estimate | None
MARK = re.compile(r"(<!-- table: ([a-z0-9-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Table:
    """A table; an `Estimate` in it is a relative change.

    Attributes:
        rows: values by column; all rows have the same columns.
    """

    name: str
    rows: Sequence[Mapping[str, Value]]

    def csv(self) -> str:
        """As CSV: changes in per cent, in three columns."""
        text = io.StringIO(newline="")
        rows = [dict(pair for name, value in row.items() for pair in _plain(name, value)) for row in self.rows]
        columns = list(dict.fromkeys(column for row in rows for column in row))
        writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def markdown(self) -> str:
        """As Markdown: changes in per cent with their interval, in bold if that does not hold zero."""
        columns = list(self.rows[0])
        number = [not isinstance(self.rows[0][column], str) for column in columns]
        lines = ["| " + " | ".join(columns) + " |", "|" + "|".join("---:" if n else "---" for n in number) + "|"]
        lines += ["| " + " | ".join(_text(row[column]) for column in columns) + " |" for row in self.rows]
        return "\n".join(lines) + "\n"


def _plain(name: str, value: Value) -> list[tuple[str, Value]]:
    if isinstance(value, Estimate):
        ends = (("", value.value), ("_low", value.low), ("_high", value.high))
        return [(f"{name}{end}", f"{100 * number:.2f}") for end, number in ends]
    return [(name, f"{value:.6g}" if isinstance(value, float) else value)]


def _text(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, Estimate):
        text = f"{_percent(value.value)} ({_percent(value.low)} to {_percent(value.high)})"
        return f"**{text}**" if holds_no_zero(value) else text
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"
    return str(value)


def _percent(change: float) -> str:
    digits = 0 if abs(change) >= 0.995 else 1
    return f"{100 * change:+.{digits}f}"


def holds_no_zero(value: Estimate) -> bool:
    """Whether a change is told from none: its interval lies on one side of zero."""
    return value.low > 0 or value.high < 0


def fill(text: str, tables: Mapping[str, Table]) -> str:
    """A README with every marked table replaced.

    Raises:
        StudyError: it asks for a table that there is not.
    """

    def table(match: re.Match[str]) -> str:
        if match[2] not in tables:
            raise StudyError(f"README.md: table '{match[2]}' (allowed: {', '.join(tables)})")
        return f"{match[1]}\n{tables[match[2]].markdown()}\n{match[3]}"

    return MARK.sub(table, text)


def write(tables: Sequence[Table], drawings: Mapping[str, str], readme: Path, out: Path) -> None:
    """Write tables and drawings (names without suffix) to a directory, and the README with its tables filled in."""
    (out / "tables").mkdir(parents=True, exist_ok=True)
    for table in tables:
        (out / "tables" / f"{table.name}.csv").write_text(table.csv(), "utf-8")
    for name, svg in drawings.items():
        (out / "tables" / f"{name}.svg").write_text(svg, "utf-8")
    filled = fill(readme.read_text("utf-8"), {table.name: table for table in tables})
    (out / "README.md").write_text(filled, "utf-8")
