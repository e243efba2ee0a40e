"""What a report consists of, whatever it is written as: sections of text, tables and figures."""

from collections.abc import Sequence
from dataclasses import dataclass, field

GOOD, BAD, NEUTRAL, CLEAR, FAINT = "good", "bad", "", "clear", "faint"


@dataclass(frozen=True)
class Entry:
    """One entry of a table: what is said, what qualifies it, in small print, and the tone in which it is said."""

    text: str
    notes: tuple[str, ...] = ()
    tone: str = NEUTRAL


@dataclass(frozen=True)
class Table:
    """A table; a row of a single entry is a heading of those below it.

    Attributes:
        folded: if given, the line behind which the table is folded away where that can be done.
        words: its entries are words, not numbers.
        dense: it has many columns.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Entry]]
    caption: str = ""
    folded: str = ""
    words: bool = False
    dense: bool = False


@dataclass(frozen=True)
class Picture:
    """A drawing: one panel, or several that a wide page puts beside each other."""

    name: str
    panels: Sequence[str]
    caption: str


@dataclass(frozen=True)
class Link:
    """A reference to a file beside the report, in a paragraph of its own."""

    text: str
    file: str


@dataclass(frozen=True)
class Section:
    """A heading and what follows it; text may hold `code` in backticks."""

    title: str
    parts: Sequence[str | Table | Picture | Link]


@dataclass(frozen=True)
class Document:
    """A report."""

    title: str
    lead: Sequence[str]
    sections: Sequence[Section] = field(default_factory=list)
