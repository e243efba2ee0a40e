"""Counters of a VM over time, for a viewer: how many vCPUs spin, wait, run; the PAUSE-loop window."""

from collections.abc import Iterable, Iterator

import numpy as np

from vcpu_env.base.trace_ring import KVM_EXIT
from vcpu_env.inspect.activity import KERNEL, PREEMPTED, USER, WOKEN, Change, slices
from vcpu_env.inspect.recorder import Recording
from vcpu_env.inspect.records import EXITS
from vcpu_env.inspect.rows import PLE_ROW, vm_row

BIN_NS = 100_000
"""Shares are averages over this time."""

PAUSE_EXIT = next(reason for reason, name in EXITS.items() if name.startswith("PAUSE"))


def share(state: str) -> int | None:
    """Which of a VM's first three counters counts a vCPU in this state."""
    if state.startswith("spin"):
        return 0
    if state in (PREEMPTED, WOKEN):
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
