"""A probe: host tasks and their cgroups as a scenario describes them, which a real kernel and the simulator both run.

Shipped probes are in ``probes.toml``; a file of the same form can hold others. Of a host task's program a probe takes
what the C program `probe.c` can do: ``run_ns``, ``sleep_ns``, ``timer_ns``, ``sched_yield``, ``signal`` (a byte into a
pipe) and ``wait`` (a byte out of it). A probe has its CPUs to itself, numbered from 0.
"""

import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from vcpu_env.base.errors import nearest
from vcpu_env.scenario.errors import ScenarioError, error_lines
from vcpu_env.scenario.host import Costs, Part
from vcpu_env.scenario.host_tasks import HostTask, Step, expanded, refusal
from vcpu_env.scenario.model import Group, Name
from vcpu_env.scenario.toml_text import read_toml

ACTIONS = ("run_ns", "sleep_ns", "timer_ns", "sched_yield", "signal", "wait")
MAX_TASKS, MAX_STEPS, MAX_PIPES = 256, 64, 64
"""What the C program has room for."""


class Probe(Part):
    """Tasks and cgroups that exercise one mechanism.

    Raises:
        ScenarioError: with one line for every field that is wrong.
    """

    name: Name = Field(description="name in tables and recordings")
    summary: str = Field(description="one line")
    note: str = Field(default="", description="what is known to differ between kernel and simulation, and why")
    cpus: int = Field(default=1, ge=1, le=256, description="CPUs that it needs")
    groups: Annotated[tuple[Group, ...], Field(strict=False)] = Field(default=(), description="its cgroups")
    host_tasks: Annotated[tuple[HostTask, ...], Field(strict=False)] = Field(description="its tasks, at least one")

    def __init__(self, **data: Any):
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise ScenarioError(
                [f"{data.get('name', 'probe')}: {line}" for line in error_lines(Probe, error)]
            ) from None

    @property
    def tasks(self) -> tuple[HostTask, ...]:
        """Every task on its own, copies renamed."""
        return expanded(self.host_tasks)

    @property
    def pipes(self) -> list[str]:
        """Names of all pipes."""
        steps = (step for task in self.host_tasks for step in task.program)
        return list(dict.fromkeys(name for step in steps for name in (step.signal, step.wait) if name is not None))

    @property
    def limited(self) -> list[bool]:
        """Of each task: whether a quota of one of its cgroups can stop it."""
        groups = {group.name: group for group in self.groups}

        def has_quota(name: str | None) -> bool:
            return name is not None and (groups[name].quota_us >= 0 or has_quota(groups[name].parent))

        return [has_quota(task.group) for task in self.tasks]

    @model_validator(mode="after")
    def check_probe(self) -> "Probe":
        """Refuse probes that contradict themselves or that the C program cannot run."""
        parents = {group.parent for group in self.groups}
        leaves = [group.name for group in self.groups if group.name not in parents]
        self._check_groups()
        wrong = refusal(self.host_tasks, self.cpus, leaves, (), Costs())
        if wrong is not None:
            raise ValueError(wrong)
        for what, count, most in (("tasks", len(self.tasks), MAX_TASKS), ("pipes", len(self.pipes), MAX_PIPES)):
            if count > most:
                raise ValueError(f"host_tasks: {count} {what} (allowed: up to {most})")
        if not self.host_tasks:
            raise ValueError("host_tasks: none given (allowed: at least one)")
        for i, task in enumerate(self.host_tasks):
            if leaves and task.group is None:  # as cgroup v2 has it: no tasks beside groups
                raise ValueError(f"host_tasks.{i}.group: missing (allowed: {', '.join(leaves)})")
            if task.weight is not None:
                raise ValueError(f"host_tasks.{i}.weight: value {task.weight} (allowed in a probe: nice in its place)")
            if len(task.program) > MAX_STEPS:
                raise ValueError(f"host_tasks.{i}.program: {len(task.program)} steps (allowed: up to {MAX_STEPS})")
            for j, step in enumerate(task.program):
                wrong = refused_step(step)
                if wrong is not None:
                    raise ValueError(f"host_tasks.{i}.program.{j}.{wrong}")
        return self

    def _check_groups(self) -> None:
        known: set[str] = set()
        for i, group in enumerate(self.groups):
            if group.name in known:
                raise ValueError(f"groups.{i}.name: value '{group.name}' (allowed: a name that is not taken)")
            if group.parent is not None and group.parent not in known:
                raise ValueError(f"groups.{i}.parent: value '{group.parent}' (allowed: a group listed before)")
            known.add(group.name)


def refused_step(step: Step) -> str | None:
    """What of a step the C program cannot do, or None."""
    if step.action not in ACTIONS:
        return f"{step.action}: given (allowed in a probe: {', '.join(ACTIONS)})"
    if step.dist != "fixed":
        return f"dist: value '{step.dist}' (allowed in a probe: fixed)"
    if step.action == "timer_ns" and (step.timer or not step.relative):
        return "timer_ns: (allowed in a probe: timer = 0 and relative = true)"
    if step.action == "signal" and (not step.sync or step.to_all or step.lossy):
        return "signal: (allowed in a probe: sync = true, as a pipe's writer, neither to_all nor lossy)"
    return None


def parse_probes(toml: str, source: str) -> dict[str, Probe]:
    """Probes by name from the text of a TOML file: a table ``[[probes]]`` each.

    Raises:
        ScenarioError: no TOML, no probes, or a probe is wrong.
    """
    try:
        data = read_toml(toml)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"probe: value '{source}' (allowed: a TOML file; {error})") from None
    tables = data.get("probes")
    if data.keys() != {"probes"} or not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
        raise ScenarioError(f"probe: value '{source}' (allowed: a file of tables [[probes]])")
    probes = [Probe(**table) for table in tables]
    named = {probe.name: probe for probe in probes}
    if len(named) < len(probes):
        raise ScenarioError(f"probe: value '{source}' (allowed: each name once)")
    return named


def shipped_probes() -> dict[str, Probe]:
    """The probes that come with the package."""
    text = (resources.files("vcpu_env.realism") / "probes.toml").read_text("utf-8")
    return parse_probes(text, "probes.toml")


def find_probes(wanted: Sequence[str]) -> list[Probe]:
    """Probes by name or from TOML files; all shipped ones if none is named.

    Raises:
        ScenarioError: a name or file does not exist, or a file is wrong.
    """
    shipped = shipped_probes()
    found: dict[str, Probe] = {} if wanted else shipped
    for name in wanted:
        if name.endswith(".toml"):
            try:
                found |= parse_probes(Path(name).read_text("utf-8"), name)
            except (OSError, UnicodeDecodeError) as error:
                raise ScenarioError(f"probe: value '{name}' (allowed: a file that can be read; {error})") from None
        elif name in shipped:
            found[name] = shipped[name]
        else:
            raise ScenarioError(f"probe: value '{name}' (a .toml file or a shipped name; {nearest(name, shipped)})")
    return list(found.values())
