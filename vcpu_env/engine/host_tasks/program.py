"""Programs of host tasks: what a thread of the host does, as data, and their place in a world."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from vcpu_env.base.random import DISTRIBUTIONS
from vcpu_env.base.world import World
from vcpu_env.engine.host_tasks.types import MAX_NESTING, MAX_TIMERS

(
    OP_RUN,
    OP_GOTO,
    OP_REPEAT,
    OP_SLEEP,
    OP_TIMER,
    OP_YIELD,
    OP_WAIT,
    OP_SIGNAL,
    OP_BARRIER,
    OP_LOCK,
    OP_UNLOCK,
    OP_SERVED,
    OP_CREATE_VCPU,
    OP_EXIT,
    OP_AFFINITY,
    OP_GROUP,
    OP_NICE,
    OP_POLICY,
) = range(18)

SIGNAL_KEPT, SIGNAL_ALL, SIGNAL_SYNC = 1, 2, 4
"""A signal to nobody is kept for the next who waits (a pipe), or lost (a condition variable); it wakes one or all; it
promises that its sender sleeps soon (WF_SYNC)."""


@dataclass
class HostProgram:
    """An assembler for programs of host tasks; every method appends one operation. A program loops for ever."""

    ops: list[tuple[int, int, int, int, int]] = field(default_factory=list)

    def _add(self, kind: int, a: int = 0, b: int = 0, mean_ns: int = 0, dist: str = "fixed") -> None:
        self.ops.append((kind, a, b, DISTRIBUTIONS[dist], mean_ns))

    def run(self, mean_ns: int, dist: str = "fixed") -> None:
        """Compute."""
        self._add(OP_RUN, mean_ns=mean_ns, dist=dist)

    def sleep(self, mean_ns: int, dist: str = "fixed") -> None:
        """nanosleep(): relative to now."""
        self._add(OP_SLEEP, mean_ns=mean_ns, dist=dist)

    def timer(self, period_ns: int, number: int = 0, relative: bool = False) -> None:
        """Sleep until a period after the last activation of this timer; the first counts from the task's start.

        Args:
            relative: an activation that is missed moves those to come; else they stay where they were.
        """
        if not 0 <= number < MAX_TIMERS:
            raise ValueError(f"timer: number {number} (allowed: 0..{MAX_TIMERS - 1})")
        self._add(OP_TIMER, a=number, b=relative, mean_ns=period_ns)

    def sched_yield(self) -> None:
        """sched_yield()."""
        self._add(OP_YIELD)

    def wait(self, signal: int, mutex: int | None = None) -> None:
        """Sleep until the signal comes, or take one that was kept; let go of a mutex meanwhile (pthread_cond_wait)."""
        self._add(OP_WAIT, a=signal, b=0 if mutex is None else mutex + 1)
        if mutex is not None:
            self.lock(mutex)

    def lock(self, mutex: int) -> None:
        """Take a mutex; sleep while another task has it."""
        self._add(OP_LOCK, a=mutex)

    def unlock(self, mutex: int) -> None:
        """Let a mutex go."""
        self._add(OP_UNLOCK, a=mutex)

    def signal(self, signal: int, kept: bool = True, to_all: bool = False, sync: bool = False) -> None:
        """Wake whoever waits for the signal."""
        self._add(OP_SIGNAL, a=signal, b=SIGNAL_KEPT * kept | SIGNAL_ALL * to_all | SIGNAL_SYNC * sync)

    def barrier(self, signal: int) -> None:
        """Sleep until all parties have come."""
        self._add(OP_BARRIER, a=signal)

    def served(self) -> None:
        """A request of the VM's devices has been served: its thread gets the interrupt."""
        self._add(OP_SERVED)

    def create_vcpu(self) -> None:
        """Fork the VM's next vCPU thread."""
        self._add(OP_CREATE_VCPU)

    def affinity(self, cpus: tuple[int, int, int, int]) -> None:
        """sched_setaffinity() to these CPUs, 64 a word."""
        self.ops.append((OP_AFFINITY, *cpus))

    def group(self, tg: int) -> None:
        """Write to cgroup.threads of a task group (0: the root): the task moves there."""
        self._add(OP_GROUP, a=tg)

    def nice(self, nice: int) -> None:
        """setpriority()."""
        self._add(OP_NICE, a=nice)

    def policy(self, policy: int) -> None:
        """sched_setscheduler()."""
        self._add(OP_POLICY, a=policy)

    def exit(self) -> None:
        """End the task."""
        self._add(OP_EXIT)

    def here(self) -> int:
        """The position of the next operation."""
        return len(self.ops)

    def repeat(self, times: int, mark: int, level: int) -> None:
        """Do what stands from `mark` to this point `times` times in all; `level`: in how many loops this one lies."""
        if not 0 <= level < MAX_NESTING:
            raise ValueError(f"repeat: nested {level + 1} deep (allowed: up to {MAX_NESTING})")
        self._add(OP_REPEAT, a=mark, b=times << 3 | level)

    def assembled(self) -> list[tuple[int, int, int, int, int]]:
        """The finished program; it starts again at its end."""
        return [*self.ops, (OP_GOTO, 0, 0, 0, 0)]


@dataclass(frozen=True)
class HostTaskPlan:
    """A host task before it is built: its program, and when it begins.

    Attributes:
        vm: the VM that it belongs to.
        serves: it serves the VM's device requests.
    """

    program: HostProgram
    start_ns: int = 0
    slack_ns: int = 0
    vm: int | None = None
    serves: bool = False


def nr_host_ops(plans: Sequence[HostTaskPlan]) -> int:
    """Operations of all programs."""
    return sum(len(plan.program.assembled()) for plan in plans)


def place_host_tasks(world: World, plans: Sequence[HostTaskPlan], parties: Sequence[int]) -> None:
    """Write the tasks into the world's arrays.

    Args:
        parties: of every signal: how many tasks meet there, 0 if it is no barrier.
    """
    if not plans:
        return
    signals, tasks, ops = world["host_signal"], world["host_task"], world["host_op"]
    signals["requests"]["head"] = signals["requests"]["tail"] = -1
    for name in ("head", "tail", "server"):
        signals[name] = -1
    signals["parties"] = parties
    tasks["next"] = tasks["timer_ns"] = tasks["vm"] = -1
    start = 0
    for h, plan in enumerate(plans):
        tasks["pc"][h], tasks["start_ns"][h], tasks["slack_ns"][h] = start, plan.start_ns, plan.slack_ns
        if plan.vm is not None:
            tasks["vm"][h] = plan.vm
        if plan.serves:
            signals["server"][plan.vm] = h
        for i, (kind, a, b, dist, mean_ns) in enumerate(plan.program.assembled(), start):
            ops[i] = (kind, a + start if kind in (OP_GOTO, OP_REPEAT) else a, b, dist, mean_ns)
        start += len(plan.program.assembled())
