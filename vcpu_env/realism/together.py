"""What the CPUs of a probe do together: whether they run tasks of one cgroup, and when they change between cgroups.

A host of VMs that all CPUs serve in step schedules gangs without meaning to; one whose CPUs change independently does
not. Groups are those directly below the probe's own, a VM's in a probe of VMs; tasks without groups count one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vcpu_env.realism.probe import Probe
from vcpu_env.realism.recording import Run
from vcpu_env.realism.stays import all_stays

NOBODY = -1


@dataclass(frozen=True)
class Together:
    """One run of a probe.

    Attributes:
        gang_index: of the time in which all CPUs run tasks of the probe, the share in which they run those of one
            group; NaN if there is none.
        switch_phase: where the changes of one CPU lie between those of another: 0 all at the same time, 1 always half
            way, 0.5 without any relation; NaN if too few.
        limited_spread: of the tasks under a quota, how far the most and the least served are apart, as a share of a
            CPU; NaN if there are not two.
    """

    gang_index: float
    switch_phase: float
    limited_spread: float


def top_groups(probe: Probe) -> list[int]:
    """The number of each task's group directly below the probe's own."""
    parents = {group.name: group.parent for group in probe.groups}
    names = []
    for task in probe.tasks:
        name = task.group if task.group is not None else f"task {task.name}"
        while parents.get(name) is not None:
            name = parents[name] or name
        names.append(name)
    numbers = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return [numbers[name] for name in names]


def running_group(stays: np.ndarray, groups: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The group that a CPU, whose stays these are, runs at each time; NOBODY: none of the probe."""
    if not len(stays):
        return np.full(len(times), NOBODY)
    i = np.searchsorted(stays["begin_ns"], times, side="right") - 1
    inside = (i >= 0) & (times < stays["end_ns"][np.maximum(i, 0)])
    return np.where(inside, groups[stays["pid"][np.maximum(i, 0)] - 1], NOBODY)


def gang_index(by_cpu: Sequence[np.ndarray], groups: np.ndarray, begin_ns: int, end_ns: int) -> float:
    """See `Together.gang_index`."""
    edges = [np.concatenate([stays["begin_ns"], stays["end_ns"]]) for stays in by_cpu]
    times = np.unique(np.clip(np.concatenate([*edges, [begin_ns, end_ns]]), begin_ns, end_ns))
    lengths, since = np.diff(times), times[:-1]
    running = np.array([running_group(stays, groups, since) for stays in by_cpu])
    busy = (running != NOBODY).all(axis=0)
    alike = busy & (running == running[0]).all(axis=0)
    return float(lengths[alike].sum() / lengths[busy].sum()) if busy.any() else np.nan


def changes(stays: np.ndarray, groups: np.ndarray, begin_ns: int, end_ns: int) -> np.ndarray:
    """When a CPU begins to run another group than before, within a window."""
    group = groups[stays["pid"] - 1]
    times = stays["begin_ns"][1:][group[1:] != group[:-1]]
    return times[(times >= begin_ns) & (times < end_ns)]


def phases(times: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Where each time lies between the two of `others` around it: 0 at one of them, 1 in the middle."""
    after = np.searchsorted(others, times, side="right")
    inner = (after > 0) & (after < len(others))
    last, following, times = others[after[inner] - 1], others[after[inner]], times[inner]
    return 2 * np.minimum(times - last, following - times) / np.maximum(following - last, 1)


def measure_together(probe: Probe, run: Run) -> Together:
    """What the CPUs of a probe did together in one run."""
    groups = np.array(top_groups(probe))
    limited = {pid for pid, has_quota in enumerate(probe.limited, start=1) if has_quota}
    _, stays = all_stays(run.events, run.end_ns, limited)
    by_cpu = [stays[stays["cpu"] == cpu] for cpu in np.unique(stays["cpu"])]
    by_cpu += [stays[:0]] * (probe.cpus - len(by_cpu))
    when = [changes(own, groups, run.begin_ns, run.end_ns) for own in by_cpu]
    found = [phases(mine, other) for i, mine in enumerate(when) for j, other in enumerate(when) if i != j]
    pooled = np.concatenate(found) if found else np.zeros(0)
    ran = np.clip(stays["end_ns"], run.begin_ns, run.end_ns) - np.clip(stays["begin_ns"], run.begin_ns, run.end_ns)
    shares = [ran[stays["pid"] == pid].sum() / (run.end_ns - run.begin_ns) for pid in sorted(limited)]
    return Together(
        gang_index=gang_index(by_cpu, groups, run.begin_ns, run.end_ns),
        switch_phase=float(pooled.mean()) if len(pooled) else np.nan,
        limited_spread=float(max(shares) - min(shares)) if len(shares) > 1 else np.nan,
    )
