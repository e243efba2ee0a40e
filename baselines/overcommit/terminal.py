"""The tables that are printed: the cost of each ratio, each VM, the knobs. They fit 80 columns."""

import math
import textwrap
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from baselines.overcommit.answer import Cost, Effect, are_ranked, seeds_to_rank
from baselines.overcommit.hosts import named, ratio_of
from baselines.overcommit.study import Answer, summed_up
from baselines.report.columns import WIDTH, broken
from baselines.report.numbers import NOTHING
from baselines.statistics import Estimate

LONGEST_NAME = 20
LONGEST_VM = 14
MOST_SEEDS = 10_000
"""Most that can be asked for."""


def print_answer(answer: Answer) -> None:
    """Everything, the headline first."""
    console = Console(width=WIDTH, highlight=False)
    for line in headline(answer):
        print(textwrap.fill(line, WIDTH, break_long_words=False, break_on_hyphens=False))
    print()
    console.print(cost_table("Cost by ratio, against the same VM alone", answer.costs, with_ratio=True))
    if len(answer.own) > 1:
        title = f"Each VM at {named(ratio_of(answer.question.at[0]))}"
        console.print(cost_table(title, answer.own, with_ratio=False))
    if answer.effects:
        title = f"Knobs at {named(ratio_of(answer.question.at[0]))}, against the host without them"
        console.print(knob_table(title, answer.effects))
        print(textwrap.fill(ranking(answer), WIDTH))
    for name, why in answer.refused.items():
        print(textwrap.shorten(f"not tried: {name}: {why}", WIDTH))


def headline(answer: Answer) -> list[str]:
    """The answer in a sentence or two."""
    own = answer.own[0]
    host = answer.question.at[0]
    keeps = f"A VM keeps {percent(own.kept)} of what it does alone"
    if math.isnan(own.kept.value):
        keeps = "Some VM did no work alone, a longer run.duration_ns gives it time"
    ready = f"{percent(own.ready)} of its vCPUs' time is CPU Ready"
    lines = [f"{host.name}: {summed_up(host)}. {keeps}; {ready}."]
    usable = [one for one in answer.effects if not one.is_patch and one.gain.low > 0.0]
    if usable:
        best = usable[0]
        harm = f", and harms {', '.join(best.harmed)}" if best.harmed else ""
        lines.append(f"What helps most here: {best.setting.name}, {signed(best.gain)}{harm}.")
    elif answer.effects:
        lines.append("No knob that was tried helps here by more than the noise.")
    return lines


def ranking(answer: Answer) -> str:
    """Whether the first three knobs can be told apart, or how many seeds it would take."""
    single = [one for one in answer.effects if len(one.setting.knobs) == 1]
    if are_ranked(single):
        return "The first three single knobs are told apart from each other and the next."
    seeds = seeds_to_rank(single)
    if seeds is None or seeds > MOST_SEEDS:
        return "The first three single knobs are too close to be told apart."
    return f"To tell the first three single knobs apart would take about {seeds} seeds (--seeds)."


def table(title: str, *columns: str, left: int = 1) -> Table:
    """An empty table."""
    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for i, column in enumerate(columns):
        made.add_column(column, justify="left" if i < left else "right", no_wrap=True)
    return made


def cost_table(title: str, costs: Sequence[Cost], with_ratio: bool) -> Table:
    """A row a ratio, for all VMs and each kind; columns without any number are left out."""
    columns = {
        "kept": [percent(one.kept) for one in costs],
        "95 %": [interval(one.kept) for one in costs],
        "Ready": [percent(one.ready) for one in costs],
        "steal": [percent(one.steal) for one in costs],
        "spin": [percent(one.spin) for one in costs],
        "host": [percent(one.host) for one in costs],
        "IPI p99": [duration(one.latency_ns["ipi", 0.99]) for one in costs],
        "lock p99": [duration(one.latency_ns["lock", 0.99]) for one in costs],
    }
    kept = {name: cells for name, cells in columns.items() if any(cell != "-" for cell in cells)}
    made = table(title, *(["ratio", "VMs"] if with_ratio else ["VM"]), *kept, left=1 + with_ratio)
    last = ""
    for i, one in enumerate(costs):
        ratio = named(one.ratio)
        first = [ratio if ratio != last else ""] if with_ratio else []
        last = ratio
        name = broken(f"{one.count} {one.vms}" if with_ratio else one.vms, LONGEST_VM)
        made.add_row(*first, name, *(cells[i] for cells in kept.values()))
    return made


def knob_table(title: str, effects: Sequence[Effect]) -> Table:
    """The largest gain first; those that need a patch are marked."""
    made = table(title, "knob", "needs", "gain", "95 %", "Ready", "worst VM", "harms")
    for one in effects:
        made.add_row(
            broken(one.setting.name, LONGEST_NAME),
            "\n".join(one.setting.needs.split(", ")),
            signed(one.gain),
            interval_of_change(one.gain),
            points(one.ready),
            signed(one.worst_change),
            broken(f"{len(one.harmed)} VMs" if len(one.harmed) > 1 else "".join(one.harmed) or NOTHING, 10),
        )
    return made


def percent(value: Estimate) -> str:
    """A share."""
    return "-" if math.isnan(value.value) else f"{100 * value.value:.1f}%"


def interval(value: Estimate) -> str:
    """The ends of a share's interval."""
    return "-" if math.isnan(value.low) else f"{100 * value.low:.1f}-{100 * value.high:.1f}"


def signed(value: Estimate) -> str:
    """A relative change."""
    return "n/a" if math.isnan(value.value) else f"{100 * value.value:+.1f}%"


def interval_of_change(value: Estimate) -> str:
    """The ends of a change's interval."""
    return "" if math.isnan(value.low) else f"{100 * value.low:+.1f} {100 * value.high:+.1f}"


def points(value: Estimate) -> str:
    """A difference of shares."""
    return "-" if math.isnan(value.value) else f"{100 * value.value:+.1f}"


def duration(value: Estimate | None) -> str:
    """A time."""
    if value is None or math.isnan(value.value):
        return "-"
    for factor, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if value.value >= 0.9995 * factor:
            return f"{value.value / factor:.3g} {unit}"
    return f"{value.value:.3g} ns"
