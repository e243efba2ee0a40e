"""The drawings of a report: one for each question, with a panel for each workload or layout where one is not enough.

Policies and cases come in the order of the tables.
"""

from collections.abc import Sequence

import numpy as np

from baselines.attribution import CPU_TIME
from baselines.cells import Row
from baselines.policies import STOCK
from baselines.report.charts import Curve, Dot, Line, bars, cloud, curves, dots, extent
from baselines.report.drawing import COLOURS, DASHES, GREY, line, mark
from baselines.report.results import Results
from baselines.statistics import performance_profile
from baselines.summary import Comparison, plain_host

SHAPES = ("circle", "square", "triangle", "diamond")
LOSS_COLOURS = ("#d55e00", "#c98500", "#3d9fd6", "#a0695c", "#009e73", "#9467bd", "#999999")
"""Of the parts of `CPU_TIME`."""
MOST_LINES = 60
"""Most lines of a drawing of cases; of more, the means are drawn."""
AGAINST_STOCK = "throughput against stock, %"


def colours(results: Results) -> dict[str, str]:
    """A colour for every policy; stock is grey."""
    return {STOCK: GREY} | {policy: COLOURS[i % len(COLOURS)] for i, policy in enumerate(results.ranked)}


def again(results: Results, policy: str) -> int:
    """How often the colours had been used up when this policy got its own."""
    return results.ranked.index(policy) // len(COLOURS) % len(DASHES)


def workload_of(comparison: Comparison) -> str:
    """The programs of a case."""
    return "+".join(dict.fromkeys(vm.workload for vm in comparison.scenario.vms))


def heading_of(results: Results, comparison: Comparison) -> str:
    """What tells a case from the others of its workload."""
    return comparison.scenario.name + (f", {comparison.case.variant}" if comparison.case.variant else "")


def variant_figure(results: Results) -> list[str]:
    """Every variant and policy against stock on the plain host."""
    lines = []
    for layout in results.layouts:
        changes = {score.policy: score.plain_change for score in results.scores_of(layout)}
        group = [
            Line(policy, changes[policy], colours(results)[policy])
            for policy in (STOCK, *results.ranked)
            if changes[policy] is not None
        ]
        lines += [Line(results.label(layout)), *group] if group else []
    return [dots("", lines, f"throughput against stock in {results.plain}, %")] if lines else []


def gain_figure(results: Results) -> list[str]:
    """Throughput against stock: a panel for each workload, in it a group for each case; or the scores."""
    shown = [c for _, group in results.groups() for c in group if c.policy != STOCK]
    if len(shown) > MOST_LINES * len({workload_of(c) for c in shown}):
        return [dots("", score_lines(results), AGAINST_STOCK)]
    groups: dict[str, list[Line]] = {}
    last = ""
    for c in shown:
        lines = groups.setdefault(workload_of(c), [])
        if str(c.case) != last or not lines:
            lines.append(Line(heading_of(results, c)))
            last = str(c.case)
        said = ((c.published.v2, "triangle"), (c.published.v3, "diamond")) if c.published else ()
        lines.append(Line(c.policy, c.change, colours(results)[c.policy], said))
    marks = []
    if has_published(results):
        marks = [("simulated, 95 % interval", line(-7, 0, 7, 0, GREY, 2.5) + mark(0, 0, GREY))]
        marks += [("published with v2", mark(0, 0, "currentColor", "triangle", True))]
        marks += [("with v3", mark(0, 0, "currentColor", "diamond", True))]
    return [dots(workload, lines, AGAINST_STOCK, marks, extent(lines)) for workload, lines in groups.items()]


def score_lines(results: Results) -> list[Line]:
    """The scores of every layout."""
    lines = []
    for layout in results.compared:
        scores = {score.policy: score.change for score in results.scores_of(layout)}
        lines.append(Line(results.label(layout)))
        lines += [Line(policy, scores[policy], colours(results)[policy]) for policy in results.ranked]
    return lines


