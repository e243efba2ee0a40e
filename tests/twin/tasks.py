"""What is queued: threads of the fair class, their groups, and a task of another CPU."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .eevdf import CfsRq, SchedEntity

if TYPE_CHECKING:
    from .scheduler import Rq


@dataclass(eq=False)
class Task:
    """A thread of the fair class."""

    name: str
    se: SchedEntity
    rq: "Rq"
    nice: int = 0
    policy: str = "normal"
    state: str = "new"  # then "running" (runnable), "sleeping", "dead"
    on_rq: bool = False  # still true while its dequeue is delayed


@dataclass(eq=False)
class TaskGroup:
    """A cgroup's cpu controller on this CPU."""

    name: str
    shares: int  # scaled
    se: SchedEntity
    cfs_rq: CfsRq


@dataclass(eq=False)
class RemoteTask:
    """A runnable task on another CPU, there only to be yielded to."""

    name: str
    nr_running: int
    rq: object = None
