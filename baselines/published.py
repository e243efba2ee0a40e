"""Gains that the authors of the series published, shown beside ours: predictions to test, never targets to tune to.

Runs: 16 pCPUs, 16 vCPUs per VM, 2 to 4 VMs. Dbench was measured with the scheduler side alone (patch 5 of 9), Dedup and
VIPS with the patches up to IPI-aware selection. v1 and v2 print the same numbers; v3 measured again, 120 runs per
point, and reports Dedup and VIPS as a reduction r of latency, which is a throughput gain of 1 / (1 - r) - 1. None gives
a variance, a tick rate or a cgroup layout.
Sources, on lore.kernel.org: 20251219035334.39790-1-kernellwp@gmail.com (v2),
20260612013355.59231-1-kernellwp@gmail.com (v3).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """Published relative change of throughput in one scenario.

    Attributes:
        policy: the baseline that stands for the kernel that was measured.
        v2: change printed in v1 and v2.
        v3: change measured again for v3.
        v3_from_latency: whether `v3` was converted from a reduction of latency.
    """

    policy: str
    v2: float
    v3: float
    v3_from_latency: bool


def gain_from_latency(reduction: float) -> float:
    """Throughput gain that a relative reduction of latency amounts to."""
    return 1.0 / (1.0 - reduction) - 1.0


_DBENCH = {2: (0.144, 0.0665), 3: (0.098, 0.0480), 4: (0.067, 0.0759)}
_DEDUP = {2: (0.471, 0.0887), 3: (0.281, 0.1029), 4: (0.017, 0.1560)}
_VIPS = {2: (0.262, 0.1023), 3: (0.127, 0.0663), 4: (0.060, 0.0450)}

PUBLISHED: dict[str, Published] = {
    f"dbench-{vms}vm": Published("debooster", v2, v3, False) for vms, (v2, v3) in _DBENCH.items()
} | {
    f"{name}-{vms}vm": Published("series-v2", v2, gain_from_latency(reduction), True)
    for name, table in (("dedup", _DEDUP), ("vips", _VIPS))
    for vms, (v2, reduction) in table.items()
}
"""The nine published cells, by scenario."""
