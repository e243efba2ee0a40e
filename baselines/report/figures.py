"""The drawings of a report, as SVG: gains, performance profiles, fairness, CPU time."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from baselines.attribution import CPU_TIME
from baselines.policies import STOCK
from baselines.report.results import Results
from baselines.statistics import performance_profile
from baselines.summary import Comparison

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#8C564B")
"""Okabe and Ito's palette, which most colour-blind readers can tell apart, in an order that suits few policies."""
LINES, DOTS = ("-", "--", ":", "-."), ("o", "s", "^", "D")
"""Told apart by these in addition once the colours are used up."""
LOSS_COLOURS = ("#D55E00", "#E69F00", "#56B4E9", "#7A5195", "#BBBBBB")
MOST_BARS = 48
"""Most bars of CPU time in one drawing."""
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


def _again(results: Results, policy: str) -> int:
    """How often the colours had been used up when this policy got its own."""
    return results.rivals.index(policy) // len(COLOURS) % len(LINES)


def _svg(figure: Figure, name: str) -> str:
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _workload(comparison: Comparison) -> str:
    return "+".join(dict.fromkeys(vm.workload for vm in comparison.scenario.vms))


def gain_figure(results: Results, layout: str) -> str:
    """Throughput against stock: a column of each workload, a line of each VM count and policy."""
    shown = [c for policy in results.rivals for c in results.comparisons_of(policy, layout)]
    vms = [(_workload(c), len(c.scenario.expanded_vms), c.policy) for c in shown]
    unique = len(set(vms)) == len(vms)

    def group(c: Comparison) -> str:
        count = len(c.scenario.expanded_vms)
        return f"{count} VM{'s' * (count > 1)}" if unique else c.scenario.name

    workloads = list(dict.fromkeys(map(_workload, shown)))
    groups = list(dict.fromkeys(map(group, shown)))
    if unique:
        groups.sort(key=lambda name: int(name.partition(" ")[0]))
    lines: dict[tuple[str, str], float] = {
        (g, p): i + j * (len(results.rivals) + 1.5) for j, g in enumerate(groups) for i, p in enumerate(results.rivals)
    }
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 0.9 + 0.24 * (len(lines) + len(groups))), layout="constrained")
        axes = figure.subplots(1, len(workloads), sharey=True, squeeze=False)[0]
        for axis, workload in zip(axes, workloads):
            column = [c for c in shown if _workload(c) == workload]
            _draw_gains(axis, column, [lines[group(c), c.policy] for c in column], colours(results.policies))
            axis.set_title(workload, fontweight="bold", fontsize=10)
        axes[0].set_yticks(list(lines.values()), [policy for _, policy in lines])
        for g in groups:
            _heading(axes[0], g, lines[g, results.rivals[0]] - 0.95)
        axes[0].set_ylim(max(lines.values()) + 0.7, -1.6)
        figure.supxlabel("throughput against stock, %", fontsize=9)
        if has_published(results, layout):
            _published_legend(figure)
        return _svg(figure, f"gain {layout}")


def _heading(axis: Axes, text: str, y: float) -> None:
    """A line of its own among the labels of the y axis."""
    beside: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "xytext": (-4, 0), "textcoords": "offset points"}
    axis.annotate(text, (0, y), ha="right", va="center", fontweight="bold", **beside)


def _draw_gains(axis: Axes, column: Sequence[Comparison], at: Sequence[float], colour: dict[str, str]) -> None:
    axis.axvline(0, color="#999999", linewidth=1)
    axis.grid(axis="x", color=FAINT, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.tick_params(axis="y", length=0)
    for c, y in zip(column, at):
        change = c.change
        if len(c.cells) > 1:
            axis.plot([100 * change.low, 100 * change.high], [y, y], color=colour[c.policy], linewidth=2.2)
        axis.plot(100 * change.value, y, "o", color=colour[c.policy], markersize=5)
        if c.published:
            axis.plot(100 * c.published.v2, y, "^", mfc="white", mec=INK, markersize=6)
            axis.plot(100 * c.published.v3, y, "D", mfc="white", mec=INK, markersize=5)


def _published_legend(figure: Figure) -> None:
    plain: dict[str, Any] = {"linestyle": "", "mfc": "white", "mec": INK}
    figure.legend(
        handles=[
            Line2D([], [], marker="o", color=INK, linewidth=2.2, markersize=5, label="simulated, 95 % interval"),
            Line2D([], [], marker="^", label="published with v2", **plain),
            Line2D([], [], marker="D", label="published with v3", **plain),
        ],
        loc="outside upper right",
        ncols=3,
        frameon=False,
    )


def profile_figure(results: Results, layout: str) -> str:
    """Performance profiles: the share of runs above each ratio to stock."""
    policies = results.rivals
    strata = {policy: [c.ratios for c in results.comparisons_of(policy, layout)] for policy in policies}
    every = np.concatenate([ratios for group in strata.values() for ratios in group])
    low, high = np.nanquantile(every, [0.01, 0.99])
    thresholds = np.linspace(min(low, 0.98) - 0.01, max(high, 1.02) + 0.01, 241)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 3.4), layout="constrained")
        axis = figure.subplots()
        axis.axvline(0, color="#999999", linewidth=1)
        axis.grid(color=FAINT, linewidth=0.6)
        for policy in policies:
            shares, lower, upper = performance_profile(strata[policy], thresholds)
            colour = colours(results.policies)[policy]
            style = LINES[_again(results, policy)]
            axis.plot(100 * (thresholds - 1), 100 * shares, style, color=colour, linewidth=1.8, label=policy)
            axis.fill_between(100 * (thresholds - 1), 100 * lower, 100 * upper, color=colour, alpha=0.13, linewidth=0)
        axis.set_xlim(100 * (thresholds[0] - 1), 100 * (thresholds[-1] - 1))
        axis.set_ylim(0, 101)
        axis.set_xlabel("throughput against stock, %")
        axis.set_ylabel("runs above that, %")
        figure.legend(loc="outside right upper", frameon=False)
        return _svg(figure, f"profile {layout}")


