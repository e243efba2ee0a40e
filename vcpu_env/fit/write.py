"""Writes the workload file (TOML) of a fitted program, as a person would."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from vcpu_env.fit.distributions import Fit, fit_durations
from vcpu_env.fit.groups import Edge, Group
from vcpu_env.fit.threads import SHOOTDOWN
from vcpu_env.scenario.program_text import MAX_NS

LARGEST_CHANCE = 0.9995
"""What happens at least this often happens always."""


@dataclass
class Shapes:
    """Measured shapes that programs name."""

    found: dict[str, Fit] = field(default_factory=dict)

    def name(self, fit: Fit, wanted: str) -> str:
        """How a program names a distribution."""
        if fit.family:
            return fit.family
        self.found[wanted] = fit
        return wanted


def duration(ns: float) -> str:
    """A duration with four digits and its unit."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if ns >= size:
            return f"{float(f'{ns / size:.4g}'):g}{unit}"
    return f"{max(1, round(ns))}ns"


def maybe(chance: float, *lines: str, otherwise: Sequence[str] = ()) -> list[str]:
    """Lines that run with this probability."""
    if chance >= LARGEST_CHANCE:
        return list(lines)
    if chance <= 0:
        return list(otherwise)
    body = [f"  {line}" for line in lines]
    if otherwise:
        body += ["else", *(f"  {line}" for line in otherwise)]
    return [f"maybe {chance:.4g}", *body, "end"]


def choice(causes: Sequence[tuple[float, str]]) -> list[str]:
    """One of several lines, each with its probability, or none of them."""
    if not causes:
        return []
    (chance, line), *rest = causes
    left = 1.0 - chance
    scaled = [(min(1.0, other / left), text) for other, text in rest] if left > 1e-9 else []
    return maybe(chance, line, otherwise=choice(scaled))


def program(group: Group, shapes: Shapes, reschedules_per_cpu_s: float, counts_work: bool) -> list[str]:
    """The lines of a group's program."""
    steps = group.steps_ns()
    run = fit_durations(steps or [group.cpu_ns / len(group.threads)])
    number = max(1, len(steps))
    pieces, per_piece = split(sum(thread.counts[SHOOTDOWN] for thread in group.threads) / number)
    lines = [f"user {duration(min(run.mean_ns / pieces, MAX_NS))} {shapes.name(run, f'{group.name}_run')}"]
    lines += maybe(per_piece, "shootdown")
    if pieces > 1:
        lines = [f"repeat {pieces}", *(f"  {line}" for line in lines), "end"]
    lines += maybe(min(1.0, reschedules_per_cpu_s * run.mean_ns * 1e-9), "reschedule")
    if counts_work:
        lines.append("work")
    for queue, count in group.puts.items():
        lines += maybe(min(1.0, count / number), f"put {queue}")
    causes = [(min(1.0, count / number), f"get {queue}") for queue, count in group.gets.items()]
    if group.sleeps_ns:
        asleep = fit_durations(group.sleeps_ns)
        line = f"sleep {duration(min(asleep.mean_ns, MAX_NS))} {shapes.name(asleep, f'{group.name}_sleep')}"
        causes.append((min(1.0, len(group.sleeps_ns) / number), line))
    return lines + choice(causes)


def split(per_step: float) -> tuple[int, float]:
    """Pieces of a step so that something happens once in a piece at most, and how often it does."""
    pieces = max(1, round(per_step + 0.499))
    return pieces, min(1.0, per_step / pieces)


def workload_text(
    summary: str, groups: Sequence[Group], edges: Sequence[Edge], reschedules_per_cpu_s: float = 0.0
) -> str:
    """A workload file. Work is counted in the steps of the busiest group."""
    shapes = Shapes()
    lines = [f'summary = "{summary}"', f'unit = "steps of {groups[0].name}"']
    for edge in edges:
        lines += ["", f"[queues.{edge.name}]  # {edge.forth} wake-ups, {edge.back} the other way"]
        lines += [f"capacity = {edge.capacity}"]
    for group in groups:
        text = program(group, shapes, reschedules_per_cpu_s, group is groups[0])
        lines += ["", "[[threads]]", f'name = "{group.name}"', f"count = {group.count}"]
        lines += ['program = """', *(f"  {line}" for line in text), '"""']
    for name, fit in shapes.found.items():
        pairs = ", ".join(f"[{p:g}, {value:g}]" for p, value in fit.quantiles)
        lines += ["", f"[distributions.{name}]", f"quantiles = [{pairs}]"]
    return "\n".join(lines) + "\n"
