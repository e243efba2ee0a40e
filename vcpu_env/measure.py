"""One measurement: run a machine through warm-up and measured time, and return what it counted in between."""

from collections.abc import Mapping
from typing import Any, Protocol

from vcpu_env.scenario.model import Run


class Runs(Protocol):
    """What can be measured: a machine."""

    def run_until(self, end_ns: int) -> object:
        """Run up to a simulated time."""

    def counters(self) -> dict[str, Any]:
        """Everything counted since time 0."""


def difference(after: Any, before: Any) -> Any:
    """`after` - `before` in every number of two equally shaped trees of counters; text stays."""
    if isinstance(after, Mapping):
        return {name: difference(value, before[name]) for name, value in after.items()}
    if isinstance(after, list | tuple):
        return [difference(*pair) for pair in zip(after, before, strict=True)]
    if isinstance(after, str):
        return after
    change = after - before
    return change.item() if hasattr(change, "item") else change


def measure(machine: Runs, run: Run) -> dict[str, Any]:
    """Run a machine that is at time 0 and return the counters of the measured time."""
    machine.run_until(run.warmup_ns)
    before = machine.counters()
    machine.run_until(run.warmup_ns + run.duration_ns)
    return difference(machine.counters(), before)
