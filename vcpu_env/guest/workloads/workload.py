"""What a workload is: its parameters, each with its provenance, and how it plans a VM's guest."""

from collections.abc import Callable
from dataclasses import dataclass

from vcpu_env.guest.plan import GuestPlan

MAX_COUNT = 1_000_000
MAX_NUMBER = 3_600_000_000_000
"""Largest duration, rate or the like: one hour in ns (`scenario.bounds`)."""


@dataclass(frozen=True)
class Parameter:
    """One number of a workload: default, unit, provenance tag, meaning.

    Attributes:
        least: the parameter is a count, a whole number from `least` on; none: a duration, rate or share.
    """

    value: float
    unit: str
    tag: str
    meaning: str
    least: int | None = None

    def refuse(self, value: float) -> str:
        """Why the parameter can't have this value: what is allowed. Empty if it can."""
        if self.least is not None:
            good = self.least <= value <= MAX_COUNT and value == int(value)
            return "" if good else f"whole number {self.least}..{MAX_COUNT}"
        if self.unit.startswith("of "):
            return "" if 0 <= value <= 1 else f"share {self.unit}, 0..1"
        return "" if 0 <= value <= MAX_NUMBER else f"0..{MAX_NUMBER}"


@dataclass(frozen=True)
class Workload:
    """A named workload: how to build a VM's threads, and what one unit of its work is."""

    name: str
    unit: str
    summary: str
    parameters: dict[str, Parameter]
    build: Callable[[GuestPlan, dict[str, float]], None]


def per_second(rate: float, cpu_ns: float) -> float:
    """The probability per step that gives `rate` events per CPU-second when a step takes `cpu_ns`."""
    return min(1.0, rate * cpu_ns * 1e-9)