def fairness_figure(results: Results, layout: str) -> str:
    """Every case's gain beside that of its worst VM, and beside Jain's index."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 3.4), layout="constrained")
        worst, jain = figure.subplots(1, 2)
        stock = {str(c.case): c.jain.value for c in results.comparisons_of(STOCK, layout)}
        for policy in results.rivals:
            group = results.comparisons_of(policy, layout)
            dots: dict[str, Any] = {"color": colours(results.policies)[policy], "s": 30, "alpha": 0.85, "linewidths": 0}
            dots["marker"] = DOTS[_again(results, policy)]
            gains = [100 * c.change.value for c in group]
            worst.scatter(gains, [100 * c.worst_vm_change.value for c in group], label=policy, **dots)
            jain.scatter(gains, [c.jain.value - stock[str(c.case)] for c in group], **dots)
        for axis in (worst, jain):
            axis.axhline(0, color="#999999", linewidth=1)
            axis.axvline(0, color="#999999", linewidth=1)
            axis.grid(color=FAINT, linewidth=0.6)
            axis.set_axisbelow(True)
            axis.set_xlabel("throughput of all VMs against stock, %")
        worst.axline((0, 0), slope=1, color="#999999", linewidth=1, linestyle=":")
        worst.set_ylabel("worst VM against stock, %")
        jain.set_ylabel("Jain's index, change")
        figure.legend(loc="outside right upper", frameon=False)
        return _svg(figure, f"fairness {layout}")


def cpu_time_figure(results: Results, layout: str) -> str:
    """What each policy changed in the use of CPU time: to the right, less of it is lost than under stock."""
    groups = _cpu_time_bars(results, layout)
    gap = len(results.rivals)
    bars = np.array([bar for _, group in groups for bar in group])
    at: list[float] = [i + 1.5 * (i // gap) for i in range(len(bars))]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 1.1 + 0.2 * (at[-1] + 1)), layout="constrained")
        axis = figure.subplots()
        less, more = np.zeros(len(bars)), np.zeros(len(bars))
        for i, (loss, colour) in enumerate(zip(CPU_TIME, LOSS_COLOURS)):
            freed = bars[:, i]
            axis.barh(at, freed, left=np.where(freed > 0, more, less), height=0.78, color=colour, label=loss.title)
            more, less = more + np.maximum(freed, 0), less + np.minimum(freed, 0)
        axis.plot(bars.sum(axis=1), at, "d", color="black", markersize=4.5, label="sum: work", linestyle="")
        axis.axvline(0, color=INK, linewidth=1)
        axis.grid(axis="x", color=FAINT, linewidth=0.6)
        axis.set_axisbelow(True)
        axis.set_yticks(at, results.rivals * len(groups))
        for (heading, _), top in zip(groups, at[::gap]):
            _heading(axis, heading, top - 0.95)
        axis.tick_params(axis="y", length=0)
        axis.set_ylim(at[-1] + 0.8, -1.6)
        axis.set_xlabel("percentage points of all CPU time freed against stock (left of zero: lost in addition)")
        figure.legend(loc="outside upper center", ncols=6, frameon=False)
        return _svg(figure, f"cpu {layout}")


def _cpu_time_bars(results: Results, layout: str) -> list[tuple[str, list[list[float]]]]:
    """Points freed from each loss, a row for each policy, in groups: the cases, or their mean if bars would be many."""

    def freed(c: Comparison) -> list[float]:
        return [100 * (loss.value(c.stock) - loss.value(c.cells)) for loss in CPU_TIME]

    of_policies = [[freed(c) for c in results.comparisons_of(policy, layout)] for policy in results.rivals]
    cases = [case.scenario.name for case in results.cases if case.layout == layout]
    if len(cases) * len(results.rivals) <= MOST_BARS:
        return list(zip(cases, map(list, zip(*of_policies))))
    return [(f"mean of {len(cases)} cases", [list(np.mean(bars, axis=0)) for bars in of_policies])]


def has_published(results: Results, layout: str) -> bool:
    """Whether a layout holds cases for which gains were published."""
    return any(c.published for policy in results.rivals for c in results.comparisons_of(policy, layout))
