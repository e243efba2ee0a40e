"""The drawings of studies, as SVG."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from baselines.policies import STOCK
from baselines.statistics import Estimate

Curves = Mapping[str, Mapping[str, Sequence[Estimate]]]
Cases = Sequence[tuple[str, Mapping[str, Estimate]]]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#8C564B")
"""Okabe and Ito's palette, which most colour-blind readers can tell apart, in an order that suits few policies."""
INK, FAINT = "#333333", "#DDDDDD"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial", "sans-serif"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#999999",
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
}


def colours(policies: Sequence[str]) -> dict[str, str]:
    """A colour for every policy; stock is grey."""
    others = [policy for policy in policies if policy != STOCK]
    return {STOCK: "#888888"} | {policy: COLOURS[i % len(COLOURS)] for i, policy in enumerate(others)}


def svg(figure: Figure, name: str) -> str:
    """A drawing as text, the same every time it is made."""
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    return buffer.getvalue()


def curves(panels: Curves, x: Sequence[int], label: str) -> str:
    """Change over a number: a panel for each workload, a line with its interval for each policy."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 3.2), layout="constrained")
        for axis, (title, lines) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
            axis.axhline(0, color="#999999", linewidth=1)
            axis.grid(color=FAINT, linewidth=0.6)
            for policy, line in lines.items():
                colour = colours(list(lines))[policy]
                axis.plot(x, [100 * e.value for e in line], "o-", color=colour, markersize=4, label=policy)
                ends = [100 * e.low for e in line], [100 * e.high for e in line]
                axis.fill_between(x, *ends, color=colour, alpha=0.15, linewidth=0)
            axis.set_title(title, fontweight="bold", fontsize=10)
            axis.set_xticks(list(x))
        figure.axes[0].legend(frameon=False)
        figure.axes[0].set_ylabel("throughput against stock, %")
        figure.supxlabel(label, fontsize=9)
        return svg(figure, "curves")


def intervals(panels: Mapping[str, Cases]) -> str:
    """Change with its interval: a panel for each scenario, a group of lines for each case, a line for each policy."""
    with matplotlib.rc_context(STYLE):
        cases = len(next(iter(panels.values())))
        figure = Figure(figsize=(10.5, 1 + 0.55 * cases), layout="constrained")
        for axis, (title, group) in zip(figure.subplots(1, len(panels), sharey=True), panels.items(), strict=True):
            axis.axvline(0, color="#999999", linewidth=1)
            axis.grid(axis="x", color=FAINT, linewidth=0.6)
            for i, (_, changes) in enumerate(group):
                for j, (policy, e) in enumerate(changes.items()):
                    y, colour = i + 0.22 * (j - (len(changes) - 1) / 2), colours(list(changes))[policy]
                    axis.plot([100 * e.low, 100 * e.high], [y, y], color=colour, linewidth=2)
                    axis.plot(100 * e.value, y, "o", color=colour, markersize=4, label=policy if i == 0 else None)
            axis.set_title(title, fontweight="bold", fontsize=10)
        figure.axes[0].set_yticks(range(cases), [case for case, _ in next(iter(panels.values()))])
        figure.axes[0].set_ylim(cases - 0.5, -0.5)
        figure.axes[0].legend(frameon=False)
        figure.supxlabel("throughput against stock, %", fontsize=9)
        return svg(figure, "intervals")
