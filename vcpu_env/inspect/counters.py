"""Counters over time, for a viewer: how many vCPUs of a VM spin, wait, run; its PAUSE-loop window; throttled CPUs."""

from collections.abc import Iterable, Iterator

import numpy as np

from vcpu_env.base.trace_ring import CFS_THROTTLE, KVM_EXIT
from vcpu_env.inspect.activity import KERNEL, PREEMPTED, THROTTLED, USER, WOKEN, Change, slices
from vcpu_env.inspect.recorder import Recording
from vcpu_env.inspect.records import EXITS
from vcpu_env.inspect.rows import PLE_ROW, group_row, vm_row

BIN_NS = 100_000
"""Shares are averages over this time."""

PAUSE_EXIT = next(reason for reason, name in EXITS.items() if name.startswith("PAUSE"))


def share(state: str) -> int | None:
    """Which of a VM's first three counters counts a vCPU in this state."""
    if state.startswith("spin"):
        return 0
    if state in (PREEMPTED, WOKEN, THROTTLED):
        return 1
    return 2 if state in (USER, KERNEL) or state.startswith("irq") else None


def counter_values(recording: Recording, changes: Iterable[Change]) -> Iterator[tuple[int, int, int]]:
    """(row, time in ns, value from then on), from the changes of all vCPUs."""
    length_ns = recording.to_ns - recording.from_ns
    bins = -(-length_ns // BIN_NS)
    times = np.zeros((len(recording.plan.guests), 3, bins), np.int64)
    for v, begin_ns, end_ns, state in slices(changes, recording.to_ns):
        counter, vm = share(state), recording.tasks[v].vm
        if counter is not None:
            add_time(times[vm, counter], begin_ns - recording.from_ns, end_ns - recording.from_ns)
    widths = np.full(bins, BIN_NS)
    widths[-1] = length_ns - (bins - 1) * BIN_NS
    for vm, of_vm in enumerate(times):
        for counter, values in enumerate(of_vm):
            last = None
            for i, percent in enumerate((100 * values // widths).tolist()):
                if percent != last:
                    last = percent
                    yield vm_row(vm, 1 + counter), recording.from_ns + i * BIN_NS, percent
    exits = recording.of_kind(KVM_EXIT)
    for entry in exits[exits["a"] == PAUSE_EXIT].tolist():
        yield vm_row(recording.tasks[entry[3]].vm or 0, 1 + PLE_ROW), entry[0], entry[5]


def add_time(bins: np.ndarray, begin_ns: int, end_ns: int) -> None:
    """Add a piece of time to the bins that it lies in."""
    first, last = begin_ns // BIN_NS, (end_ns - 1) // BIN_NS
    if first == last:
        bins[first] += end_ns - begin_ns
        return
    bins[first] += (first + 1) * BIN_NS - begin_ns
    bins[first + 1 : last] += BIN_NS
    bins[last] += end_ns - last * BIN_NS


def throttled_at_start(recording: Recording) -> dict[int, int]:
    """Of each task group that is throttled at some time of the recording, on how many CPUs it is when that begins."""
    w = recording.start
    found = dict.fromkeys(recording.of_kind(CFS_THROTTLE)["who"].tolist(), 0)
    if "cfs_rq_bandwidth" in w.arrays:
        for tg in w["cfs_rq"]["tg"][w["cfs_rq_bandwidth"]["throttled"] != 0].tolist():
            found[tg] = found.get(tg, 0) + 1
    return found


def throttled_values(recording: Recording) -> Iterator[tuple[int, int, int]]:
    """(row, time in ns, on how many CPUs a group is throttled from then on)."""
    counts = throttled_at_start(recording)
    for tg, count in counts.items():
        yield group_row(tg), recording.from_ns, count
    for time_ns, _, _, tg, throttled, *_ in recording.of_kind(CFS_THROTTLE).tolist():
        counts[tg] += 1 if throttled else -1
        yield group_row(tg), time_ns, counts[tg]
