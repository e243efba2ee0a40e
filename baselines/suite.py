"""Suites: fixed lists of cases on which a policy is scored, as TOML files.

::

    title = "Layouts and hosts that a policy may be tuned on"
    split = "train"                          # train, validation or test: what the suite may be used for
    seeds = 8                                # from first_seed on
    first_seed = 10_000
    set = ["run.duration_ns=600_000_000"]    # changes of every scenario

    [[cases]]                                # a scenario, changed; each case counts alike
    name = "libvirt"
    scenario = "dedup-2vm"                   # a shipped name, or a file, relative to this one
    set = ["host.cgroups=libvirt"]
"""

import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from baselines.experiment import LARGEST_SEED, Case, ExperimentError, Text, Texts, check_cases
from baselines.kinds import union
from vcpu_env.base.errors import nearest, shown
from vcpu_env.base.files import checksum_of_data
from vcpu_env.scenario import apply_overrides, load_scenario
from vcpu_env.scenario.errors import error_lines
from vcpu_env.scenario.host import Part
from vcpu_env.scenario.model import Name
from vcpu_env.scenario.splits import programs, size_of_vms
from vcpu_env.scenario.toml_text import read_toml

PROTOCOL = "vcpu-bench v1"
"""Counted up whenever a number of one version cannot be compared with one of another."""

ORDER = ("quick", "train", "validation", "full")
"""The shipped suites, in the order in which a policy meets them."""

SHIPPED = Path(str(resources.files("baselines") / "suites"))
LEAST_SEEDS, MOST_SEEDS = 4, 64
"""With fewer seeds nobody can be said to be harmed."""


class SuiteCase(Part):
    """A scenario and what is changed in it."""

    name: Name = Field(description="name in tables")
    scenario: str = Field(description="a shipped scenario or a TOML file")
    set: Texts = Field(default=(), description="KEY=VALUE, as host.cgroups=libvirt")


class SuiteFile(Part):
    """A suite as it is written."""

    title: Text = Field(default="", description="one line")
    split: Literal["train", "validation", "test"] = Field(description="what the suite may be used for")
    seeds: int = Field(ge=LEAST_SEEDS, le=MOST_SEEDS, description="runs of each case under each policy")
    first_seed: int = Field(ge=0, le=LARGEST_SEED - MOST_SEEDS, description="the first of these seeds")
    set: Texts = Field(default=(), description="changes of all scenarios")
    cases: Annotated[tuple[SuiteCase, ...], Field(strict=False, min_length=1)] = Field(description="what is run")


@dataclass(frozen=True)
class Suite:
    """A suite with everything loaded and checked.

    Attributes:
        commitment: SHA-256 of the secret that cases and seeds were drawn with; empty if there is none.
    """

    name: str
    title: str
    split: str
    cases: tuple[Case, ...]
    seeds: range
    commitment: str = ""

    @property
    def digest(self) -> str:
        """Of all that the suite's runs depend on but the simulator: the scenarios as given, and the seeds."""
        given = [[case.variant, case.scenario.model_dump(mode="json", exclude_unset=True)] for case in self.cases]
        return checksum_of_data([PROTOCOL, given, self.seeds.start, len(self.seeds)])


def list_suites() -> list[str]:
    """Names of the suites that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def load_suite(name_or_path: str) -> Suite:
    """Load a shipped suite by name, or any from a TOML file.

    Raises:
        ExperimentError, ScenarioError: there is no such suite, or it is wrong.
    """
    shipped = name_or_path in list_suites()
    path = SHIPPED / f"{name_or_path}.toml" if shipped else Path(name_or_path)
    if path.suffix != ".toml":
        raise ExperimentError(
            f"suite: value {shown(name_or_path)} (a .toml file or a shipped name; "
            f"{nearest(name_or_path, [*list_suites(), 'hidden'])})"
        )
    try:
        data = read_toml(path.read_text("utf-8"))
    except OSError as error:
        raise ExperimentError(f"suite: value '{path}' (allowed: a file that can be read; {error.strerror})") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ExperimentError(f"suite: value '{path}' (allowed: a TOML file; {error})") from None
    return _suite(path, data)


def _suite(path: Path, data: dict[str, Any]) -> Suite:
    """A suite from a file's data; its relative paths start where the file lies."""
    try:
        file = SuiteFile(**data)
    except ValidationError as error:
        raise ExperimentError(f"suite {path.stem}: {line}" for line in error_lines(SuiteFile, error)) from None
    cases = []
    for case in file.cases:
        scenario = load_scenario(str(path.parent / case.scenario) if case.scenario.endswith(".toml") else case.scenario)
        cases.append(Case(apply_overrides(scenario, [*file.set, *case.set]), case.name))
    names = [case.variant for case in cases]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ExperimentError(f"suite {path.stem}: cases: name '{twice[0]}' given twice (allowed: names that differ)")
    check_cases(cases)
    seeds = range(file.first_seed, file.first_seed + file.seeds)
    return Suite(path.stem, file.title, file.split, tuple(cases), seeds)


def suites_page() -> str:
    """The shipped suites as a Markdown page (docs/suites.md is this text)."""
    suites = {name: load_suite(name) for name in ORDER}
    lines = [
        "# Suites of the benchmark\n",
        "Made by `python -m baselines.suite`. What each is for: [the benchmark](benchmark.md). A suite's file is",
        "`baselines/suites/NAME.toml`; `python -m baselines.score --list --suite NAME` says what kind each case is.\n",
        "## What kinds of hosts and guests each has\n",
        "In bold: kinds that are in the test suite only.\n",
        "| | train (quick has a part of them) | validation | full |",
        "|---|---|---|---|",
    ]
    found = [union([case.scenario for case in suites[name].cases]) for name in ORDER[1:]]
    for axis in found[-1]:
        seen = {kind for one in found[:-1] for kind in one[axis]}
        texts = [", ".join(kind if kind in seen else f"**{kind}**" for kind in one[axis]) for one in found]
        lines.append(f"| {axis} | {' | '.join(texts)} |")
    for name, suite in suites.items():
        lines += [
            f"\n## {name}\n",
            f"{suite.title[0].upper()}{suite.title[1:]}. {len(suite.cases)} cases, seeds {suite.seeds.start:,} to"
            f" {suite.seeds.stop - 1:,}, split *{suite.split}*, digest `{suite.digest}`.\n",
            "| case | scenario | VMs | programs | kernel |",
            "|---|---|---|---|---|",
        ]
        for case in suite.cases:
            scenario = case.scenario
            cells = (case.variant, scenario.name, size_of_vms(scenario), programs(scenario), scenario.host.kernel)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(suites_page(), end="")
