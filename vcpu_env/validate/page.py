"""The page of a validation, as Markdown."""

from collections.abc import Sequence
from dataclasses import asdict

from vcpu_env.validate.verdict import Part


def cell_of(text: str) -> str:
    """A text as a cell of a Markdown table."""
    return text.replace("|", "\\|")


def head(parts: Sequence[Part]) -> list[str]:
    """The summary: each part with how much of it was met."""
    lines = ["| part | met | needed |", "|---|---:|---:|"]
    for part in parts:
        met, of = part.score
        lines.append(f"| {part.title} | {met} of {of} | {part.needed:.0%} |")
    return lines


def markdown(parts: Sequence[Part], command: str) -> str:
    """The whole page: a summary, then a table a part, misses first."""
    lines = [
        "# Validation: the simulator beside real hosts",
        "",
        f"Made by `{command}`. What is missed stands at the top of its table.",
        "",
        *head(parts),
    ]
    for part in parts:
        lines += ["", f"## {part.title}", "", f"{part.words[0].upper()}{part.words[1:]}.", ""]
        lines += ["| what | real | simulated | |", "|---|---:|---:|---|"]
        for verdict in sorted(part.verdicts, key=lambda v: v.met is not False):
            row = (verdict.name, verdict.expected, verdict.seen, verdict.word)
            lines.append(f"| {' | '.join(map(cell_of, row))} |")
    return "\n".join(lines) + "\n"


def as_json(parts: Sequence[Part]) -> list[dict]:
    """All of it as plain data."""
    return [asdict(part) | {"met": part.score[0], "of": part.score[1]} for part in parts]
