"""All that a machine does in a window of time, with how everything stood when the window began."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vcpu_env.base.trace_ring import ALL_GROUPS, trace_arrays, trace_record
from vcpu_env.base.world import World
from vcpu_env.build.blueprint import Blueprint
from vcpu_env.inspect.names import Task, group_names, lock_names, tasks_of, thread_names
from vcpu_env.machine import Machine
from vcpu_env.scenario.errors import InputError

RECORD_BYTES = trace_record.dtype.itemsize
DEFAULT_LIMIT = 4_000_000
NORMAL_PRIORITY, MOST_RT_PRIORITY = 120, 99
MOST_RECORDS = 16_000_000
"""As many as a machine of the largest size that is allowed by default has room for (`build.size`)."""


class RecordError(InputError):
    """A window that cannot be recorded."""


@dataclass(frozen=True, eq=False)
class Recording:
    """A window of a run.

    Attributes:
        plan: what the machine is made of.
        policy: the name of its policy.
        from_ns, to_ns: begin and end of the window.
        records: what happened, in order, `base.trace_ring.trace_record`s.
        start, end: the machine's state at begin and end.
    """

    plan: Blueprint
    policy: str
    from_ns: int
    to_ns: int
    records: np.ndarray
    start: World
    end: World

    @cached_property
    def entries(self) -> list[tuple[int, ...]]:
        """The records as tuples: time, kind, CPU, who, a, b, c, d."""
        return self.records.tolist()

    @property
    def nr_cpus(self) -> int:
        """CPUs of the host."""
        return self.plan.scenario.host.cpus

    @property
    def nr_vcpus(self) -> int:
        """vCPUs of all VMs; they are the first tasks."""
        return self.plan.nr_vcpus

    @cached_property
    def tasks(self) -> list[Task]:
        """All tasks of the host, by id."""
        return tasks_of(self.plan)

    @cached_property
    def vm_spans(self) -> list[tuple[int, int]]:
        """Of each VM its first vCPU, and how many it has."""
        kvm = self.start["kvm"]
        return list(zip(kvm["first_vcpu"].tolist(), kvm["nr_vcpus"].tolist(), strict=True))

    @cached_property
    def priorities(self) -> list[int]:
        """Of each task the priority that the kernel's tracepoints show: 120, of real-time threads 0 .. 98."""
        if "sched_rt_entity" not in self.start.arrays:
            return [NORMAL_PRIORITY] * len(self.tasks)
        given = self.start["sched_rt_entity"]["priority"][: len(self.tasks)].tolist()
        return [MOST_RT_PRIORITY - priority if priority else NORMAL_PRIORITY for priority in given]

    @cached_property
    def groups(self) -> list[str]:
        """Names of the task groups."""
        return group_names(self.plan)

    @cached_property
    def threads(self) -> list[str]:
        """Names of the guest threads."""
        return thread_names(self.plan)

    @cached_property
    def locks(self) -> list[str]:
        """Names of the guests' locks."""
        return lock_names(self.plan)

    def of_kind(self, kind: int) -> np.ndarray:
        """The records of one kind."""
        return self.records[self.records["kind"] == kind]


def record(
    machine: Machine, from_ns: int, to_ns: int, limit: int = DEFAULT_LIMIT, groups: int = ALL_GROUPS
) -> Recording:
    """Run a machine up to `to_ns` and keep what happens from `from_ns` on.

    Args:
        machine: one that has not run further than `from_ns`.
        limit: the most records that may be needed.
        groups: what is kept, bits of `base.trace_ring.GROUPS`.

    Raises:
        RecordError: the window is empty or lies in the past, or more records are needed than `limit`.
        ValueError: as of `Machine.run_until`.
    """
    if not machine.now_ns <= from_ns < to_ns:
        raise RecordError(f"window: {from_ns}..{to_ns} ns (allowed: from {machine.now_ns} ns on, not empty)")
    machine.run_until(from_ns)
    return record_from_here(machine, to_ns, limit, groups)


def record_from_here(machine: Machine, to_ns: int, limit: int = DEFAULT_LIMIT, groups: int = ALL_GROUPS) -> Recording:
    """The same from the machine's present instant on; it may stand at a decision that has been answered.

    Raises:
        RecordError, ValueError: as of `record`.
    """
    start, from_ns = machine.world.copy(), machine.now_ns
    machine.world = start.extended(trace_arrays(limit))
    ring = machine.world["trace_ring"]
    ring["length"], machine.world.traced = limit, groups
    machine.run_until(to_ns)
    written = int(ring["written"][0])
    if written > limit:
        size = written * RECORD_BYTES / 1e6
        raise RecordError(
            f"--limit: value {limit} (allowed: from {written} on: the window has so many records, {size:,.0f} MB)"
        )
    records = machine.world["trace_record"][:written].copy()
    machine.world = machine.world.narrowed(list(start.arrays.values()))
    return Recording(machine.blueprint, machine.policy_name, from_ns, to_ns, records, start, machine.world.copy())
