"""Writes docs/calibration.md with its tables and drawing from the results."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from pydantic import BaseModel

from experiments.calibration.design import Design, Range, Ranges, default_of
from experiments.calibration.effects import MOST, Response, effects_table, response, robustness_table
from experiments.drawings import FAINT, STYLE, colours, svg
from experiments.study import Sweep
from experiments.tables import Table, Value
from vcpu_env.guest.workloads import APPLICATIONS, WORKLOADS
from vcpu_env.realism.calibration import MEASURED, QUANTITIES, TOLERANCE, rates
from vcpu_env.scenario import Costs, GuestCosts

PARTS: dict[str, type[BaseModel]] = {"host.costs": Costs, "guest_costs": GuestCosts}
TAGS = ("measured", "published", "fitted", "assumed")
RATES = "rates"
"""Name of the sweep of all programs without overcommit."""
SHOWN = 8
"""Parameters in the drawing, for each workload."""


def tag_of(description: str) -> str:
    """The tag at the end of a field's description."""
    found = re.search(r"\[([a-z]+)[^\]]*\]$", description)
    return found[1] if found else ""


def assumed_fields() -> list[str]:
    """Every field of the costs that is tagged as assumed."""
    return [
        f"{part}.{name}"
        for part, model in PARTS.items()
        for name, field in model.model_fields.items()
        if tag_of(field.description or "") == "assumed"
    ]


def provenance_table() -> Table:
    """For each program how many of its parameters rest on what."""
    rows: list[dict[str, Value]] = []
    for workload in APPLICATIONS.values():
        tags = {tag: [name for name, p in workload.parameters.items() if p.tag == tag] for tag in TAGS}
        rows.append({"workload": workload.name} | {tag: ", ".join(f"`{n}`" for n in tags[tag]) for tag in TAGS})
    return Table("provenance", rows)


def costs_table() -> Table:
    """How many of the costs rest on what."""
    rows: list[dict[str, Value]] = []
    for part, model in PARTS.items():
        found = [tag_of(field.description or "") for field in model.model_fields.values()]
        row: dict[str, Value] = {"costs": f"`{part}`"}
        rows.append(row | {tag: found.count(tag) for tag in TAGS})
    return Table("costs", rows)


def rates_table(sweep: Sweep) -> Table:
    """Simulated rates without overcommit beside the measured ones."""
    rows: list[dict[str, Value]] = []
    for stock in sweep.of("stock"):
        workload = stock.scenario.vms[0].workload
        runs = [rates(row) for row in stock.cells]
        for i, (quantity, unit) in enumerate(QUANTITIES.items()):
            mean = sum(run[i] for run in runs) / len(runs)
            ends = MEASURED[workload][i] if workload in MEASURED else None
            near = ends is None or ends[0] * (1 - TOLERANCE) <= mean <= ends[1] * (1 + TOLERANCE)
            row: dict[str, Value] = {"workload": workload, "quantity": f"{quantity}, {unit}"}
            rows.append(
                row
                | {"measured": "-".join(f"{end:,g}" for end in dict.fromkeys(ends)) if ends else "nothing"}
                | {"simulated": f"{mean:,.3g}" if mean < 1000 else f"{mean:,.0f}", "": "" if near else "FAR"}
            )
    return Table(RATES, rows)


def number(value: float) -> str:
    """A number with separators."""
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def ranges_table(ranges: Sequence[Range]) -> Table:
    """All assumed numbers with their ranges and reasons."""
    return Table(
        "ranges",
        [
            {
                "workload": r.workload or "all",
                "field": f"`{r.field}`",
                "default": number(default_of(r)),
                "range": f"{number(r.low)} to {number(r.high)}",
                "why": r.reason,
            }
            for r in ranges
        ],
    )


def conclusions(responses: Sequence[Response]) -> list[str]:
    """What can be concluded, one sentence for each workload and policy; then by how firm it is."""
    lines = []
    for r in responses:
        span = f"{r.percentile(0.05):+.1f} to {r.percentile(0.95):+.1f} %"
        text = (
            f"* **{r.workload}, {r.policy}: {r.verdict}.** {r.default:+.1f} % with the defaults, {span} over the box, "
        )
        text += f"a gain at {100 * r.positive:.0f} % of its points."
        if r.told:
            named = ", ".join(f"`{e.parameter.removeprefix('vms.*.')}`" for e in r.told[:3])
            text += f" Larger than chance: {named}."
        else:
            text += " No parameter's effect is larger than chance's."
        lines.append(text)
    firm = [f"{r.workload} under {r.policy}" for r in responses if r.verdict.endswith("robust")]
    loose = [f"{r.workload} under {r.policy}" for r in responses if not r.verdict.endswith("robust")]
    lines += ["", f"Robust, whatever the assumptions are within their ranges: {'; '.join(firm) or 'nothing'}."]
    lines.append(f"Not to be quoted as a sign: {'; '.join(loose) or 'nothing'}.")
    return lines


