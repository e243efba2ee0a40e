"""The answer as one page: a sentence, the curve, the knobs, whom they harm, what is assumed."""

from collections.abc import Sequence

from baselines.overcommit.answer import Cost, Effect
from baselines.overcommit.drawings import cost_curve, knob_chart
from baselines.overcommit.hosts import named, ratio_of
from baselines.overcommit.study import Answer
from baselines.overcommit.terminal import duration, headline, interval, interval_of_change, percent, ranking, signed
from baselines.report.document import BAD, GOOD, NEUTRAL, Document, Entry, Picture, Section, Table

ASSUMED = (
    "The guests are simulated programs, and the host is a simulated Linux with KVM; costs of exits, switches and"
    " cold caches are constants of the model (`docs/model.md`). Memory, disks and networks are not part of it.",
    "A VM alone is the same VM on the same host without any other, with the same seeds. Ready is the share of its"
    " vCPUs' life in which their threads were runnable and had no CPU (run_delay of schedstat), steal the part of it"
    " in which they had lost it while they ran, spin the share of guest time that was spent spinning, host that of"
    " all CPU time spent in the host kernel.",
    "Intervals hold 95 % of bootstrap resamples over seeds. A VM counts as harmed if it loses more than 2 % and its"
    " interval is below zero.",
)


def page(answer: Answer, command: str) -> Document:
    """The document."""
    at = named(ratio_of(answer.question.at[0]))
    everybody = [first_of(answer.costs, ratio) for ratio in dict.fromkeys(one.ratio for one in answer.costs)]
    curve = Picture("cost", [cost_curve(everybody)], "Throughput kept and CPU Ready of all VMs together, by ratio.")
    sections = [Section("What it costs", [curve, cost_table(answer.costs, "Every ratio")])]
    if len(answer.own) > 1:
        sections.append(Section(f"Each VM at {at}", [cost_table(answer.own, "Every VM")]))
    if answer.effects:
        shown = Picture("knobs", [knob_chart(answer.effects)], "Hollow bars need a kernel that has to be patched.")
        parts: list[str | Table | Picture] = [ranking(answer), shown, knob_table(answer.effects)]
        if answer.refused:
            rows = [[Entry(name), Entry(why)] for name, why in answer.refused.items()]
            parts.append(Table(("knob", "why it was not tried"), rows, folded="Not tried here", words=True))
        sections.append(Section(f"Which knob helps at {at}", parts))
    sections.append(Section("What is assumed", [*ASSUMED, f"`{command}`"]))
    title = f"What overcommit costs on {answer.question.host.name}"
    return Document(title, headline(answer), sections)


def first_of(costs: Sequence[Cost], ratio: float) -> Cost:
    """The row of all VMs together at a ratio."""
    return next(one for one in costs if one.ratio == ratio)


def cost_table(costs: Sequence[Cost], folded: str) -> Table:
    """A row a ratio and kind of VMs."""
    columns = ("VMs", "kept", "Ready", "steal", "spin", "host", "IPI p50", "IPI p99", "lock p50", "lock p99")
    rows: list[list[Entry]] = []
    last = ""
    for one in costs:
        if named(one.ratio) != last:
            last = named(one.ratio)
            rows.append([Entry(last)])
        rows.append(
            [
                Entry(one.vms, (f"{one.count} VMs",) if one.count > 1 else ()),
                Entry(percent(one.kept), (interval(one.kept),)),
                *(Entry(percent(value)) for value in (one.ready, one.steal, one.spin, one.host)),
                *(Entry(duration(one.latency_ns[what, p])) for what in ("ipi", "lock") for p in (0.5, 0.99)),
            ]
        )
    return Table(columns, rows, folded=folded, dense=True)


def knob_table(effects: Sequence[Effect]) -> Table:
    """A row a knob: what it is, what it takes, what it gives, whom it harms."""
    columns = ("knob", "what is done", "takes", "gain", "worst VM", "harms", "may harm")
    rows = []
    for one in effects:
        tone = GOOD if one.gain.low > 0 else BAD if one.gain.high < 0 else NEUTRAL
        rows.append(
            [
                Entry(one.setting.name),
                Entry("; ".join(knob.what for knob in one.setting.knobs)),
                Entry(one.setting.needs),
                Entry(signed(one.gain), (interval_of_change(one.gain),), tone),
                Entry(signed(one.worst_change), (one.worst,)),
                Entry(", ".join(one.harmed) or "-", tone=BAD if one.harmed else NEUTRAL),
                Entry(one.setting.risk or "-"),
            ]
        )
    return Table(columns, rows, folded="Every knob", words=True, dense=True)
