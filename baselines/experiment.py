"""Experiments as data: which scenarios, changed how, run under which policies with which seeds; a TOML file.

::

    title = "Does the gain depend on the cgroup layout?"
    scenarios = ["dedup-2vm", "mine.toml"]   # shipped names; files, relative to this one
    policies = ["series-v2", "rules.py:mine"]
    seeds = 8                                # paired: every policy sees the same ones
    set = ["run.duration_ns=500_000_000"]    # changes of every scenario

    [[variants]]                             # every scenario runs in every variant
    name = "libvirt"
    set = ["host.cgroups=libvirt"]

    [grid]                                   # every combination of these, in every variant
    "host.hz" = [250, 1000]
"""

import itertools
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from baselines.cells import Cell, source_id
from baselines.policies import PolicySource, choose_policies, is_file
from vcpu_env import __version__
from vcpu_env.base.errors import InputError, nearest, shown
from vcpu_env.build.guests import guest_plans
from vcpu_env.scenario import Scenario, apply_overrides, load_scenario
from vcpu_env.scenario.errors import error_lines
from vcpu_env.scenario.host import Part
from vcpu_env.scenario.model import Name
from vcpu_env.scenario.toml_text import read_toml

SHIPPED = resources.files("baselines") / "experiments"
DEFAULT = "published"
LARGEST_SEED = 2**31 - 1
MOST_CELLS = 1_000_000


class ExperimentError(InputError):
    """An experiment that cannot be, with one line for every wrong field."""


