"""From ranges of assumed numbers to the cells of a sensitivity analysis."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator

from baselines.cells import load_object
from baselines.evaluate import POLICIES
from baselines.experiment import Case, Plan, SomeTexts, Texts
from baselines.policies import choose_policies
from baselines.statistics import Array
from experiments.study import StudyError
from vcpu_env.guest.workloads import WORKLOADS
from vcpu_env.scenario import Scenario, apply_overrides, load_scenario
from vcpu_env.scenario.errors import error_lines
from vcpu_env.scenario.host import Part
from vcpu_env.scenario.toml_text import read_toml

SEEDS = "seeds"
"""The parameter that is none: it changes nothing but the seeds, and shows how large an effect chance alone makes."""
SEED_SETS = 4
SEED = 20240
"""Of the designs and of the bootstrap of their effects."""


class Range(Part):
    """How far an assumed number may be off."""

    field: str = Field(description="field of a scenario, as on a command line")
    workload: str = Field(default="", description="the workload whose parameter it is; none: all")
    low: float = Field(description="smallest")
    high: float = Field(description="largest")
    scale: Literal["log", "linear"] = Field(default="log", description="how values between both are spread")
    whole: bool = Field(default=False, description="a count")
    reason: str = Field(description="why so far")

    @model_validator(mode="after")
    def check(self) -> "Range":
        """Refuse ranges that are none."""
        if self.low >= self.high or (self.scale == "log" and self.low <= 0):
            raise ValueError(f".low: value {self.low:g} (allowed: below high, {self.high:g}; above 0 if scale is log)")
        return self

    def value(self, u: float) -> float | int:
        """The number at `u`, 0 (lowest) to 1."""
        if self.scale == "log":
            number = self.low * (self.high / self.low) ** u
        else:
            number = self.low + (self.high - self.low) * u
        return round(number) if self.whole or self.field.endswith("_ns") else float(f"{number:.6g}")


class Cases(Part):
    """What is run of one workload."""

    scenario: str = Field(description="shipped name, or TOML file")
    set: Texts = Field(default=(), description="changes of it: a short run")


class Ranges(Part):
    """The whole analysis."""

    policies: SomeTexts = Field(description="policies to be compared with stock")
    seeds: int = Field(ge=1, le=1000, description="runs of each point under each policy")
    trajectories: int = Field(ge=2, le=1000, description="Morris trajectories")
    levels: int = Field(ge=2, le=64, description="levels of each parameter, an even number")
    workloads: dict[str, Cases] = Field(description="by name")
    ranges: Annotated[tuple[Range, ...], Field(strict=False)] = Field(description="of assumed numbers")
    idle: dict[str, str] = Field(
        default_factory=dict, description="assumed numbers that these hosts do not use, and why"
    )

    def of(self, workload: str) -> list[Range]:
        """The ranges that concern a workload."""
        return [found for found in self.ranges if found.workload in ("", workload)]


def load_ranges(path: Path) -> Ranges:
    """Read the file of ranges.

    Raises:
        StudyError: it is wrong.
    """
    try:
        return Ranges(**read_toml(path.read_text("utf-8")))
    except OSError as error:
        raise StudyError(f"ranges: value '{path}' (allowed: a file that can be read; {error.strerror})") from None
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"ranges: value '{path}' (allowed: a TOML file; {error})") from None
    except ValidationError as error:
        raise StudyError("; ".join(f"{path}: {line}" for line in error_lines(Ranges, error))) from None


@dataclass(frozen=True)
class Design:
    """Points at which a workload is run.

    Attributes:
        points: shape (points, parameters), 0..1; the last parameter is `SEEDS`.
    """

    workload: str
    ranges: Sequence[Range]
    base: Scenario
    points: Array
    method: str

    @property
    def problem(self) -> dict[str, object]:
        """The parameters as SALib takes them."""
        names = [*(found.field for found in self.ranges), SEEDS]
        return {"num_vars": len(names), "names": names, "bounds": [[0.0, 1.0]] * len(names)}

    def scenario(self, point: Array) -> Scenario:
        """The scenario at a point."""
        changes = zip(self.ranges, point[:-1], strict=True)
        return apply_overrides(self.base, [f"{r.field}={r.value(float(u))!r}" for r, u in changes])

    def seed_set(self, point: Array) -> int:
        """Which seeds a point is run with."""
        return min(SEED_SETS - 1, int(point[-1] * SEED_SETS))


def make_design(ranges: Ranges, workload: str, method: str, samples: int, short: Sequence[str] = ()) -> Design:
    """The points of a workload: `samples` Morris trajectories, or a Sobol sequence of that length.

    Args:
        short: changes of the scenario, for a look.

    Raises:
        StudyError: there is no such workload.
    """
    if workload not in ranges.workloads:
        raise StudyError(f"only: value '{workload}' (allowed: {', '.join(ranges.workloads)})")
    cases = ranges.workloads[workload]
    base = apply_overrides(load_scenario(cases.scenario), [*cases.set, *short])
    empty = Design(workload, ranges.of(workload), base, np.empty((0, 0)), method)
    if method == "morris":
        from SALib.sample import morris

        points = morris.sample(empty.problem, samples, num_levels=ranges.levels, seed=SEED)
    else:
        from SALib.sample import sobol

        points = sobol.sample(empty.problem, samples, calc_second_order=False, seed=SEED)
    return Design(workload, empty.ranges, base, points, method)


def make_plans(ranges: Ranges, design: Design) -> dict[str, Plan]:
    """The cells of a design, a plan for each set of seeds; and the default scenario with all of these seeds."""
    policies = choose_policies(ranges.policies, load_object(POLICIES))
    seeds = [range(first * ranges.seeds, (first + 1) * ranges.seeds) for first in range(SEED_SETS)]
    name = f"{design.method}-{design.workload}"
    everything = range(SEED_SETS * ranges.seeds)
    plans = {f"{name}-default": Plan(f"{name}-default", "", [Case(design.base)], policies, everything)}
    for i in range(SEED_SETS):
        cases = [
            Case(design.scenario(point), f"point {n}")
            for n, point in enumerate(design.points)
            if design.seed_set(point) == i
        ]
        if cases:
            plans[f"{name}-{i}"] = Plan(f"{name}-{i}", "", cases, policies, seeds[i])
    return plans


def default_of(found: Range) -> float:
    """The default of a range's field.

    Raises:
        StudyError: there is no such field.
    """
    *where, name = found.field.split(".")
    if found.workload:
        parameters = WORKLOADS[found.workload].parameters
        if name in parameters:
            return parameters[name].value
    else:
        value = Scenario(name="default", vms=[{"name": "vm", "vcpus": 1, "workload": "dbench"}])
        part: object = value
        for step in where:
            part = getattr(part, step, None)
        if hasattr(part, name):
            return float(getattr(part, name))
    raise StudyError(f"ranges: field '{found.field}' (allowed: fields of a scenario, or vms.*.params of a workload)")
