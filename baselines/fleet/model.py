"""A fleet as data: how many hosts of what kind, which VMs are drawn for them, and what limits they shall keep."""

import math
import tomllib
from bisect import bisect
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from baselines.experiment import LARGEST_SEED, MOST_CELLS, Texts
from baselines.fleet.traces import TRACES
from vcpu_env.base.errors import InputError, nearest, shown
from vcpu_env.build.guests import guest_plans
from vcpu_env.scenario import Scenario, apply_overrides
from vcpu_env.scenario.errors import error_lines
from vcpu_env.scenario.host import Part
from vcpu_env.scenario.model import Name
from vcpu_env.scenario.toml_text import read_toml

Key = TypeVar("Key", int, str)
LARGEST_RATIO = 64.0
LARGEST_SIZE = 64
PARTS = ("host", "kvm", "guest_costs", "run", "workloads")
"""What of a scenario a fleet's hosts have in common."""


class FleetError(InputError):
    """A fleet that cannot be, with one line for every wrong field."""


def _weights(value: Any) -> dict[str, float]:
    """Names with their shares; these need not add up to one."""
    if not isinstance(value, dict) or not value:
        raise ValueError(f": value {shown(value)} (allowed: a table of names, each with a share)")
    for name, share in value.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < math.inf:
            raise ValueError(f".{name}: value {shown(share)} (allowed: a number above 0)")
    return {str(name): float(share) for name, share in value.items()}


def _sizes(value: Any) -> Any:
    """Shares of VMs by vCPUs: a trace by name, or a table."""
    if isinstance(value, str):
        if value not in TRACES:
            raise ValueError(f": value {shown(value)} ({nearest(value, TRACES)})")
        return dict(TRACES[value].sizes)
    sizes = _weights(value)
    for name in sizes:
        if not (name.isascii() and name.isdigit() and 1 <= int(name) <= LARGEST_SIZE):
            raise ValueError(f": value {shown(name)} (allowed: numbers of vCPUs, 1..{LARGEST_SIZE})")
    return {int(name): share for name, share in sizes.items()}


def _ratios(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f": value {shown(value)} (allowed: a list of numbers)")
    for ratio in value:
        if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio <= LARGEST_RATIO:
            raise ValueError(f": value {shown(ratio)} (allowed: numbers above 0, up to {LARGEST_RATIO:g})")
    return tuple(sorted({float(ratio) for ratio in value}))


def _parts(value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f": value {shown(value)} (allowed: a table)")
    for name in value:
        if name not in PARTS:
            raise ValueError(f".{name}: unknown field ({nearest(name, PARTS)})")
    return value


class Limits(Part):
    """What VMs shall keep; at least one of the first three.

    A VM in which nothing was counted (nobody waited for a lock) keeps the limit of it.
    """

    ready: float | None = Field(default=None, gt=0, le=1, description="CPU Ready, a part of the vCPUs' time")
    lock_p99_ns: int | None = Field(default=None, ge=1, le=2**40, description="99th percentile of waits for a lock")
    ipi_p99_ns: int | None = Field(default=None, ge=1, le=2**40, description="that of an IPI, sent to handled")
    vms: float = Field(default=0.95, gt=0, le=1, description="part of all VMs that shall keep them")

    @model_validator(mode="after")
    def check_some(self) -> "Limits":
        """Refuse limits that limit nothing."""
        if self.ready is None and self.lock_p99_ns is None and self.ipi_p99_ns is None:
            raise ValueError(": nothing limited (allowed: at least one of ready, lock_p99_ns, ipi_p99_ns)")
        return self


