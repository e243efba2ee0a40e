"""Threads that behave alike, and the queues between them that their wake-ups tell of.

A wake-up of one of our threads by another becomes an item put into a queue between their groups. Of all pairs of groups
only those that connect them into a forest are kept, the busiest first: bounded queues without a cycle cannot deadlock.
Whoever wakes more often puts. What remains (wake-ups by interrupts, by threads that are not ours, within a group, or of
a pair that is not kept) becomes time asleep, as long as measured.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from vcpu_env.fit.events import IDLE
from vcpu_env.fit.threads import Action, Recording, Thread

APART = 3.0
"""Threads of one name are in different groups where medians of their runs, in order, differ by more than this."""
FEWEST_ACTIONS = 5
LEAST_SHARE = 0.001
"""A thread with fewer actions and a smaller share of all CPU time is left out."""


@dataclass
class Group:
    """Threads with one program."""

    name: str
    threads: list[Thread]
    count: int
    puts: Counter[str] = field(default_factory=Counter)
    gets: Counter[str] = field(default_factory=Counter)
    sleeps_ns: list[int] = field(default_factory=list)

    @property
    def cpu_ns(self) -> int:
        """CPU time of all its threads."""
        return sum(thread.cpu_ns for thread in self.threads)

    @property
    def blocks(self) -> int:
        """How often its threads slept."""
        return sum(len(thread.blocks) for thread in self.threads)

    def steps_ns(self) -> list[int]:
        """CPU times of the steps that its program repeats: from one sleep to the next, or to the next put if those
        are more.
        """
        if self.blocks >= self.puts.total():
            return [run for thread in self.threads for run in thread.runs_ns]
        actions = [action for thread in self.threads for action in thread.actions]
        return [action.cpu_ns for action in actions if action.cpu_ns is not None]


@dataclass(frozen=True)
class Edge:
    """A queue: `source` puts, `target` gets; so many wake-ups of either by the other."""

    source: str
    target: str
    forth: int
    back: int

    @property
    def name(self) -> str:
        """Name of the queue."""
        return f"{self.source}-{self.target}"

    @property
    def capacity(self) -> int:
        """Room: little where the source, too, has to wait for its target."""
        share = self.back / self.forth
        return 1 if share > 0.5 else 4 if share > 0.1 else 64


def word(comm: str, taken: set[str]) -> str:
    """A name of a group that a workload file can use, made of a thread's."""
    letters = "".join(c if c.isascii() and c.isalnum() else "_" for c in comm).strip("_") or "thread"
    name = letters if letters[0].isalpha() else f"t{letters}"
    name = name[:12]
    unique, i = name, 2
    while unique in taken:
        unique, i = f"{name}{i}", i + 1
    taken.add(unique)
    return unique


def typical_run(thread: Thread) -> float:
    """Median CPU time between sleeps; of one that hardly sleeps all of its time."""
    runs = thread.runs_ns
    return max(1.0, median(runs)) if len(runs) >= FEWEST_ACTIONS else max(1.0, thread.cpu_ns)


def make_groups(recording: Recording) -> list[Group]:
    """Threads by name, those of one name apart where their runs differ much; the busiest group first.

    A thread that went to sleep for good is left out: how long it sleeps is not known.
    """
    total = sum(thread.cpu_ns for thread in recording.threads.values())
    by_comm: dict[str, list[Thread]] = {}
    for thread in recording.threads.values():
        if thread.endless:
            continue
        if len(thread.actions) >= FEWEST_ACTIONS or thread.cpu_ns >= LEAST_SHARE * total:
            by_comm.setdefault(thread.comm, []).append(thread)
    groups, taken = [], set[str]()
    for comm, threads in by_comm.items():
        threads.sort(key=typical_run)
        parts = [[threads[0]]]
        for one, following in pairwise(threads):
            if typical_run(following) > APART * typical_run(one):
                parts.append([])
            parts[-1].append(following)
        for part in sorted(parts, key=lambda part: -sum(thread.cpu_ns for thread in part)):
            groups.append(Group(word(comm, taken), part, alive(part, recording)))
    return sorted(groups, key=lambda group: -group.cpu_ns)


def alive(threads: Sequence[Thread], recording: Recording) -> int:
    """How many of some threads there are at a time, at least one: processes of a build come and go."""
    lives = sum(thread.last_ns - thread.first_ns for thread in threads)
    return max(1, round(lives / max(1, recording.window_ns)))


def connect(groups: Sequence[Group]) -> list[Edge]:
    """Turn wake-ups between groups into queues, and note in each group what its threads put, get and sleep for."""
    of = {thread.tid: group for group in groups for thread in group.threads}
    wakes: Counter[tuple[str, str]] = Counter()
    for group in groups:
        for block in (block for thread in group.threads for block in thread.blocks):
            waker = of.get(block.other)
            if waker is not None and waker is not group and block.slept_ns is not None:
                wakes[waker.name, group.name] += 1
    edges = forest(wakes)
    for edge in edges:
        by_name = {group.name: group for group in groups}
        by_name[edge.source].puts[edge.name] = edge.forth
        by_name[edge.target].gets[edge.name] = edge.forth
    connected = {frozenset((edge.source, edge.target)) for edge in edges}
    for group in groups:
        group.sleeps_ns = [
            block.slept_ns
            for thread in group.threads
            for block in thread.blocks
            if block.slept_ns is not None and not _by_queue(block, group, of, connected)
        ]
    return edges


def _by_queue(block: Action, group: Group, of: dict[int, Group], connected: set[frozenset[str]]) -> bool:
    return block.other != IDLE and block.other in of and frozenset((of[block.other].name, group.name)) in connected


def forest(wakes: Counter[tuple[str, str]]) -> list[Edge]:
    """The busiest pairs of groups that form no cycle (Kruskal's algorithm)."""
    pairs: Counter[tuple[str, str]] = Counter()
    for (one, other), count in wakes.items():
        pairs[min(one, other), max(one, other)] += count
    root: dict[str, str] = {}

    def find(name: str) -> str:
        while root.setdefault(name, name) != name:
            name = root[name]
        return name

    edges = []
    for (one, other), _ in sorted(pairs.items(), key=lambda item: (-item[1], item[0])):
        if find(one) != find(other):
            root[find(one)] = find(other)
            source, target = (one, other) if wakes[one, other] >= wakes[other, one] else (other, one)
            edges.append(Edge(source, target, wakes[source, target], wakes[target, source]))
    return edges
