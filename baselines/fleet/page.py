"""The answer of a fleet as one page: a sentence, who keeps the limits by ratio, the table, what is assumed."""

from baselines.fleet.run import Answer
from baselines.fleet.terminal import cost_lines, headline, limits_in_words
from baselines.overcommit.hosts import named
from baselines.overcommit.terminal import duration, interval, percent
from baselines.report.charts import Line, dots
from baselines.report.document import Document, Entry, Picture, Section, Table
from baselines.report.drawing import COLOURS

ASSUMED = (
    "Hosts and guests are simulated: Linux with KVM, programs that are models of real ones (`docs/model.md`). "
    "Memory, disks and networks are not part of it, nor do VMs come and go within a run.",
    "A VM is drawn by its size, then by its program, independently, until a host has no room for another. A host's "
    "draws are the same at every ratio; at a higher one it has more of them. Kept is throughput relative to the same "
    "kind of VM alone on the host.",
    "A VM in which nobody waited for a lock, or sent an IPI, keeps the limit of it. Intervals hold 95 % of bootstrap "
    "resamples over hosts.",
)


def page(answer: Answer, command: str) -> Document:
    """The document."""
    lines = []
    for i, (title, name) in enumerate((("VMs within the limits", "keep"), ("Ready", "ready"))):
        lines.append(Line(title))
        for ratio, tally in answer.tallies.items():
            value = tally.share("keep", "vms") if name == "keep" else tally.share("ready_ns", "life_ns")
            lines.append(Line(named(ratio), value, COLOURS[i]))
    caption = f"By ratio of vCPUs to CPUs: VMs with {limits_in_words(answer)}, and CPU Ready of all; 95 % intervals."
    curve = Picture("fleet", [dots("", lines, "%", signs=False)], caption)
    sections = [
        Section("By ratio", [curve, ratio_table(answer)]),
        Section("What is drawn", [drawn_table(answer)]),
        Section(
            "What is assumed",
            [f"Hosts have Linux {answer.fleet.kernel}.", *ASSUMED, *cost_lines(answer), f"`{command}`"],
        ),
    ]
    return Document(f"What overcommit the fleet {answer.fleet.name} stands", [headline(answer)], sections)


def ratio_table(answer: Answer) -> Table:
    """A row a ratio."""
    columns = ("", "VMs a host", "kept", "Ready", "steal", "lock p99", "IPI p99", "VMs within all limits")
    rows = []
    for ratio, tally in answer.tallies.items():
        figures = (tally.kept, tally.share("ready_ns", "life_ns"), tally.share("steal_ns", "life_ns"))
        keep = tally.share("keep", "vms")
        rows.append(
            [
                Entry(named(ratio)),
                Entry(f"{tally.total('vms') / len(tally.hosts):.3g}"),
                *(Entry(percent(value), (interval(value),)) for value in figures),
                *(Entry(duration(tally.p99_ns(what))) for what in ("lock", "ipi")),
                Entry(percent(keep), (interval(keep),)),
            ]
        )
    return Table(columns, rows, dense=True)


def drawn_table(answer: Answer) -> Table:
    """The shares from which VMs are drawn."""
    rows = []
    for title, weights in (("vCPUs", answer.fleet.sizes), ("program", answer.fleet.mix)):
        rows.append([Entry(title)])
        whole = sum(weights.values())
        rows += [[Entry(str(name)), Entry(f"{100 * share / whole:.1f} %")] for name, share in weights.items()]
    return Table(("", "of VMs"), rows, folded="Sizes and programs")