def profile_figure(results: Results) -> list[str]:
    """Performance profiles: the share of runs above each ratio to stock; a panel for each layout, on one axis."""
    ratios = [c.ratios for policy in results.rivals for c in results.comparisons_of(policy)]
    low, high = np.nanquantile(np.concatenate(ratios), [0.01, 0.99])
    thresholds = np.linspace(min(low, 0.98) - 0.01, max(high, 1.02) + 0.01, 121)
    panels = []
    for layout in results.compared:
        drawn, marks = [], []
        for policy in results.ranked:
            shares = performance_profile([c.ratios for c in results.comparisons_of(policy, layout)], thresholds)
            colour, style = colours(results)[policy], again(results, policy)
            x, (y, below, above) = (100 * (thresholds - 1)).tolist(), [(100 * part).tolist() for part in shares]
            drawn.append(Curve(colour, x, y, below, above, style))
            marks.append((policy, line(-7, 0, 7, 0, colour, 2.5, DASHES[style])))
        title = results.label(layout) if len(results.compared) > 1 else ""
        panels.append(curves(title, drawn, (AGAINST_STOCK, "runs above that, %"), marks))
    return panels


def fairness_figure(results: Results) -> list[str]:
    """Every case's gain beside that of its worst VM, and beside Jain's index."""
    worst, jain, marks = [], [], []
    for policy in results.ranked:
        look = colours(results)[policy], SHAPES[again(results, policy)]
        marks.append((policy, mark(0, 0, *look)))
        for layout in results.compared:
            stock = {str(c.case): c.jain.value for c in results.comparisons_of(STOCK, layout)}
            for c in results.comparisons_of(policy, layout):
                gain = 100 * c.change.value
                worst.append(Dot(look[0], gain, 100 * c.worst_vm_change.value, look[1]))
                jain.append(Dot(look[0], gain, c.jain.value - stock[str(c.case)], look[1]))
    return [
        cloud(worst, (AGAINST_STOCK, "worst VM against stock, %"), marks, diagonal=True),
        cloud(jain, (AGAINST_STOCK, "Jain's index, change"), marks),
    ]


def cpu_time_figure(results: Results) -> list[str]:
    """What each policy changed in the use of CPU time: to the right, less of it is lost than under stock."""
    groups = [
        (heading_of(results, group[0]), [(c.policy, freed(c.stock, c.cells)) for c in group[1:]])
        for _, group in results.groups()
        if group[0].case.layout in results.compared
    ]
    if sum(len(group) for _, group in groups) > MOST_LINES:
        groups = [mean_freed(results, layout) for layout in results.compared]
    return [loss_bars(groups, "points of all CPU time freed against stock")]


def variant_cpu_time_figure(results: Results) -> list[str]:
    """What each variant changed in the use of CPU time, under stock, against the plain host."""
    plain = {c.scenario.name: c for c in plain_host(results.comparisons)}
    groups: dict[str, list[tuple[str, list[float]]]] = {}
    for c in results.comparisons_of(STOCK):
        beside = plain.get(c.scenario.name)
        if beside and c is not beside:
            groups.setdefault(c.scenario.name, []).append((c.case.variant, freed(beside.cells, c.cells)))
    if not groups:
        return []
    return [loss_bars(list(groups.items()), f"points of all CPU time freed against {results.plain}")]


def freed(before: Sequence[Row], after: Sequence[Row]) -> list[float]:
    """Points of all CPU time that are no longer lost, to each of `CPU_TIME`; what is not counted is 0."""
    return [float(np.nan_to_num(100 * (loss.value(before) - loss.value(after)))) for loss in CPU_TIME]


def mean_freed(results: Results, layout: str) -> tuple[str, list[tuple[str, list[float]]]]:
    """The mean over the cases of a layout."""
    bars_of = {p: [freed(c.stock, c.cells) for c in results.comparisons_of(p, layout)] for p in results.ranked}
    count = len(next(iter(bars_of.values())))
    means = [(policy, [float(mean) for mean in np.mean(values, axis=0)]) for policy, values in bars_of.items()]
    return f"{results.label(layout)}, mean of {count} cases", means


def loss_bars(groups: Sequence[tuple[str, Sequence[tuple[str, list[float]]]]], axis: str) -> str:
    """Bars in groups; losses that are nowhere are left out of the legend."""
    every = [parts for _, group in groups for _, parts in group]
    kinds = list(zip((loss.title for loss in CPU_TIME), LOSS_COLOURS, strict=True))
    there = [i for i in range(len(kinds)) if any(parts[i] for parts in every)]
    lines = []
    for heading, group in groups:
        lines.append(Line(heading))
        lines += [Line(name, parts=[parts[i] for i in there] or [0.0]) for name, parts in group]
    return bars("", lines, [kinds[i] for i in there] or [kinds[0]], axis)


def has_published(results: Results) -> bool:
    """Whether there are cases for which gains were published."""
    return any(c.published for c in results.comparisons)