class Fleet(Part):
    """Hosts with VMs drawn at random."""

    name: Name = Field(description="name in tables and files")
    hosts: int = Field(default=50, ge=2, le=100_000, description="hosts of each ratio")
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED, description="of the drawing of VMs")
    ratios: Annotated[tuple[float, ...], BeforeValidator(_ratios)] = Field(
        default=(1.0, 1.5, 2.0, 3.0, 4.0), description="vCPUs for each CPU"
    )
    policy: str = Field(default="stock", description="of every host")
    sizes: Annotated[dict[int, float], BeforeValidator(_sizes)] = Field(
        description="shares of VMs by vCPUs, or the name of a trace"
    )
    mix: Annotated[dict[str, float], BeforeValidator(_weights)] = Field(description="shares of VMs by program")
    limits: Limits = Field(description="what VMs shall keep")
    set: Texts = Field(default=(), description="changes of every host, KEY=VALUE")
    scenario: Annotated[dict[str, Any], BeforeValidator(_parts)] = Field(
        default_factory=dict, description="what all hosts have in common, as in a scenario"
    )

    def of(self, name: str, vms: list[dict[str, Any]]) -> Scenario:
        """A host with these VMs.

        Raises:
            ScenarioError: it cannot be.
        """
        return apply_overrides(Scenario(**self.scenario | {"name": name, "vms": vms}), list(self.set))

    @property
    def kernel(self) -> str:
        """The kernel of all hosts."""
        return self.of("host", [{"name": "vm", "vcpus": 1, "workload": next(iter(self.mix))}]).host.kernel

    @property
    def example(self) -> Scenario:
        """A host with one small VM."""
        return self.of(self.name, [{"name": "vm", "vcpus": 1, "workload": next(iter(self.mix))}])

    @property
    def cpus(self) -> int:
        """CPUs of a host."""
        return self.example.host.cpus

    @property
    def host_s(self) -> float:
        """Simulated seconds of a host, warm-up included."""
        run = self.example.run
        return (run.warmup_ns + run.duration_ns) / 1e9

    @property
    def kinds(self) -> list[tuple[int, str]]:
        """Every size with every program."""
        return [(size, program) for size in self.sizes for program in self.mix]


def load_fleet(path: Path) -> Fleet:
    """The fleet that a TOML file describes.

    Raises:
        FleetError, ScenarioError: there is no such file, or it is wrong.
    """
    try:
        data = read_toml(path.read_text("utf-8"))
    except OSError as error:
        raise FleetError(f"FILE: value '{path}' (allowed: a file that can be read; {error.strerror})") from None
    except UnicodeDecodeError:
        raise FleetError(f"FILE: value '{path}' (allowed: a TOML file in UTF-8)") from None
    except tomllib.TOMLDecodeError as error:
        raise FleetError(f"FILE: value '{path}' (allowed: a TOML file; {error})") from None
    return checked_fleet({"name": path.stem} | data)


def checked_fleet(data: Mapping[str, Any]) -> Fleet:
    """A fleet from data, each of its kinds of VM tried.

    Raises:
        FleetError, ScenarioError: it cannot be.
    """
    try:
        fleet = Fleet(**data)
    except ValidationError as error:
        lines = error_lines(Fleet, error)
        raise FleetError(f"fleet {shown(data['name'])}: {line}" for line in lines) from None
    if (cells := fleet.hosts * len(fleet.ratios)) > MOST_CELLS:
        raise FleetError(f"fleet {fleet.name}: {cells:,} hosts in all (allowed: {MOST_CELLS:,})")
    cpus = fleet.cpus
    for size in fleet.sizes:
        if size > fleet.ratios[0] * cpus:
            room = math.floor(fleet.ratios[0] * cpus)
            raise FleetError(f"sizes: value {size} (allowed: up to {room}, what a host has at {fleet.ratios[0]:g}:1)")
    for size, program in fleet.kinds:
        try:
            guest_plans(fleet.of(fleet.name, [{"name": "vm", "vcpus": size, "workload": program}]))
        except ValueError as error:
            raise FleetError(f"mix.{program}: {error}") from None
    return fleet


def draw(fleet: Fleet, cpus: int, ratio: float, host: int) -> list[tuple[int, str]]:
    """The VMs of a host: drawn until there is no room for another; what does not fit any more is not drawn.

    A host's draws are the same at every ratio, as far as they fit: at a higher one it has more VMs.
    """
    random = np.random.default_rng([fleet.seed, host])
    room = round(ratio * cpus)
    vms = []
    while fitting := {size: share for size, share in fleet.sizes.items() if size <= room}:
        u, v = random.random(2).tolist()  # two numbers a VM, whatever fits, so that draws stay the same at every ratio
        vms.append((picked(fitting, u), picked(fleet.mix, v)))
        room -= vms[-1][0]
    return vms


def picked(shares: Mapping[Key, float], u: float) -> Key:
    """The one of some things, each with its share, that a number from 0 to 1 means."""
    bounds = list(accumulate(shares.values()))
    return list(shares)[min(bisect(bounds, u * bounds[-1]), len(bounds) - 1)]


def scenario_of(fleet: Fleet, vms: list[tuple[int, str]], name: str) -> Scenario:
    """A host with drawn VMs."""
    return fleet.of(
        name, [{"name": f"vm-{i}", "vcpus": size, "workload": program} for i, (size, program) in enumerate(vms)]
    )
