"""The two drawings of the page, as SVG in the page's own colours: the cost by ratio, and the knobs."""

import math
from collections.abc import Sequence

from baselines.overcommit.answer import Cost, Effect
from baselines.overcommit.hosts import named
from baselines.report.drawing import BOTTOM, COLOURS, GREY, TOP, WIDTH, line, short, svg, text

LEFT, RIGHT, HEIGHT = 50, 10, 280
BAR = 22


def cost_curve(costs: Sequence[Cost]) -> str:
    """What VMs keep and their CPU Ready by ratio, with intervals; of all VMs together."""
    top = max([1.05, *(cost.kept.high for cost in costs if math.isfinite(cost.kept.high))])
    highest = max(cost.ratio for cost in costs)
    lowest = min(cost.ratio for cost in costs)
    span = highest - lowest or 1.0

    def x(ratio: float) -> float:
        return LEFT + (ratio - lowest) / span * (WIDTH - LEFT - RIGHT - 52)

    def y(share: float) -> float:
        return TOP + (top - share) / top * (HEIGHT - TOP - BOTTOM)

    parts = []
    for percent in range(0, 101, 20):
        parts += [line(LEFT, y(percent / 100), WIDTH - RIGHT, y(percent / 100))]
        parts += [text(LEFT - 8, y(percent / 100) + 4, f"{percent} %", "end")]
    parts += [text(x(cost.ratio), HEIGHT - BOTTOM + 20, named(cost.ratio)) for cost in costs]
    parts += [text((LEFT + WIDTH) / 2, HEIGHT - 6, "vCPUs for each CPU")]
    for name, label, colour in (("kept", "kept", COLOURS[0]), ("ready", "Ready", COLOURS[1])):
        values = [(cost.ratio, getattr(cost, name)) for cost in costs if math.isfinite(getattr(cost, name).value)]
        if not values:
            continue
        points = " ".join(f"{x(ratio):.1f},{y(value.value):.1f}" for ratio, value in values)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for ratio, value in values:
            parts.append(line(x(ratio), y(value.low), x(ratio), y(value.high), colour, 2))
            parts.append(f'<circle cx="{x(ratio):.1f}" cy="{y(value.value):.1f}" r="3.5" fill="{colour}"/>')
        parts.append(text(x(values[-1][0]) + 8, y(values[-1][1].value) - 8, label, "start", colour))
    return svg(HEIGHT, "Throughput that VMs keep, and their CPU Ready, by ratio", parts)


def knob_chart(effects: Sequence[Effect]) -> str:
    """A bar a knob with its interval, the largest gain first; hollow ones need a patch."""
    effects = [one for one in effects if math.isfinite(one.gain.value)]
    left, height = 176, TOP + BAR * len(effects) + BOTTOM
    ends = [end for one in effects for end in (one.gain.low, one.gain.high)]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    span = high - low or 0.01

    def x(gain: float) -> float:
        return left + (gain - low) / span * (WIDTH - left - 84)

    parts = []
    for i, one in enumerate(effects):
        top = TOP + BAR * i
        colour = COLOURS[0] if one.gain.value >= 0 else COLOURS[1]
        parts.append(text(left - 8, top + 15, short(one.setting.name), "end"))
        start, end = sorted((x(0.0), x(one.gain.value)))
        fill = "none" if one.is_patch else colour
        parts.append(
            f'<rect x="{start:.1f}" y="{top + 4}" width="{max(1.0, end - start):.1f}" height="{BAR - 8}"'
            f' fill="{fill}" fill-opacity="0.6" stroke="{colour}"/>'
        )
        parts.append(line(x(one.gain.low), top + BAR / 2, x(one.gain.high), top + BAR / 2, GREY, 2))
        mark = " (!)" if one.harmed else ""
        parts.append(text(max(x(one.gain.high), end) + 6, top + 15, f"{100 * one.gain.value:+.1f} %{mark}", "start"))
    parts.append(line(x(0.0), TOP - 4, x(0.0), TOP + BAR * len(effects) + 4, "currentColor", 2))
    parts.append(text((left + WIDTH) / 2, height - 14, "change of throughput; (!) harms a VM"))
    return svg(height, "Knobs by what they give, with 95 % intervals", parts)
