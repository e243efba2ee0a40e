"""Writes a document as Markdown with drawings beside it, or as one HTML page that needs nothing else."""

import html
import re
from collections.abc import Sequence
from importlib import resources

from jinja2 import Environment
from markupsafe import Markup

from baselines.report.document import Document, Entry, Link, Picture, Table

ALONE = "<style>:root { color: #222; } @media (prefers-color-scheme: dark) { :root { color: #ddd; } }</style>"
"""The colour of letters and lines in a drawing that is a file of its own; in a page it is the page's."""

TEMPLATE = resources.files("baselines.report") / "page.html.j2"


def to_html(document: Document) -> str:
    """One self-contained page."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"code": _code, "anchor": _anchor, "kind": lambda part: type(part).__name__}
    return environment.from_string(TEMPLATE.read_text("utf-8")).render(document=document)


def _code(text: str) -> Markup:
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text)))


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def to_markdown(document: Document) -> tuple[str, dict[str, str]]:
    """The text, and the drawings that it refers to by file name."""
    lines = [f"# {_plain(document.title)}", *map(_plain, document.lead)]
    drawings: dict[str, str] = {}
    for section in document.sections:
        lines.append(f"## {_plain(section.title)}")
        lines += [_markdown_part(part, drawings) for part in section.parts]
    return "\n\n".join(lines) + "\n", drawings


def _markdown_part(part: str | Table | Picture | Link, drawings: dict[str, str]) -> str:
    if isinstance(part, str):
        return _plain(part)
    if isinstance(part, Link):
        return f"[{_plain(part.text)}]({part.file})"
    if isinstance(part, Picture):
        caption, shown = _plain(part.caption), []
        for i, panel in enumerate(part.panels):
            name = f"{part.name}-{i + 1}.svg" if len(part.panels) > 1 else f"{part.name}.svg"
            drawings[name] = panel.replace(">", f">{ALONE}", 1)
            shown.append(f"![{caption if i == 0 else part.name}](figures/{name})")
        return "\n".join(shown) + f"\n\n{caption}"
    head = f"### {_plain(part.folded)}\n\n" if part.folded else ""
    rows = [_markdown_row(row, len(part.columns)) for row in part.rows]
    align = "|---" + ("|---" if part.words else "|---:") * (len(part.columns) - 1) + "|"
    table = "\n".join(["| " + " | ".join(map(_in_cell, part.columns)) + " |", align, *rows])
    return head + table + (f"\n\n{_plain(part.caption)}" if part.caption else "")


def _markdown_row(row: Sequence[Entry], width: int) -> str:
    if len(row) == 1:
        return f"| **{_in_cell(row[0].text)}** |" + " |" * (width - 1)
    first, *others = row
    name = f"{first.text} ({', '.join(first.notes)})" if first.notes else first.text
    entries = [name, *(" ".join([entry.text, *entry.notes]) for entry in others)]
    return "| " + " | ".join(map(_in_cell, entries)) + " |"


def _plain(text: str) -> str:
    """Text in Markdown: markup of pages in it is shown, not followed; what stands in backticks stays as it is."""
    parts = re.split(r"(`[^`\n]*`)", " ".join(text.split("\n")))
    return "".join(
        part if i % 2 else html.escape(part, quote=False).replace("`", "\\`") for i, part in enumerate(parts)
    )


def _in_cell(text: str) -> str:
    """Likewise in a table."""
    return _plain(text).replace("|", "\\|")
