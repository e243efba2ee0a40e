"""The kinds of drawings: dots with intervals, stacked bars, curves with bands, clouds of dots."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from baselines.report.drawing import (
    BOTTOM,
    DASHES,
    LETTER,
    LONGEST,
    ROW,
    TOP,
    WIDTH,
    Scale,
    below,
    beside,
    box,
    legend,
    line,
    mark,
    scale_of,
    short,
    svg,
    text,
)
from baselines.report.numbers import percent, share, signed
from baselines.statistics import Estimate

Legend = Sequence[tuple[str, str]]
HEIGHT = 250
"""Of curves and clouds."""


@dataclass(frozen=True)
class Line:
    """A line of a chart of dots or bars.

    Attributes:
        name: what it is about; without a value, a heading.
        value: what is drawn.
        colour: of it.
        beside: marks of other numbers: the number, and a shape.
        parts: of a stacked bar.
    """

    name: str
    value: Estimate | None = None
    colour: str = ""
    beside: Sequence[tuple[float, str]] = field(default_factory=tuple)
    parts: Sequence[float] = field(default_factory=tuple)


def label_width(lines: Sequence[Line]) -> float:
    """Room for names at the left."""
    return 10 + LETTER * max(len(short(one.name)) for one in lines if one.value or one.parts)


def headings_and_names(lines: Sequence[Line], top: float, left: float) -> list[str]:
    """The names at the left."""
    parts = []
    for i, one in enumerate(lines):
        y = top + ROW * (i + 0.5) + 4
        if one.value or one.parts:
            parts.append(text(left - 8, y, short(one.name), "end"))
        else:
            parts.append(text(0, y + 2, short(one.name, 3 * LONGEST), "start", bold=True))
    return parts


def dots(
    title: str,
    lines: Sequence[Line],
    axis: str,
    marks: Legend = (),
    ends: Sequence[float] = (),
    signs: bool = True,
) -> str:
    """A line each: a number in per cent with its interval, and written beside it.

    Args:
        lines: values are parts of one.
        ends: numbers that the axis must hold, so that drawings beside each other can have the same one.
        signs: numbers are changes.
    """
    parts, top = legend(marks, TOP + 4 if title else 0)
    shown = [one for one in lines if one.value]
    left, bottom = label_width(lines), top + ROW * len(lines)
    scale = scale_of([100 * end for end in (*ends, *extent(shown))], left, WIDTH - 66)
    parts += [text(0, 14, title, "start", bold=True)] if title else []
    parts += [*below(scale, top, bottom, axis), *headings_and_names(lines, top, left)]
    parts.append(line(scale.at(0), top, scale.at(0), bottom, "currentColor", 3))
    for i, one in enumerate(lines):
        if one.value is None:
            continue
        y = top + ROW * (i + 0.5)
        if math.isfinite(one.value.value):
            if math.isfinite(one.value.low) and one.value.low < one.value.high:
                parts.append(line(scale.at(100 * one.value.low), y, scale.at(100 * one.value.high), y, one.colour, 2.5))
            parts.append(mark(scale.at(100 * one.value.value), y, one.colour))
        parts += [mark(scale.at(100 * value), y, "currentColor", shape, True) for value, shape in one.beside]
        write = percent if signs else share
        written = write(one.value.value) if math.isfinite(one.value.value) else "n/a"
        parts.append(text(WIDTH, y + 4, written, "end"))
    return svg(bottom + BOTTOM, f"{title}: {axis}" if title else axis, parts)


def extent(lines: Sequence[Line]) -> list[float]:
    """All numbers that a chart of dots shows."""
    values = [one.value for one in lines if one.value]
    return [end for e in values for end in (e.value, e.low, e.high)] + [v for one in lines for v, _ in one.beside]


def bars(title: str, lines: Sequence[Line], kinds: Sequence[tuple[str, str]], axis: str) -> str:
    """A stacked bar each, what is above zero to the right, with a diamond at the sum.

    Args:
        kinds: name and colour of the parts of every bar.
    """
    swatches = [(name, box(-6, 6, -5, 10, colour)) for name, colour in kinds]
    parts, top = legend([*swatches, ("sum: work", mark(0, 0, "currentColor", "diamond"))], TOP + 4 if title else 0)
    left, bottom = label_width(lines), top + ROW * len(lines)
    ends = [sum(v for v in one.parts if (v > 0) == more) for one in lines for more in (True, False)]
    scale = scale_of(ends, left, WIDTH - 50)
    parts += [text(0, 14, title, "start", bold=True)] if title else []
    parts += [*below(scale, top, bottom, axis), *headings_and_names(lines, top, left)]
    parts.append(line(scale.at(0), top, scale.at(0), bottom, "currentColor", 3))
    for i, one in enumerate(lines):
        if not one.parts:
            continue
        less = more = 0.0
        for value, (_, colour) in zip(one.parts, kinds, strict=True):
            start = more if value > 0 else less
            parts.append(box(scale.at(start), scale.at(start + value), top + ROW * i + 4, ROW - 8, colour))
            less, more = less + min(value, 0.0), more + max(value, 0.0)
        parts.append(mark(scale.at(less + more), top + ROW * (i + 0.5), "currentColor", "diamond"))
        parts.append(text(WIDTH, top + ROW * (i + 0.5) + 4, signed(less + more), "end"))
    return svg(bottom + BOTTOM, f"{title}: {axis}" if title else axis, parts)


@dataclass(frozen=True)
class Curve:
    """A curve with a band.

    Attributes:
        x, y, low, high: its points, as many of each.
        style: which of the kinds of dashes.
    """

    colour: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    style: int = 0


def curves(title: str, drawn: Sequence[Curve], axes: tuple[str, str], marks: Legend = ()) -> str:
    """Curves with their bands; the second axis is from 0 to 100."""
    parts, top = legend(marks, 0)
    top += 44 if title else 24
    across = scale_of([x for one in drawn for x in one.x], 40, WIDTH - 8, zero=False)
    across = Scale(min(one.x[0] for one in drawn), max(one.x[-1] for one in drawn), across.start, across.end)
    up = Scale(0, 100, top + HEIGHT, top)
    parts += [text(0, top - 30, title, "start", bold=True)] if title else []
    parts += [*below(across, top, top + HEIGHT, axes[0]), *beside(up, 40, WIDTH - 8, axes[1])]
    if across.low < 0 < across.high:
        parts.append(line(across.at(0), top, across.at(0), top + HEIGHT, "currentColor", 3))
    for one in drawn:
        edge = [*zip(one.x, one.high, strict=True), *reversed(list(zip(one.x, one.low, strict=True)))]
        parts.append(f'<polygon points="{points(edge, across, up)}" fill="{one.colour}" fill-opacity="0.13"/>')
    for one in drawn:
        dash = f' stroke-dasharray="{DASHES[one.style]}"' if DASHES[one.style] else ""
        placed = points(list(zip(one.x, one.y, strict=True)), across, up)
        parts.append(f'<polyline points="{placed}" fill="none" stroke="{one.colour}" stroke-width="2"{dash}/>')
    return svg(top + HEIGHT + BOTTOM, f"{title}: {axes[1]}" if title else axes[1], parts)


def points(pairs: Sequence[tuple[float, float]], across: Scale, up: Scale) -> str:
    """Pairs of numbers as points."""
    return " ".join(f"{across.at(x):.1f},{up.at(y):.1f}" for x, y in pairs)


@dataclass(frozen=True)
class Dot:
    """A dot of a cloud."""

    colour: str
    x: float
    y: float
    shape: str = "circle"


def cloud(drawn: Sequence[Dot], axes: tuple[str, str], marks: Legend = (), diagonal: bool = False) -> str:
    """Dots between two axes that hold zero, perhaps with the line of equal numbers."""
    parts, top = legend(marks, 0)
    top += 26
    across = scale_of([dot.x for dot in drawn], 58, WIDTH - 8)
    up = scale_of([dot.y for dot in drawn], top + HEIGHT, top)
    parts += [*below(across, top, top + HEIGHT, axes[0]), *beside(up, 58, WIDTH - 8, axes[1])]
    parts.append(line(across.at(0), top, across.at(0), top + HEIGHT, "currentColor", 3))
    parts.append(line(across.start, up.at(0), across.end, up.at(0), "currentColor", 3))
    if diagonal:
        low, high = max(across.low, up.low), min(across.high, up.high)
        parts.append(line(across.at(low), up.at(low), across.at(high), up.at(high), "currentColor", 2, "2 4"))
    for dot in drawn:
        if math.isfinite(dot.x) and math.isfinite(dot.y):
            parts.append(mark(across.at(dot.x), up.at(dot.y), dot.colour, dot.shape))
    return svg(top + HEIGHT + BOTTOM, axes[1], parts)
