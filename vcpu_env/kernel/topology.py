"""sched/topology.c: the scheduling domains of a host, from which core, last-level cache and node each CPU is in.

Four levels: SMT (the threads of a core), MC (the cores of a last-level cache), PKG (the caches of a node), NUMA (all
nodes, equally far from each other). A level that adds nothing is dropped: that of a single CPU, and one that spans what
the level below does. A domain's groups are the domains one level down, or its single CPUs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vcpu_env.base.jit import NIL
from vcpu_env.base.world import World
from vcpu_env.kernel.domain_types import SD_NUMA, SD_PREFER_SIBLING, SD_SHARE_CPUCAPACITY, SD_SHARE_LLC


class Cpu(NamedTuple):
    """Where a CPU is: numbers of its core, last-level cache and node, unique on the host."""

    core: int
    llc: int
    node: int


class Level(NamedTuple):
    """A level of domains; its number is its place in `LEVELS`."""

    flags: int
    imbalance_pct: int
    cache_nice_tries: int


SMT, MC, PKG, NUMA = range(4)
LEVELS = (
    Level(SD_SHARE_CPUCAPACITY | SD_SHARE_LLC | SD_PREFER_SIBLING, 110, 0),
    Level(SD_SHARE_LLC | SD_PREFER_SIBLING, 117, 1),
    Level(SD_PREFER_SIBLING, 117, 1),
    Level(SD_NUMA, 117, 2),
)
"""sd_init(), sd_flags of the levels."""

Span = tuple[int, ...]


@dataclass(frozen=True)
class Domains:
    """The domains of a host: for each CPU the levels it has, lowest first, each with the CPUs that it spans."""

    cpus: tuple[Cpu, ...]
    chains: tuple[tuple[tuple[int, Span], ...], ...]

    @property
    def levels(self) -> list[int]:
        """The levels that some CPU has."""
        return sorted({level for chain in self.chains for level, _ in chain})

    @property
    def nr_llcs(self) -> int:
        """Number of last-level caches."""
        return len({cpu.llc for cpu in self.cpus})


def one_llc(nr_cpus: int) -> list[Cpu]:
    """Cores without SMT that share everything."""
    return [Cpu(cpu, 0, 0) for cpu in range(nr_cpus)]


def spans_of(cpus: Sequence[Cpu], me: int) -> list[Span]:
    """The CPUs in the same core, cache and node as CPU `me`, and all CPUs."""
    mine = cpus[me]
    core, llc, node = (
        tuple(i for i, other in enumerate(cpus) if other[field] == mine[field]) for field in range(len(mine))
    )
    return [core, llc, node, tuple(range(len(cpus)))]


def domains_of(cpus: Sequence[Cpu]) -> Domains:
    """build_sched_domains(), cpu_attach_domain(): each CPU's levels without the degenerate ones."""
    cache: dict[Cpu, tuple[tuple[int, Span], ...]] = {}
    for me, cpu in enumerate(cpus):
        if cpu not in cache:
            chain: list[tuple[int, Span]] = []
            for level, span in enumerate(spans_of(cpus, me)):
                if len(span) > 1 and (not chain or chain[-1][1] != span):
                    chain.append((level, span))
            cache[cpu] = tuple(chain)
    return Domains(tuple(cpus), tuple(cache[cpu] for cpu in cpus))


def allowed_numa_imbalance(cpus: Sequence[Cpu], me: int) -> int:
    """build_sched_domains(), imb_numa_nr: an eighth of a node of one cache, else as many tasks as it has caches."""
    _, llc, node, _ = spans_of(cpus, me)
    nr_llcs = len(node) // len(llc)
    return max(1, len(node) >> 3 if nr_llcs == 1 else nr_llcs)


class Places:
    """Where in `span_cpu` the CPUs of a span lie: one after the other, in the order of CPU numbers within a cache."""

    def __init__(self, cpus: Sequence[Cpu]):
        numbers = range(len(cpus))
        self.by_cache = sorted(numbers, key=lambda i: (cpus[i].node, cpus[i].llc, i))
        self.by_core = sorted(numbers, key=lambda i: (cpus[i].node, cpus[i].llc, cpus[i].core, i))
        self.position = {cpu: at for at, cpu in enumerate(self.by_cache)}
        self._core_position = {cpu: at for at, cpu in enumerate(self.by_core, start=len(cpus))}

    def first(self, level: int, span: Span) -> int:
        """Where the span of a domain of this level, or of a single CPU, begins."""
        at = self._core_position if level == SMT and len(span) > 1 else self.position
        return min(at[cpu] for cpu in span)


