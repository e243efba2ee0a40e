"""What weighs something on v7.3: tasks, and groups, which do nothing else."""

from dataclasses import dataclass, field

ONE = 1 << 20


@dataclass(eq=False)
class Node:
    """What weighs something in a group: a task, or a group in the group above."""

    name: str
    above: "Group | None"
    weight: int = ONE


@dataclass(eq=False)
class Group(Node):
    shares: int = ONE
    members: list[Node] = field(default_factory=list)


@dataclass(eq=False)
class Task(Node):
    slice: int = 0
    custom: bool = False
    nice: int = 0
    policy: str = "normal"
    state: str = "new"
    queued: bool = False
    delayed: bool = False
    relative: bool = False
    h_load: int = 0
    v: int = 0
    d: int = 0
    lag: int = 0
    vprot: int = 0
    since: int = 0
    ran: int = 0

    def virtual(self, ns: int) -> int:
        return ns * ONE // self.h_load
