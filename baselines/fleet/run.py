"""Runs a fleet: a cell a host, stored as it comes, of which only what is asked for is kept."""

import functools
import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from baselines.cells import MACHINE, Cell, Row, run_cell, source_id
from baselines.evaluate import prepare
from baselines.fleet.model import Fleet, draw, scenario_of
from baselines.fleet.tally import Tally
from baselines.policies import PolicySource, choose_policies
from baselines.store import Store
from vcpu_env import __version__
from vcpu_env.executors.base import Executor
from vcpu_env.policy.named import POLICIES
from vcpu_env.progress import Progress

BATCH = 500
"""Hosts whose rows are in memory at a time."""
ALONE_SEEDS = 3
KEPT = (
    *("vm_workload", "vm_units_per_s", "vm_alive_ns", "vm_ready_ns", "vm_steal_ns"),
    *("vm_lock_wait_log2", "vm_ipi_latency_log2", "time_ns", "events"),
)
"""Columns of a cell's row that are kept of a host."""


@dataclass
class Cost:
    """What hosts with drawn VMs have cost that were run now, not found in the store.

    Attributes:
        cpu_s: CPU time.
        simulated_s: simulated time, warm-up included.
    """

    cpu_s: float = 0.0
    simulated_s: float = 0.0

    @property
    def each(self) -> float:
        """CPU time for each simulated second; NaN where nothing was run."""
        return self.cpu_s / self.simulated_s if self.simulated_s else math.nan


@dataclass
class Answer:
    """What came out.

    Attributes:
        tallies: of each ratio.
        rows: a row a host, without histograms.
        costs: of what was run now, of each ratio.
    """

    fleet: Fleet
    tallies: dict[float, Tally] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    costs: dict[float, Cost] = field(default_factory=dict)


def run_host(cell: Cell, machine: str) -> tuple[Row, float]:
    """A host's row, as far as it is kept, and the CPU time that it took."""
    begin = time.process_time()
    row = run_cell(cell, machine)
    row = {name: row[name] for name in KEPT} | {"vm_vcpus": [vm.vcpus for vm in cell.scenario.expanded_vms]}
    return row, time.process_time() - begin


class Run:
    """Runs the hosts of a fleet.

    Args:
        executor: where.
        machine: import path of the machine.
    """

    def __init__(self, fleet: Fleet, executor: Executor, machine: str = MACHINE):
        self.fleet, self.executor, self.machine, self.cpus = fleet, executor, machine, fleet.cpus
        wanted = choose_policies([fleet.policy], POLICIES)
        self.policy: PolicySource = next(one for one in wanted if one.label == fleet.policy or len(wanted) == 1)
        self.prepared = machine != MACHINE

    def manifest(self) -> dict[str, Any]:
        """Everything that the answer depends on."""
        return {
            "version": __version__,
            "source": source_id(),
            "experiment": "fleet",
            "title": f"the fleet {self.fleet.name}",
            "policies": [{"label": self.policy.label, "digest": self.policy.digest}],
            "seeds": [0, self.fleet.hosts],
            "cases": [],
            "fleet": self.fleet.model_dump(mode="json"),
        }

    @property
    def name(self) -> str:
        """``fleet-HASH``: the same for the same fleet on the same simulator."""
        content = json.dumps(self.manifest(), sort_keys=True)
        return f"fleet-{hashlib.sha256(content.encode()).hexdigest()[:8]}"

    def host(self, ratio: float, number: int) -> Cell:
        """A host at a ratio."""
        vms = draw(self.fleet, self.cpus, ratio, number)
        scenario = scenario_of(self.fleet, vms, f"{self.fleet.name[:40]}.{ratio:g}.{number}")
        return Cell(scenario, self.policy, number)

    def alone(self) -> dict[tuple[int, str], list[Cell]]:
        """Every kind of VM alone on a host."""
        cells = {}
        for i, kind in enumerate(self.fleet.kinds):
            scenario = scenario_of(self.fleet, [kind], f"{self.fleet.name[:40]}.alone.{i}")
            cells[kind] = [Cell(scenario, self.policy, seed) for seed in range(ALONE_SEEDS)]
        return cells

    def answer(self, store: Store) -> Answer:
        """Run what the store does not hold yet, batch by batch, and count."""
        answer = Answer(self.fleet)
        alone = self.alone()
        total = sum(map(len, alone.values())) + self.fleet.hosts * len(self.fleet.ratios)
        with Progress("simulating", total, "hosts") as progress:
            lonely = self.rows([cell for cells in alone.values() for cell in cells], store, Cost(), progress)
            rates = {
                kind: float(np.mean([lonely[cell.key]["vm_units_per_s"][0] for cell in cells]))
                for kind, cells in alone.items()
            }
            for ratio in self.fleet.ratios:
                tally = answer.tallies[ratio] = Tally(self.fleet.limits)
                cost = answer.costs[ratio] = Cost()
                for first in range(0, self.fleet.hosts, BATCH):
                    numbers = range(first, min(first + BATCH, self.fleet.hosts))
                    cells = [self.host(ratio, number) for number in numbers]
                    rows = self.rows(cells, store, cost, progress)
                    for number, cell in zip(numbers, cells, strict=True):
                        answer.rows.append({"ratio": ratio, "host": number} | tally.add(rows[cell.key], rates))
        return answer

    def rows(self, cells: Sequence[Cell], store: Store, cost: Cost, progress: Progress) -> dict[str, Row]:
        """The rows of some hosts: those in the store, the others run now and stored."""
        found = store.held(cells)
        missing = [cell for cell in cells if cell.key not in found]
        before = progress.done
        progress.show(before + len(found), "found")
        for cell, row, cpu_s in self.run(missing):
            store.save(cell, row)
            found[cell.key] = row
            run = cell.scenario.run
            cost.cpu_s += cpu_s
            cost.simulated_s += (run.warmup_ns + run.duration_ns) / 1e9
            progress.show(before + len(found), cell.scenario.name)
        return found

    def run(self, cells: Sequence[Cell]) -> Iterator[tuple[Cell, Row, float]]:
        """Run hosts: each with its row and the CPU time that it took, as they come."""
        if not cells:
            return
        if not self.prepared:
            prepare(self.executor)
            self.prepared = True
        for i, (row, cpu_s) in self.executor.map(functools.partial(run_host, machine=self.machine), cells):
            yield cells[i], row, cpu_s