def build_domains(world: World, cpus: Sequence[Cpu]) -> None:
    """Fill in the domains, groups and caches of a host, and each run queue's place in them."""
    domains, places = domains_of(cpus), Places(cpus)
    rq, nr_cpus = world["rq"], len(cpus)
    world["span_cpu"]["cpu"] = places.by_cache + places.by_core
    for field in ("sd", "sibling"):
        rq[field] = NIL
    caches = {llc: number for number, llc in enumerate(dict.fromkeys(cpus[i].llc for i in places.by_cache))}
    nodes = {node: number for number, node in enumerate(dict.fromkeys(cpus[i].node for i in places.by_cache))}
    for i, cpu in enumerate(cpus):
        rq["llc"][i], rq["node"][i], rq["position"][i] = caches[cpu.llc], nodes[cpu.node], places.position[i]
        for level, span in domains.chains[i]:
            if level == SMT:
                rq["sibling"][i] = span[0] if span[1] == i else span[1]
    shared = world["sched_domain_shared"]
    for llc, number in caches.items():
        members = [i for i, cpu in enumerate(cpus) if cpu.llc == llc]
        shared["first"][number] = places.first(MC, tuple(members))
        shared["weight"][number] = len(members)
    groups = build_groups_of_domains(world, domains, places)
    at = {level: index * nr_cpus for index, level in enumerate(domains.levels)}
    for i in range(nr_cpus):
        below = NIL
        for level, span in domains.chains[i]:
            sd = at[level] + i
            init_domain(world["sched_domain"][sd : sd + 1], level, span)
            domain = world["sched_domain"]
            domain["first"][sd] = places.first(level, span)
            domain["imb_numa_nr"][sd] = allowed_numa_imbalance(cpus, i) if level >= PKG else 0
            domain["group"][sd] = groups[level, span, i]
            domain["child"][sd] = below
            if below == NIL:
                rq["sd"][i] = sd
            else:
                domain["parent"][below] = sd
            below = sd


def init_domain(sd: np.ndarray, level: int, span: Span) -> None:
    """sd_init(). The parts of a domain that depend on its level and size only."""
    kind, weight = LEVELS[level], len(span)
    sd["parent"], sd["span_weight"], sd["flags"] = NIL, weight, kind.flags
    sd["imbalance_pct"], sd["cache_nice_tries"] = kind.imbalance_pct, kind.cache_nice_tries
    sd["min_interval_ms"] = sd["balance_interval_ms"] = weight
    sd["max_interval_ms"] = 2 * weight
    sd["newidle_ratio"], sd["newidle_call"], sd["newidle_success"] = 512, 512, 256


def build_groups_of_domains(world: World, domains: Domains, places: Places) -> dict[tuple[int, Span, int], int]:
    """build_sched_groups(): the groups of every domain, in a ring. Returns (level, span, CPU) -> that CPU's group."""
    group = world["sched_group"]
    ids: dict[tuple[int, Span, int], int] = {}
    seen: set[tuple[int, Span]] = set()
    nr_groups = 0
    for domain in (entry for chain in domains.chains for entry in chain):
        if domain in seen:
            continue
        seen.add(domain)
        first = nr_groups
        for i in domain[1]:
            if (*domain, i) in ids:
                continue
            chain = domains.chains[i]
            below = chain.index(domain) - 1
            level, members = chain[below] if below >= 0 else (MC, (i,))
            ids |= {(*domain, member): nr_groups for member in members}
            group["first"][nr_groups], group["weight"][nr_groups] = places.first(level, members), len(members)
            group["cores"][nr_groups] = len({domains.cpus[member].core for member in members})
            group["flags"][nr_groups] = LEVELS[level].flags if below >= 0 else 0
            group["next"][nr_groups] = nr_groups + 1
            nr_groups += 1
        group["next"][nr_groups - 1] = first
    return ids
