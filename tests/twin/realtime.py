"""SCHED_FIFO and SCHED_RR on one CPU, written down a second time, to be read: a queue for each priority."""

from dataclasses import dataclass, field


@dataclass
class RtTask:
    """A task; `slice_ticks` is what is left of its timeslice."""

    name: int
    priority: int
    round_robin: bool
    slice_ticks: int = 0


@dataclass
class RtCpu:
    """A CPU's real-time tasks. The running one is the first of the highest queue that is not empty."""

    timeslice_ticks: int
    queues: dict[int, list[RtTask]] = field(default_factory=dict)

    def running(self) -> int | None:
        """The name of the task that runs; None: it is left to others."""
        return self.queues[max(self.queues)][0].name if self.queues else None

    def wake(self, task: RtTask) -> None:
        """It comes last of its priority."""
        self.queues.setdefault(task.priority, []).append(task)

    def sleep(self, name: int) -> None:
        """It leaves."""
        for priority, queue in list(self.queues.items()):
            self.queues[priority] = [task for task in queue if task.name != name]
            if not self.queues[priority]:
                del self.queues[priority]

    def yield_(self) -> None:
        """The running task goes behind the others of its priority."""
        queue = self.queues[max(self.queues)]
        queue.append(queue.pop(0))

    def tick(self) -> None:
        """The timeslice of a round-robin task gets shorter; used up, it goes behind the others of its priority."""
        if not self.queues:
            return
        task = self.queues[max(self.queues)][0]
        if not task.round_robin:
            return
        task.slice_ticks -= 1
        if task.slice_ticks == 0:
            task.slice_ticks = self.timeslice_ticks
            self.yield_()
