"""The comparison as a table in the terminal, as JSON, and as a Markdown page."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from vcpu_env.realism.compare import METRICS, MISS, NEAR, SPREAD, Compared, Row
from vcpu_env.realism.kernel_facts import KernelFacts

COLUMNS = [f"{metric.name}, {metric.unit}" for metric in METRICS]


def amount(value: float) -> str:
    """A number with three digits that matter; a dash for none."""
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}"


def tasks_of(result: Compared) -> Iterator[list[Row]]:
    """The rows of one task after the other."""
    for i in range(0, len(result.rows), len(METRICS)):
        yield result.rows[i : i + len(METRICS)]


def table(result: Compared) -> Table:
    """One probe for the terminal: a line a task; real, then simulated; red: a miss, yellow: within the real spread."""
    title = f"{result.probe.name}: {result.probe.summary}"
    caption = "\n".join(filter(None, (disturbance(result), of_all(result))))
    shown = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    shown.add_column("task")
    for name in (*COLUMNS, "KS slice", "KS wait"):
        shown.add_column(name, justify="right")
    for rows in tasks_of(result):
        cells = []
        for row in rows:
            text = f"{amount(row.real)}\n{amount(row.simulated)}"
            colour = {MISS: "red", SPREAD: "yellow"}.get(row.verdict)
            cells.append(f"[{colour}]{text}[/{colour}]" if colour else text)
        distances = [f"{row.ks_real:.2f}\n{row.ks:.2f}" for row in rows if row.ks is not None]
        shown.add_row(f"{rows[0].task}\n[dim]simulated[/dim]", *cells, *distances)
    return shown


def disturbance(result: Compared) -> str:
    """What of the probe's CPUs went elsewhere during its runs."""
    return f"others took {100 * result.interference:.1f} % of its time, a hypervisor {100 * result.steal:.1f} %"


def of_all(result: Compared) -> str:
    """What several CPUs did together; empty for a probe of one CPU."""
    return "; ".join(
        f"{row.metric} {amount(row.real)}{spread_of(row)} / {amount(row.simulated)} %" for row in result.together
    )


def summary(results: Sequence[Compared]) -> str:
    """One line: how many of the numbers with a target reach it."""
    verdicts = Counter(row.verdict for result in results for row in result.rows if row.verdict)
    return (
        f"{verdicts[NEAR]} of {verdicts.total()} numbers with a target are within it,"
        f" {verdicts[SPREAD]} more within the range of the real runs"
    )


def as_json(facts: KernelFacts, results: Sequence[Compared], settings: dict[str, Any]) -> str:
    """Everything as one JSON document; a number that is not there is null."""

    def plain(row: Row) -> dict[str, Any]:
        fields = asdict(row).items()
        numbers = {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in fields}
        return numbers | {"verdict": row.verdict}

    probes = [
        {
            "probe": result.probe.name,
            "interference": result.interference,
            "steal": result.steal,
            "rows": [plain(row) for row in (*result.rows, *result.together)],
        }
        for result in results
    ]
    return json.dumps({"kernel": asdict(facts), "settings": settings, "probes": probes}, indent=1)


HEAD = """# Simulated and real scheduler

Made by `{command}`.

The same probes, host threads described as data (`vcpu_env/realism/probes.toml`), on a real kernel and in the simulator;
then what the scheduler did with each task, from `sched_switch` and wake-ups in both. `--compare shipped` does it again
with the recording that this page was made of, on any machine.

Kernel: Linux {release}, {cpus} CPUs ({model}{virtual}), HZ {hz} ({hz_source}), base slice {slice} ms
({base_slice_source}), preemption `{preempt}`, lag limit as in {lag_clamp}. The simulated host has the same
(`hz`, `base_slice_ns`, `preempt`, `lag_clamp`), the default costs and light noise; its rules are v6.19's.

Each probe ran {runs} times for {seconds:g} s after 0.3 s of settling, on the last CPUs of the machine, in a cgroup of
weight 10000, and was simulated with {seeds} seeds. Time that other processes took while a task of the probe ran or
waited is left out, and shown. It still leaves traces: another task may be picked when they are gone, and where a probe
leaves its CPU idle, they change caches, idle states and what the balancer sees.

Cells: real [lowest to highest run] / simulated. Targets: CPU share within 1 % of a CPU, switches within 10 % (or 1/s),
median wait within 15 %. *Italic*: outside the target, but within the range of the real runs; **bold**: a miss. KS:
Kolmogorov-Smirnov distance of the distributions of slices and waits, values within 2 % of each other taken as equal; in
brackets that of the real runs from all of them together.

Of probes on several CPUs: *gang index*, of the time in which all CPUs run tasks of the probe the share in which they
run those of one cgroup; *phase of switches*, where a CPU's changes between cgroups lie between those of another: 0 %
all at the same time, 50 % without relation, 100 % half way; *spread of shares*, how far tasks under a quota are apart.
"""

