"""Whether VMs without overcommit show the rates that were measured for the real programs.

The measurements: the real programs in a KVM guest with 2 vCPUs (AMD Zen 4, guest kernel 6.18), one to six short runs
each, other jobs at times on the same vCPUs. All rates are per CPU-second that the workload consumed; IPIs are those
received. A value is *near* when it is within 25 % of the measured range. With 16 vCPUs nothing was measured: that
table has no bar and shows only what the model says there.
"""

import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from vcpu_env.counters import measure
from vcpu_env.guest.workloads import APPLICATIONS
from vcpu_env.machine import Machine
from vcpu_env.scenario import load_scenario

TOLERANCE = 0.25
SHAPES = ("1vm-2vcpu", "1vm-16vcpu")
"""The shape that was measured, and the one that the overcommitted scenarios multiply."""

QUANTITIES = {
    "kernel share": "%",
    "voluntary switches": "1/CPU-s",
    "involuntary switches": "1/CPU-s",
    "RESCHEDULE IPIs": "1/CPU-s",
    "TLB-shootdown IPIs": "1/CPU-s",
}
MEASURED = {
    "dbench": ((84, 85), (3, 5), (280, 590), (47, 57), (1, 6)),
    "dedup": ((49, 49), (140, 140), (260, 260), (9, 9), (12_800, 12_800)),
    "vips": ((11, 11), (375, 540), (330, 405), (59, 102), (245, 245)),
    "kbuild": ((14.5, 14.5), (160, 160), (317, 665), (77, 546), (26, 31)),
    "blackscholes": ((1, 3), (9, 87), (240, 355), (16, 16), (0, 3)),
}
"""Lowest and highest run of each quantity. dbench 4.0: 16 clients, tmpfs. PARSEC dedup: 184 MB, -t 16,
MALLOC_ARENA_MAX=128, as on a host with 16 CPUs. vips: im_benchmark 2662x5500, concurrency 16. kbuild: Linux 6.12,
tinyconfig, make -j16. PARSEC blackscholes: 64 K options 100 times, 16 threads. Nothing was measured of ferret.
"""


@dataclass(frozen=True)
class Calibrated:
    """One quantity of one scenario.

    Attributes:
        mean: over the seeds; `low` and `high` are the smallest and the largest.
        measured_low, measured_high: the measured range; None: nothing was measured.
        near: whether the mean is within 25 % of the range; None: nothing was measured.
    """

    scenario: str
    quantity: str
    unit: str
    mean: float
    low: float
    high: float
    measured_low: float | None = None
    measured_high: float | None = None
    near: bool | None = None


def rates(vm: dict[str, Any]) -> tuple[float, ...]:
    """The quantities of one VM's counters."""
    cpu_seconds = vm["run_ns"] * 1e-9
    counts = (vm["nvcsw"], vm["nivcsw"], vm["ipi_reschedule"], vm["ipi_call"])
    return (100 * vm["kernel_ns"] / vm["run_ns"], *(count / cpu_seconds for count in counts))


def calibration(seeds: int) -> Iterator[Calibrated]:
    """Run every application in one VM, without overcommit, once a seed under the stock kernel."""
    for shape in SHAPES:
        for workload in APPLICATIONS:
            scenario = load_scenario(f"{workload}-{shape}")
            runs = [rates(measure(Machine(scenario, seed=s), scenario.run)["vms"][0]) for s in range(seeds)]
            ranges = MEASURED.get(workload) if shape == SHAPES[0] else None
            for i, (quantity, unit) in enumerate(QUANTITIES.items()):
                values = [run[i] for run in runs]
                mean = statistics.fmean(values)
                row = Calibrated(scenario.name, quantity, unit, mean, min(values), max(values))
                yield compared(row, *ranges[i]) if ranges else row


def compared(row: Calibrated, low: float, high: float) -> Calibrated:
    """A row beside its measured range."""
    near = low * (1 - TOLERANCE) <= row.mean <= high * (1 + TOLERANCE)
    return Calibrated(**(asdict(row) | {"measured_low": low, "measured_high": high, "near": near}))
