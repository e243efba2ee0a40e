"""The tables that an evaluation prints: what changed, whom it harms, why, and the scores. They fit 80 columns."""

import math
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from baselines.cells import Row
from baselines.policies import STOCK
from baselines.report.columns import fitted
from baselines.report.numbers import NOTHING, amount


def print_report(console: Console, summary: Sequence[Row], scores: Sequence[Row]) -> None:
    """Print all tables."""
    console.print(_changes(summary))
    if any(row["published_v3_from_latency"] for row in summary):
        console.print("* converted from a reduction r of latency: 1 / (1 - r) - 1")
    console.print(_fairness(summary))
    console.print(_mechanisms(summary))
    for layout in dict.fromkeys(row["layout"] for row in scores):
        console.print(_scores(layout, [row for row in scores if row["layout"] == layout]))
    if any(math.isnan(row["change"]) for row in scores):
        console.print("n/a: some VM did no work under stock; a longer run.duration_ns gives it time")


def _by_case(title: str, rows: Sequence[Row], columns: Mapping[str, Sequence[str]]) -> Table:
    """A line a policy, under lines with the names of the scenarios."""
    headings = {}
    last = None
    for i, row in enumerate(rows):
        case = f"{row['scenario']} ({row['variant']})" if row["variant"] else row["scenario"]
        if case != last:
            headings[i] = last = case
    return fitted(title, [row["policy"] for row in rows], columns, headings)


def _changes(summary: Sequence[Row]) -> Table:
    columns = {
        "units/s": [amount(row["units_per_s"]) for row in summary],
        "vs stock": [_change(row) for row in summary],
        "95 %": [_interval(row, "change") for row in summary],
        "v2 said": [_percent(row["published_v2"]) for row in summary],
        "v3 said": [_percent(row["published_v3"]) + "*" * row["published_v3_from_latency"] for row in summary],
    }
    return _by_case("Throughput", summary, columns)


def _fairness(summary: Sequence[Row]) -> Table:
    columns = {
        "worst VM": [NOTHING if row["policy"] == STOCK else _percent(row["worst_vm_change"], "n/a") for row in summary],
        "which": [NOTHING if row["policy"] == STOCK else str(row["worst_vm"]) for row in summary],
        "min/max VM": [f"{row['min_max_vm']:.2f}" for row in summary],
        "Jain": [f"{row['jain']:.3f}" for row in summary],
    }
    return _by_case("Fairness (worst VM: against itself under stock)", summary, columns)


def _mechanisms(summary: Sequence[Row]) -> Table:
    columns = {
        "PLE exits/s": [amount(row["ple_exits_per_s"]) for row in summary],
        "yields/s": [amount(row["yields_tried_per_s"]) for row in summary],
        "succeeded": [_share(row["yields_ok_share"]) for row in summary],
        "useful": [_share(row["yields_useful_share"]) for row in summary],
        "penalties/s": [amount(row["penalties_per_s"]) for row in summary],
        "spin share": [_share(row["spin_share"]) for row in summary],
    }
    return _by_case("Mechanism (useful: the vCPU that the spinner waits for ran)", summary, columns)


def _scores(layout: str, scores: Sequence[Row]) -> Table:
    """The scores of one layout; of a variant, also against stock on the plain host."""
    plain = ["" if math.isnan(row["plain_change"]) else _percent(row["plain_change"]) for row in scores]
    columns = {
        "vs plain host": plain,
        "95 %": [_interval(row, "plain_change") for row in scores],
        "vs stock": [_change(row) for row in scores],
        "95 % ": [_interval(row, "change") for row in scores],
        "IQM": ["" if row["policy"] == STOCK else _percent(row["iqm_change"], "n/a") for row in scores],
        "P(better)": ["" if row["policy"] == STOCK else f"{row['probability_of_improvement']:.2f}" for row in scores],
        "gap closed": [_share(row["gap_closed"]) for row in scores],
        "worst VM": ["" if row["policy"] == STOCK else _percent(row["worst_vm_change"], "n/a") for row in scores],
        "which": ["" if row["policy"] == STOCK else str(row["worst_vm"]).replace(":", ":\n") for row in scores],
    }
    title = f"Score: geometric mean over scenarios and seeds ({layout})"
    return fitted(title, [row["policy"] for row in scores], columns)


def _change(row: Row) -> str:
    return NOTHING if row["policy"] == STOCK else _percent(row["change"], "n/a")


def _interval(row: Row, name: str) -> str:
    """The ends of an interval; nothing for a number that is compared with itself, or of one seed."""
    itself = row[f"{name}_low"] == row[f"{name}_high"] == 0.0
    if itself or row["seeds"] == 1 or math.isnan(row[name]):
        return ""
    return f"{100 * row[f'{name}_low']:+.1f} {100 * row[f'{name}_high']:+.1f}"


def _percent(value: float, missing: str = "") -> str:
    return missing if math.isnan(value) else f"{100 * value:+.1f}%"


def _share(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{100 * value:.1f}%"