NOT_MODELLED = """
## What is not modelled

* Other work of the machine beyond light noise: interrupts, kernel threads, the tracer itself, the hypervisor.
* The time within the kernel between a wake-up and the switch it leads to. Simulated, both happen at once and the cost
  follows; on a real CPU the switch comes microseconds after the wake-up. A wait that consists of nothing else cannot
  agree: the waits of tasks that preempt at once.
* What arming and taking a timer interrupt cost: in a virtual machine exits to the hypervisor, several microseconds at
  each sleep. Tasks that sleep often get a little more CPU time than simulated.
* How long a real CPU takes to come out of idle: tens of microseconds in a virtual machine (`host.costs.wake_ns`: 4).
* Jitter of the tick: a real one is late by tens of microseconds, a simulated one only on hosts with quotas and by less
  (`host.tick_jitter_ns`). Exact ticks can keep tasks in a pattern that jitter ends.
* What the kernel measured has and v6.19.0 has not, as the check at a wake-up that takes delayed tasks off the queue.

On some virtual machines, as that of the shipped recording, some kernel threads, idle tasks among them, leave no trace
of the switch away from them. Such a switch is put where the task that came was woken (`vcpu_env/realism/chain.py`); its
wait is then short by the time that the CPU took to come out of idle.
"""


def cell(row: Row) -> str:
    """One Markdown cell."""
    spread = "" if math.isnan(row.real) or row.real_low == row.real_high else spread_of(row)
    text = f"{amount(row.real)}{spread} / {amount(row.simulated)}"
    mark = {MISS: "**", SPREAD: "*"}.get(row.verdict, "")
    return f"{mark}{text}{mark}"


def spread_of(row: Row) -> str:
    """The real runs' range."""
    low, high = amount(row.real_low), amount(row.real_high)
    return "" if low == high else f" [{low} to {high}]"


def probe_page(result: Compared) -> Iterator[str]:
    """The section of one probe."""
    yield f"\n### {result.probe.name}\n\n{result.probe.summary[0].upper()}{result.probe.summary[1:]};"
    yield f"{disturbance(result)}.\n"
    yield f"| task | {' | '.join(COLUMNS)} | KS slice | KS wait |"
    yield "|---|" + "---:|" * (len(COLUMNS) + 2)
    for rows in tasks_of(result):
        distances = [f"{row.ks:.2f} ({row.ks_real:.2f})" for row in rows if row.ks is not None]
        yield f"| {rows[0].task} | {' | '.join([*map(cell, rows), *distances])} |"
    if result.together:
        yield f"\nAll CPUs together: {of_all(result)}."
    if result.probe.note:
        yield f"\n{result.probe.note}"


def as_markdown(facts: KernelFacts, results: Sequence[Compared], settings: dict[str, Any]) -> str:
    """The page docs/realism.md."""
    fields = asdict(facts) | settings
    fields |= {"slice": facts.base_slice_ns / 1e6, "virtual": ", virtual" if facts.virtual else ""}
    lines = [HEAD.format(**fields), "## In short\n", f"{summary(results)}.\n"]
    lines += ["| probe | numbers | near | within the real range | taken by others, % | misses |"]
    lines.append("|---|---:|---:|---:|---:|---|")
    for result in results:
        verdicts = Counter(row.verdict for row in result.rows if row.verdict)
        misses = ", ".join(f"{row.task}: {row.metric}" for row in result.misses)
        counts = f"{verdicts.total()} | {verdicts[NEAR]} | {verdicts[SPREAD]} | {100 * result.interference:.1f}"
        lines.append(f"| {result.probe.name} | {counts} | {misses or '-'} |")
    lines += [NOT_MODELLED, "## Probe by probe"]
    for result in results:
        lines += probe_page(result)
    return "\n".join(lines) + "\n"
