"""A host without guests whose scheduler's state is set by hand: what recorded calls of single functions need."""

from collections.abc import Sequence

import numpy as np

from vcpu_env.base.world import World
from vcpu_env.kernel.build import Group, Task, build_kernel
from vcpu_env.kernel.topology import Cpu, domains_of
from vcpu_env.kernel.types import kernel_arrays

MAX_CPUS = 62
"""Sets of CPUs are bit masks of one word."""


class SmpHost:
    """A kernel on CPUs of any topology, nothing started."""

    def __init__(self, cpus: Sequence[Cpu], tasks: Sequence[Task], groups: Sequence[Group] = ()):
        domains = domains_of(cpus)
        levels, nr_llcs = len(domains.levels), domains.nr_llcs
        self.world = World(kernel_arrays(len(cpus), len(tasks), len(groups), levels, nr_llcs))
        build_kernel(self.world, len(cpus), tasks, groups, cpus=cpus)
        self.w, self.nr_cpus = self.world.handle, len(cpus)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.world[name]

    def llcs(self) -> dict[int, int]:
        """First CPU of each last-level cache -> the cache's number."""
        first: dict[int, int] = {}
        for cpu, llc in enumerate(self["rq"]["llc"].tolist()):
            if llc not in first.values():
                first[cpu] = llc
        return first

    def domain(self, cpu: int, level: int) -> int:
        """A CPU's domain, counted from the lowest."""
        sd = int(self["rq"]["sd"][cpu])
        for _ in range(level):
            sd = int(self["sched_domain"]["parent"][sd])
        return sd

    def ring(self, sd: int) -> list[int]:
        """The groups of a domain, from the CPU's own."""
        first = int(self["sched_domain"]["group"][sd])
        groups, g = [first], int(self["sched_group"]["next"][first])
        while g != first:
            groups.append(g)
            g = int(self["sched_group"]["next"][g])
        return groups

    def group_mask(self, g: int) -> int:
        """The CPUs of a group."""
        group = self["sched_group"][g]
        members = self["span_cpu"]["cpu"][int(group["first"]) : int(group["first"]) + int(group["weight"])]
        return sum(1 << int(cpu) for cpu in members)


def cpus_of_header(header: dict) -> list[Cpu]:
    """Where the header of a file of recorded calls says that each CPU is.

    Raises:
        ValueError: no CPUs, or too many.
    """
    places = header["cpus"]
    if not 2 <= len(places) <= MAX_CPUS or any(len(place) != 3 for place in places):
        raise ValueError(f"header.cpus: {len(places)} CPUs (allowed: 2 to {MAX_CPUS}, each [core, cache, node])")
    return [Cpu(*(int(number) for number in place)) for place in places]