def _texts(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise ValueError(f": value {value!r} (allowed: a list of strings)")
    return tuple(value)


def _some_texts(value: Any) -> Any:
    if value in ([], ()):
        raise ValueError(": empty (allowed: at least one)")
    return _texts(value)


def _text(value: Any) -> Any:
    if not isinstance(value, str) or not (value == "" or value.isprintable()):
        raise ValueError(f": value {shown(value)} (allowed: a line of text)")
    return value


def _axes(value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f": value {value!r} (allowed: a table of lists of values)")
    for key, values in value.items():
        if not isinstance(values, list | tuple) or not values:
            raise ValueError(f".{key}: value {values!r} (allowed: a list of values, at least one)")
    return {key: tuple(values) for key, values in value.items()}


Text = Annotated[str, BeforeValidator(_text)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]
SomeTexts = Annotated[tuple[str, ...], BeforeValidator(_some_texts)]


class Variant(Part):
    """A change of all scenarios."""

    name: Name = Field(description="name in tables")
    set: Texts = Field(default=(), description="KEY=VALUE, as host.cgroups=libvirt")


class Experiment(Part):
    """What is to be compared."""

    name: Name = Field(description="name of the directory of results")
    title: Text = Field(default="", description="the question")
    scenarios: SomeTexts = Field(description="shipped names or TOML files")
    policies: SomeTexts = Field(description="names, FILE.py:NAME, FILE.py or FILE.npz; stock is added")
    seeds: int = Field(default=8, ge=1, le=1_000_000, description="runs of each scenario under each policy")
    first_seed: int = Field(default=0, ge=0, le=LARGEST_SEED - 1_000_000, description="the first of these seeds")
    set: Texts = Field(default=(), description="changes of all scenarios")
    variants: Annotated[tuple[Variant, ...], Field(strict=False)] = Field(default=(), description="sets of changes")
    grid: Annotated[dict[str, Any], BeforeValidator(_axes)] = Field(
        default_factory=dict, description="values of scenario fields, of which every combination is run"
    )


@dataclass(frozen=True)
class Case:
    """A scenario in one variant."""

    scenario: Scenario
    variant: str = ""

    @property
    def layout(self) -> str:
        """What is scored together: one variant in one layout."""
        return f"{self.variant}: {self.scenario.layout}" if self.variant else self.scenario.layout

    def __str__(self) -> str:
        return f"{self.scenario.name} [{self.variant}]" if self.variant else self.scenario.name


@dataclass(frozen=True)
class Plan:
    """An experiment with everything loaded and checked: all of its cells."""

    name: str
    title: str
    cases: Sequence[Case]
    policies: Sequence[PolicySource]
    seeds: range

    def cells(self) -> dict[tuple[int, str, int], Cell]:
        """Cells by number of the case, label of the policy, and seed."""
        return {
            (i, policy.label, seed): Cell(case.scenario, policy, seed)
            for i, case in enumerate(self.cases)
            for policy in self.policies
            for seed in self.seeds
        }

    def manifest(self) -> dict[str, Any]:
        """Everything that the results depend on."""
        return {
            "version": __version__,
            "source": source_id(),
            "experiment": self.name,
            "title": self.title,
            "policies": [
                {name: getattr(p, name) for name in ("label", "summary", "digest", "oracle", "knobs", "path")}
                for p in self.policies
            ],
            "seeds": [self.seeds.start, len(self.seeds)],
            "cases": [
                {"variant": case.variant, "scenario": case.scenario.model_dump(mode="json")} for case in self.cases
            ],
        }


def list_experiments() -> list[str]:
    """Names of the experiments that come with the package."""
    return sorted(entry.name[:-5] for entry in SHIPPED.iterdir() if entry.name.endswith(".toml"))


def load_experiment(name_or_path: str) -> Experiment:
    """Load a shipped experiment by name, or any from a TOML file.

    Raises:
        ExperimentError: there is no such experiment, or it is wrong.
    """
    if name_or_path in list_experiments():
        return parse_experiment((SHIPPED / f"{name_or_path}.toml").read_text("utf-8"), name_or_path)
    path = Path(name_or_path)
    if path.suffix != ".toml":
        raise ExperimentError(
            f"experiment: value '{name_or_path}' (a .toml file or a shipped name; "
            f"{nearest(name_or_path, list_experiments())})"
        )
    try:
        return parse_experiment(path.read_text("utf-8"), path.stem, path.parent)
    except OSError as error:
        raise ExperimentError(
            f"experiment: value '{name_or_path}' (allowed: a file that can be read; {error.strerror})"
        ) from None
    except UnicodeDecodeError:
        raise ExperimentError(f"experiment: value '{name_or_path}' (allowed: a TOML file in UTF-8)") from None


def parse_experiment(toml: str, default_name: str, directory: Path = Path()) -> Experiment:
    """Make an experiment from the text of a TOML file in a directory, at which its relative paths start."""
    try:
        data = read_toml(toml)
    except tomllib.TOMLDecodeError as error:
        raise ExperimentError(f"experiment: value '{default_name}' (allowed: a TOML file; {error})") from None
    experiment = checked_experiment({"name": default_name} | data)
    scenarios = [str(directory / name) if name.endswith(".toml") else name for name in experiment.scenarios]
    policies = [str(directory / name) if is_file(name) else name for name in experiment.policies]
    return experiment.model_copy(update={"scenarios": tuple(scenarios), "policies": tuple(policies)})


def checked_experiment(data: dict[str, Any]) -> Experiment:
    """An experiment from data.

    Raises:
        ExperimentError: with one line for every wrong field.
    """
    try:
        return Experiment(**data)
    except ValidationError as error:
        lines = error_lines(Experiment, error)
        raise ExperimentError(f"experiment {shown(data['name'])}: {line}" for line in lines) from None


def make_plan(experiment: Experiment, known: Mapping[str, Any], overrides: Sequence[str] = ()) -> Plan:
    """Load what an experiment names.

    Args:
        known: the named policies.
        overrides: changes of all scenarios, after those of the experiment.

    Raises:
        ExperimentError, ScenarioError, PolicyError: something in it is wrong.
    """
    points = [len(values) for values in experiment.grid.values()]
    of_one = len(experiment.policies) * experiment.seeds * max(1, len(experiment.variants)) * math.prod(points)
    if (cells := len(experiment.scenarios) * of_one) > MOST_CELLS:
        raise ExperimentError(f"experiment {experiment.name}: {cells:,} cells (allowed: {MOST_CELLS:,})")
    cases = [
        Case(apply_overrides(load_scenario(name), [*experiment.set, *changes, *overrides]), variant)
        for variant, changes in _variants(experiment)
        for name in experiment.scenarios
    ]
    check_cases(cases)
    seeds = range(experiment.first_seed, experiment.first_seed + experiment.seeds)
    policies = choose_policies(experiment.policies, known)
    for case, policy in itertools.product(cases, policies):
        if case.scenario.host.kernel not in policy.kernels:
            allowed = ", ".join(sorted(policy.kernels))
            raise ExperimentError(
                f"policies: value '{policy.label}' (allowed on host.kernel {allowed} only; {case} has"
                f" {case.scenario.host.kernel})"
            )
    return Plan(experiment.name, experiment.title, cases, policies, seeds)


def _variants(experiment: Experiment) -> list[tuple[str, list[str]]]:
    """Name and changes of every variant, in every combination of the grid."""
    variants = [(variant.name, list(variant.set)) for variant in experiment.variants] or [("", [])]
    axes = [[f"{key}={json.dumps(value)}" for value in values] for key, values in experiment.grid.items()]
    combined = []
    for (name, changes), point in itertools.product(variants, itertools.product(*axes)):
        label = ", ".join([name] * bool(name) + [change.replace('"', "") for change in point])
        combined.append((label, [*changes, *point]))
    return combined


def check_cases(cases: Sequence[Case]) -> None:
    """Refuse cases without VMs, with guests that cannot be, and such as are there twice.

    Raises:
        ExperimentError: in one line.
    """
    for case in cases:
        if not case.scenario.vms:
            raise ExperimentError(f"scenarios: value '{case.scenario.name}' (allowed: those with VMs)")
        try:
            guest_plans(case.scenario)
        except ValueError as error:
            raise ExperimentError(f"scenario {case}: {error}") from None
    _check_distinct(cases)


def _check_distinct(cases: Sequence[Case]) -> None:
    for i, case in enumerate(cases):
        for other in cases[:i]:
            if str(other) == str(case):
                raise ExperimentError(f"scenario: '{case}' given twice (allowed: names that differ)")
            if other.scenario == case.scenario:
                raise ExperimentError(f"variants: '{case}' is the same as '{other}' (allowed: ones that differ)")
