"""Cells of an experiment: one (scenario, policy, seed) each, independent of all others, and what one measures."""

import functools
import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from baselines.policies import PolicySource
from vcpu_env.base.code_cache import source_hash
from vcpu_env.base.errors import InputError
from vcpu_env.build.stall import StalledError
from vcpu_env.counters import measure
from vcpu_env.policy.rules import RuleError
from vcpu_env.precompile import ensure_compiled
from vcpu_env.scenario import Scenario

MACHINE = "vcpu_env.machine:Machine"
"""Import path of the machine; by path, so that worker processes find it."""

ROW_FORMAT = 2
"""Counted up whenever `table_row` changes what its columns mean."""

Row = dict[str, Any]

source_id = functools.cache(source_hash)


class CellError(InputError):
    """A cell that cannot be built or run."""


@dataclass(frozen=True)
class Cell:
    """One run of one scenario under one policy with one seed."""

    scenario: Scenario
    policy: PolicySource
    seed: int

    @functools.cached_property
    def key(self) -> str:
        """Address by content: changes with the scenario, the policy, the seed and the source of the simulator."""
        policy = [self.policy.label, self.policy.digest]
        content = [self.scenario.model_dump(mode="json"), policy, self.seed, source_id(), ROW_FORMAT]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.scenario.name}, {self.policy.label}, seed {self.seed}"


def load_object(path: str) -> Any:
    """The object that an import path ``module:name`` means."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def compile_here() -> str:
    """Compile the simulator on this machine; returns the hash of its source."""
    ensure_compiled()
    return source_id()


def run_cell(cell: Cell, machine: str = MACHINE) -> Row:
    """Run a cell and return what it counted between the end of the warm-up and the end of the run.

    Raises:
        CellError: if the machine refuses the scenario or the policy, or a rule's answer, or its time stands still.
    """
    try:
        running = cell.policy.machine(cell.scenario, cell.seed, load_object(machine))
    except ValueError as error:
        raise CellError(f"{cell}: {error}") from None
    try:
        return table_row(cell, measure(running, cell.scenario.run))
    except (RuleError, StalledError) as error:
        raise CellError(f"{cell}: {error}") from None


def rate(vm: Mapping[str, Any], time_ns: int) -> float:
    """A VM's throughput, per second that it existed."""
    alive_ns = vm.get("alive_ns", time_ns)
    return float(vm["work_units"] / (alive_ns / 1e9)) if alive_ns else 0.0


def table_row(cell: Cell, counted: Mapping[str, Any]) -> Row:
    """A cell's counters as one row: those of VMs as sum and list, the others with their group's name in front."""
    vms = counted["vms"]
    rates = [rate(vm, counted["time_ns"]) for vm in vms]
    row: Row = {
        "scenario": cell.scenario.name,
        "layout": cell.scenario.layout,
        "policy": cell.policy.label,
        "seed": cell.seed,
        "time_ns": counted["time_ns"],
        "events": counted["events"],
        "units_per_s": sum(rates),
        "vm_name": [vm["name"] for vm in vms],
        "vm_workload": [vm["workload"] for vm in vms],
        "vm_units_per_s": rates,
    }
    for name in vms[0]:
        if name not in ("name", "workload", "work_units"):
            values = [vm[name] for vm in vms]
            row[name] = (
                [sum(counts) for counts in zip(*values, strict=True)] if isinstance(values[0], list) else sum(values)
            )
            row[f"vm_{name}"] = values
    for group, values in counted.items():
        if isinstance(values, Mapping):
            row |= {f"{group}_{name}": value for name, value in values.items()}
    return row
