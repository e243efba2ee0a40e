"""Sockets, last-level caches, cores and hardware threads of a host, as a scenario writes them.

"2s8c2t" is two sockets of eight cores of two threads; "2s2l4c2t" has two last-level caches in each socket, of four
cores each. Every number counts what is in one of the next larger things; what is left out is one. A socket is a NUMA
node.

CPUs are numbered as Linux numbers them on x86: first one thread of every core, in the order of sockets, caches and
cores, then the other threads in the same order, so that CPU i and CPU i + (number of cores) are siblings.
"""

import re
from collections.abc import Sequence

MAX_CPUS = 256
Table = tuple[tuple[int, ...], ...]
"""Core, last-level cache and node of every CPU."""

FORM = "[SOCKETSs][LLCSl]CORESc[THREADSt], as 16c, 8c2t, 2s8c2t, 2s2l4c2t; 1 or 2 threads, up to 256 CPUs"


def parse_topology(text: str) -> Table:
    """The table that a topology's name stands for.

    Raises:
        ValueError: it is none; the message is what is allowed.
    """
    match = re.fullmatch(r"(?:(\d{1,3})s)?(?:(\d{1,3})l)?(\d{1,3})c(?:([12])t)?", text, re.ASCII)
    if match is None:
        raise ValueError(FORM)
    sockets, llcs, cores, threads = (int(part or 1) for part in match.groups())
    if not 1 <= sockets * llcs * cores * threads <= MAX_CPUS:
        raise ValueError(FORM)
    one_thread = tuple((core, core // cores, core // (cores * llcs)) for core in range(sockets * llcs * cores))
    return one_thread * threads


def check_table(table: Sequence[Sequence[int]]) -> Table:
    """A table that can be: small numbers, at most two threads a core, no core in two caches, no cache in two nodes.

    Raises:
        ValueError: it can't; the message begins with the entry that is wrong.
    """
    if not 1 <= len(table) <= MAX_CPUS:
        raise ValueError(f": {len(table)} CPUs (allowed: 1..{MAX_CPUS})")
    cache_of: dict[int, int] = {}
    node_of: dict[int, int] = {}
    threads: dict[int, int] = {}
    for cpu, entry in enumerate(table):
        if len(entry) != 3 or not all(0 <= number < MAX_CPUS for number in entry):
            shown = list(entry)
            raise ValueError(f".{cpu}: value {shown} (allowed: [core, llc, node], each 0..{MAX_CPUS - 1})")
        core, llc, node = entry
        threads[core] = threads.get(core, 0) + 1
        if threads[core] > 2:
            raise ValueError(f".{cpu}: third CPU of core {core} (allowed: up to 2)")
        if cache_of.setdefault(core, llc) != llc:
            raise ValueError(f".{cpu}: core {core} in llc {llc} (allowed: {cache_of[core]}, where its other CPU is)")
        if node_of.setdefault(llc, node) != node:
            raise ValueError(f".{cpu}: llc {llc} in node {node} (allowed: {node_of[llc]}, where its other CPUs are)")
    return tuple(tuple(entry) for entry in table)