def drawing(responses: Sequence[Response]) -> str:
    """For each workload the largest effects under each policy, and a line for what chance alone makes."""
    workloads = list(dict.fromkeys(r.workload for r in responses))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 3.6), layout="constrained")
        for axis, workload in zip(figure.subplots(1, len(workloads), squeeze=False)[0], workloads, strict=True):
            ours = [r for r in responses if r.workload == workload]
            names = [e.parameter for e in ours[0].effects[:SHOWN]]
            axis.grid(axis="x", color=FAINT, linewidth=0.6)
            for j, r in enumerate(ours):
                colour = colours([r.policy for r in ours])[r.policy]
                found = [next(e for e in r.effects if e.parameter == name) for name in names]
                y = [i + 0.36 * (j - (len(ours) - 1) / 2) for i in range(len(names))]
                axis.barh(y, [e.size for e in found], 0.34, color=colour, label=r.policy)
                axis.errorbar(
                    [e.size for e in found], y, xerr=[e.confidence for e in found], fmt="none", color="#444444"
                )
                axis.axvline(r.noise, color=colour, linestyle=":", linewidth=1)
            axis.set_yticks(
                range(len(names)), [name.removeprefix("vms.*.params.").removeprefix("host.costs.") for name in names]
            )
            axis.invert_yaxis()
            axis.set_title(workload, fontweight="bold", fontsize=10)
        figure.axes[0].legend(frameon=False)
        figure.supxlabel("effect over the whole range, with 95 %; dotted: chance", fontsize=9)
        return svg(figure, "effects")


HEAD = """# Calibration: what the numbers rest on, and which conclusions do not depend on them

Made by `python -m experiments.calibration{arguments}`: {points} points; seeds of each: {seeds}.

## What each workload rests on

*Measured*: counted or timed on the real program; *published*: read in its source or run configuration; *fitted*: chosen
so that a run without overcommit shows a measured rate; *assumed*: an estimate. All values: [workloads](workloads.md).
"""

CHECKED = """## Without overcommit, beside the real programs

One VM of 2 vCPUs, stock kernel. FAR: outside of the measured range by more than a quarter.
"""

BOX = """## The assumed numbers and how far they may be off

Ranges are spread by ratios, from half to double for most.
"""

MORRIS = """Morris' elementary effects (SALib): from {samples} random points each number is changed in turn to another
of {levels} levels, all others staying where the last change left them. *mu\\** is the mean size of what that does to a
policy's gain over stock, in percentage points for the whole range; *sigma*, how much it differs from place to place:
interaction, or chance.
"""

SOBOL = """Sobol's indices (SALib) from {samples} points of a Sobol sequence: the share of the gain's variance that a
number makes by itself (*first index*) and with all its interactions (*total index*).
"""

CHANCE = """`seeds` is a parameter that changes nothing but the seeds. Chaos makes every change, however small, a new
draw: what `seeds` does, every number does. Marked with a star are effects whose interval lies above that of `seeds`.
"""


def write_page(
    ranges: Ranges,
    designs: Sequence[Design],
    sweeps: Mapping[str, Sweep],
    page: Path,
    tables: Path,
    samples: int,
    arguments: str = "",
) -> None:
    """Write the page, and its tables as CSV and its drawing to a directory.

    Args:
        samples: trajectories, or points of the sequence.
        arguments: those of the command, as the page tells them.
    """
    method = designs[0].method
    found = [response(design, sweeps, policy, ranges.levels) for design in designs for policy in ranges.policies]
    effects = effects_table(found, method)
    ours = [r for r in ranges.ranges if r.workload in ("", *(design.workload for design in designs))]
    made = [provenance_table(), costs_table(), rates_table(sweeps[RATES]), ranges_table(ours), robustness_table(found)]
    tables.mkdir(parents=True, exist_ok=True)
    for table in [*made, *effects]:
        (tables / f"{table.name}.csv").write_text(table.csv(), "utf-8")
    (tables / "effects.svg").write_text(drawing(found), "utf-8")
    provenance, costs, checked, box, robust = (table.markdown() for table in made)
    points = sum(len(design.points) for design in designs)
    explained = (MORRIS if method == "morris" else SOBOL).format(samples=samples, levels=ranges.levels)
    drawn = Path(os.path.relpath(tables / "effects.svg", page.parent)).as_posix()
    parts = [
        HEAD.format(arguments=arguments, points=points, seeds=ranges.seeds),
        provenance,
        "Host and guest kernel work, number of fields:\n",
        costs,
        CHECKED,
        checked,
        "## Which conclusions hold\n",
        f"A sign is robust if at least {100 * MOST:.0f} % of all points of the box below have it.\n",
        "\n".join(conclusions(found)) + "\n",
        robust,
        "## What decides\n",
        explained,
        CHANCE,
        f"![Largest effects]({drawn})\n",
        *(f"### {table.name.removeprefix('effects-')}\n\n{table.markdown()}" for table in effects),
        BOX,
        box,
        *(["Assumed, but without any effect here:\n"] * bool(ranges.idle)),
        *(f"* `{field}`: {why}." for field, why in ranges.idle.items()),
        "",
    ]
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(parts), "utf-8")


def check_ranges(ranges: Ranges) -> list[str]:
    """Fields without a range that should have one, and ranges that do not hold their default."""
    wanted = [("", field) for field in assumed_fields()]
    for workload in ranges.workloads:
        wanted += [
            (workload, f"vms.*.params.{n}") for n, p in WORKLOADS[workload].parameters.items() if p.tag == "assumed"
        ]
    have = {(r.workload, r.field) for r in ranges.ranges} | {("", field) for field in ranges.idle}
    missing = [field for workload, field in wanted if (workload, field) not in have]
    return missing + [r.field for r in ranges.ranges if not r.low <= default_of(r) <= r.high]
