"""How numbers are written: signed changes in percent or points, with their interval, and short amounts."""

import math

from baselines.report.document import BAD, GOOD, NEUTRAL, Entry
from baselines.statistics import Estimate

NOTHING = "-"
MINUS = "\N{MINUS SIGN}"
PERCENT = "\N{NO-BREAK SPACE}%"


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign; zero has none."""
    text = f"{value:+.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", MINUS)


def percent(value: float) -> str:
    """A relative change."""
    return NOTHING if math.isnan(value) else f"{signed(100 * value)}{PERCENT}"


def share(value: float) -> str:
    """A part of a whole."""
    return NOTHING if math.isnan(value) else f"{100 * value:.1f}{PERCENT}".replace("-", MINUS)


def interval(estimate: Estimate) -> str:
    """The ends of an interval of changes, in percent or points."""
    return f"[{signed(100 * estimate.low)}, {signed(100 * estimate.high)}]"


def amount(value: float) -> str:
    """A number of at least 0 in at most five characters."""
    if math.isnan(value):
        return NOTHING
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * factor:
            return f"{value / factor:.3g}{unit}" if value < 999.5 * factor else f"{value / factor:.0f}{unit}"
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def duration(value_ns: float) -> str:
    """A time in its natural unit."""
    if math.isnan(value_ns):
        return NOTHING
    for factor, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if value_ns >= 0.9995 * factor:
            return f"{value_ns / factor:.3g} {unit}"
    return f"{value_ns:.3g} ns"


def tone(estimate: Estimate, more_is_better: bool = True) -> str:
    """Good or bad if the interval is on one side of zero."""
    if estimate.low > 0:
        return GOOD if more_is_better else BAD
    if estimate.high < 0:
        return BAD if more_is_better else GOOD
    return NEUTRAL


def change_entry(estimate: Estimate, seeds: int) -> Entry:
    """A relative change of something of which more is better."""
    if math.isnan(estimate.value):
        return Entry("n/a")
    if seeds == 1:
        return Entry(percent(estimate.value), ("one seed",))
    return Entry(percent(estimate.value), (interval(estimate),), tone(estimate))
