"""The tables that an evaluation prints: what changed, why, and the scores. They fit 100 columns."""

import math
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from baselines.cells import Row
from baselines.policies import STOCK
from baselines.report.numbers import NOTHING, amount

WIDTH = 100
USUAL_NAME = 9
"""Longest name of a policy that leaves room for all columns."""


def report_console(policies: Sequence[str] = ()) -> Console:
    """The console of the tables: the terminal's width; if the output is none, 100 columns, more for long names."""
    console = Console()
    more = max((len(policy) for policy in policies), default=0) - USUAL_NAME
    return console if console.is_terminal else Console(width=WIDTH + max(0, more))


def print_report(console: Console, summary: Sequence[Row], scores: Sequence[Row]) -> None:
    """Print the three tables."""
    console.print(_changes(summary))
    if any(row["published_v3_from_latency"] for row in summary):
        console.print("* converted from a reduction r of latency: 1 / (1 - r) - 1", highlight=False)
    console.print(_mechanisms(summary))
    for layout in dict.fromkeys(row["layout"] for row in scores):
        console.print(_scores(layout, [row for row in scores if row["layout"] == layout]))
    for row in scores:
        if math.isnan(row["change"]):
            console.print(
                "n/a: some VM did no work under stock; a longer run.duration_ns gives it time", highlight=False
            )
            break


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    return table


def _add_rows(table: Table, rows: Sequence[Row], entries: Sequence[tuple[str, ...]]) -> None:
    """Add one line per row, under a line with the name of the scenario where that changes."""
    last = None
    for row, entry in zip(rows, entries, strict=True):
        case = f"{row['scenario']} ({row['variant']})" if row["variant"] else row["scenario"]
        if case != last:
            last = case
            table.add_row(f"[bold]{last}[/bold]")
        table.add_row(f"  {row['policy']}", *entry)


def _changes(summary: Sequence[Row]) -> Table:
    table = _table(
        "Throughput", "", "units/s", "vs stock", "95 %", "v2 said", "v3 said", "worst VM", "min/max VM", "Jain"
    )
    entries = [
        (
            amount(row["units_per_s"]),
            *_estimate(row),
            _percent(row["published_v2"]),
            _percent(row["published_v3"]) + ("*" if row["published_v3_from_latency"] else ""),
            NOTHING if row["policy"] == STOCK else _percent(row["worst_vm_change"], "n/a"),
            f"{row['min_max_vm']:.2f}",
            f"{row['jain']:.3f}",
        )
        for row in summary
    ]
    _add_rows(table, summary, entries)
    return table


def _mechanisms(summary: Sequence[Row]) -> Table:
    table = _table(
        "Mechanism (useful: the vCPU that the spinner waits for ran)",
        *("", "PLE exits/s", "yields/s", "succeeded", "useful", "penalties/s", "spin share"),
    )
    entries = [
        (
            amount(row["ple_exits_per_s"]),
            amount(row["yields_tried_per_s"]),
            _share(row["yields_ok_share"]),
            _share(row["yields_useful_share"]),
            amount(row["penalties_per_s"]),
            _share(row["spin_share"]),
        )
        for row in summary
    ]
    _add_rows(table, summary, entries)
    return table


def _scores(layout: str, scores: Sequence[Row]) -> Table:
    with_gap = any(not math.isnan(row["gap_closed"]) for row in scores)
    table = _table(
        f"Score: geometric mean over scenarios and seeds ({layout})",
        *("", "vs stock", "95 %", "IQM", "P(better)", *["gap closed"] * with_gap, "worst VM", ""),
    )
    for row in scores:
        entries = (
            _percent(row["iqm_change"], "n/a"),
            f"{row['probability_of_improvement']:.2f}",
            *[_share(row["gap_closed"])] * with_gap,
            _percent(row["worst_vm_change"], "n/a"),
            str(row["worst_vm"]),
        )
        table.add_row(row["policy"], *_estimate(row), *(entries if row["policy"] != STOCK else ()))
    return table


def _estimate(row: Row) -> tuple[str, str]:
    """Change against stock and its interval."""
    if row["policy"] == STOCK:
        return NOTHING, ""
    if row["seeds"] == 1 or math.isnan(row["change"]):
        return _percent(row["change"], "n/a"), ""
    return _percent(row["change"]), f"{100 * row['change_low']:+.1f} {100 * row['change_high']:+.1f}"


def _percent(value: float, missing: str = "") -> str:
    return missing if math.isnan(value) else f"{100 * value:+.1f}%"


def _share(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{100 * value:.1f}%"
