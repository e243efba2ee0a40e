"""What ``vcpu-env fit`` does: fit, write, simulate, print the comparison."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from vcpu_env.fit.events import FitError
from vcpu_env.fit.fit import Fitted, fit_trace
from vcpu_env.fit.write import duration
from vcpu_env.precompile import ensure_compiled

if TYPE_CHECKING:
    from vcpu_env.fit.goodness import Compared


def fit_and_compare(
    trace: Path, comms: Sequence[str], tids: Sequence[int], out: Path | None, seed: int, as_json: bool
) -> None:
    """Fit a program to the chosen threads of a trace; write it to a file, or print it; print how good it is.

    Raises:
        ValueError: the trace, or what is asked of it, is wrong.
    """
    if out is not None and out.suffix != ".toml":
        raise FitError(f"-o: value '{out}' (allowed: a file name that ends in .toml)")
    if not 0 <= seed < 2**31:
        raise FitError(f"seed: value {seed} (allowed: 0..{2**31 - 1})")
    if out is not None and not (out.parent.is_dir() and os.access(out.parent, os.W_OK) and not out.is_dir()):
        raise FitError(f"-o: value '{out}' (allowed: a file in a directory to write to)")
    fitted = fit_trace(trace, comms, tids, out.stem if out else "fitted")
    ensure_compiled()
    from vcpu_env.fit.goodness import goodness
    from vcpu_env.fit.simulate import simulate, with_reschedules

    fitted = with_reschedules(fitted, seed)
    if out is not None:
        try:
            out.write_text(fitted.text, "utf-8")
        except OSError as error:
            raise FitError(f"-o: value '{out}' (allowed: a file to write to; {error.strerror})") from None
    elif not as_json:
        print(fitted.text)
    print(headline(fitted), file=sys.stderr)
    rows = goodness(fitted, simulate(fitted, seed))
    for line in [json.dumps(asdict(row) | {"differs": row.differs}) for row in rows] if as_json else table(rows):
        print(line)
    for doubt in (*fitted.doubts, *misfit(rows)):
        print(f"warning: {doubt}", file=sys.stderr)


def headline(fitted: Fitted) -> str:
    """One line on what was fitted."""
    recording, groups = fitted.recording, fitted.groups
    threads = sum(group.count for group in groups)
    return (
        f"{threads} threads in {len(groups)} groups, {recording.window_ns / 1e9:.3g} s on {recording.cpus} CPUs; "
        f"{100 * fitted.queued:.0f} % of sleeps wait for another thread"
    )


def misfit(rows: "Sequence[Compared]") -> list[str]:
    """One line if the program does not reproduce the recording, none if it does."""
    judged, differ = [row for row in rows if row.allowed is not None], [row for row in rows if row.differs]
    if not differ:
        return []
    worst = "; ".join(f"{row.group}: {row.quantity} {far(row)}" for row in differ)
    return [f"the program does not do what was recorded, {len(differ)} of {len(judged)} quantities differ: {worst}"]


def far(row: "Compared") -> str:
    """How far the simulated value is from the recorded one."""
    return "" if row.distance is None else f"{row.distance:.2f}" if row.unit == "KS" else f"{row.distance:+.0%}"


def table(rows: "Sequence[Compared]") -> list[str]:
    """The comparison as aligned lines."""
    lines = [f"{'':28} {'recorded':>12} {'simulated':>12} {'distance':>10}"]
    group = None
    for row in rows:
        if row.group != group:
            group = row.group
            lines.append(group)
        values = " ".join(f"{shown(value, row.unit):>12}" for value in (row.recorded, row.simulated))
        unit = "" if row.unit in ("ns", "KS") else row.unit
        lines.append(f"  {row.quantity:26} {values} {far(row):>10}  {unit:9}{'differs' * row.differs}".rstrip())
    return lines


def shown(value: float | None, unit: str) -> str:
    """A value in a table."""
    if value is None:
        return ""
    return duration(value) if unit == "ns" else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"
