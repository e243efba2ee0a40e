"""Drawings as SVG in the page's own colours: they take the width that there is, and are read on light and dark.

A drawing is 480 units wide and its letters are 13 high, so that they can be read on a phone; wider pages put several
beside each other.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, TOP, BOTTOM = 480, 20, 44
ROW = 20
"""Height of a line of a chart."""
LETTER = 7.8
"""Mean width of a letter."""
LONGEST = 24
"""Letters of a name beside a line."""

COLOURS = ("#0a7fc2", "#d55e00", "#009e73", "#cc79a7", "#c98500", "#3d9fd6", "#9467bd", "#a0695c")
"""Okabe and Ito's palette, which most colour-blind readers can tell apart, in tones that show on light and on dark."""
GREY = "#888888"
DASHES = ("", "6 4", "2 3", "8 3 2 3")
"""Told apart by these in addition once the colours are used up."""


def text(
    x: float, y: float, content: str, anchor: str = "middle", colour: str = "currentColor", bold: bool = False
) -> str:
    """A line of text."""
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="13"{weight}'
        f' font-family="system-ui, sans-serif">{html.escape(content)}</text>'
    )


def line(
    x1: float, y1: float, x2: float, y2: float, colour: str = "currentColor", width: float = 1.0, dash: str = ""
) -> str:
    """A straight line; those in the colour of the text are faint."""
    faint = ' stroke-opacity="0.25"' if colour == "currentColor" else ""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"'
        f' stroke-width="{width:g}"{faint}{dashed}/>'
    )


def mark(x: float, y: float, colour: str, shape: str = "circle", hollow: bool = False) -> str:
    """A mark: a circle, triangle, diamond or square."""
    fill = 'fill="none" stroke-width="1.5"' if hollow else f'fill="{colour}"'
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" stroke="{colour}" {fill}/>'
    corners = {
        "triangle": ((0, -5), (4.5, 3.5), (-4.5, 3.5)),
        "diamond": ((0, -5), (5, 0), (0, 5), (-5, 0)),
        "square": ((-3.5, -3.5), (3.5, -3.5), (3.5, 3.5), (-3.5, 3.5)),
    }[shape]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}" stroke="{colour}" {fill}/>'


def box(x1: float, x2: float, y: float, height: float, colour: str, hollow: bool = False) -> str:
    """A bar from one place to another."""
    fill = "none" if hollow else colour
    return (
        f'<rect x="{min(x1, x2):.1f}" y="{y:.1f}" width="{abs(x2 - x1):.1f}" height="{height:g}" fill="{fill}"'
        f' fill-opacity="0.75" stroke="{colour if hollow else "none"}"/>'
    )


def svg(height: float, label: str, parts: Sequence[str], width: float = WIDTH) -> str:
    """A drawing."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="100%" role="img"'
        f' aria-label="{html.escape(label, quote=True)}" style="max-width: {width:g}px">{"".join(parts)}</svg>'
    )


def short(name: str, longest: int = LONGEST) -> str:
    """A name that has room beside a line."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers between two, at most so many."""
    span = high - low
    step = 10.0 ** math.floor(math.log10(span / most))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= most)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


@dataclass(frozen=True)
class Scale:
    """Where numbers are on an axis.

    Attributes:
        low, high: the numbers at its ends.
        start, end: its ends.
    """

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The place of a number; those beyond the ends are at the ends."""
        value = min(max(value, self.low), self.high)
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Its round numbers."""
        return ticks(self.low, self.high)


def scale_of(values: Sequence[float], start: float, end: float, zero: bool = True) -> Scale:
    """An axis that holds all numbers that are finite, and zero."""
    finite = [value for value in values if math.isfinite(value)] + [0.0] * zero
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    margin = 0.04 * (high - low) or 0.01
    return Scale(low - margin * (low < 0 or not zero), high + margin, start, end)


def below(scale: Scale, top: float, bottom: float, title: str) -> list[str]:
    """The grid of an axis that lies at the bottom, its numbers and its title."""
    parts = []
    for value in scale.ticks:
        parts += [line(scale.at(value), top, scale.at(value), bottom)]
        parts += [text(scale.at(value), bottom + 17, number(value))]
    return [*parts, text((scale.start + scale.end) / 2, bottom + 36, title)]


def beside(scale: Scale, left: float, right: float, title: str) -> list[str]:
    """The grid of an axis that lies at the left, its numbers and, above it, its title."""
    parts = []
    for value in scale.ticks:
        parts += [line(left, scale.at(value), right, scale.at(value))]
        parts += [text(left - 6, scale.at(value) + 4, number(value), "end")]
    return [*parts, text(0, scale.end - 9, title, "start")]


def number(value: float) -> str:
    """A number of an axis."""
    return f"{0.0 if abs(value) < 1e-12 else value:.4g}".replace("-", "\N{MINUS SIGN}")


def legend(entries: Sequence[tuple[str, str]], top: float, left: float = 0.0) -> tuple[list[str], float]:
    """A legend in as many lines as it takes.

    Args:
        entries: name, and the drawing of the mark around (0, 0).

    Returns:
        Its parts, and where it ends.
    """
    parts, x, y = [], left, top + 10
    for name, drawn in entries:
        width = 20 + LETTER * len(name) + 12
        if x > left and x + width > WIDTH:
            x, y = left, y + 18
        parts += [f'<g transform="translate({x + 8:.1f} {y:.1f})">{drawn}</g>', text(x + 19, y + 4, name, "start")]
        x += width
    return parts, y + 10 if entries else top
