"""From switches to stays: who was on which CPU from when to when, with others' interruptions taken out.

A CPU's own clock stands still while the CPU serves others than the probe, and a task that goes on afterwards has not
been switched.
"""

from dataclasses import dataclass

import numpy as np

from vcpu_env.realism.events import FOREIGN, IDLE, SWITCH

STAY = np.dtype(
    [
        ("pid", "i8"),
        ("cpu", "i8"),
        ("begin_ns", "i8"),
        ("end_ns", "i8"),
        ("complete", "?"),  # has ended; else it goes on at the end of the events
        ("runnable", "?"),  # the task stayed runnable when it left
    ]
)


@dataclass
class CpuClock:
    """A CPU's time without others' work: `gone` is what others took before each switch."""

    times: np.ndarray
    foreign: np.ndarray
    gone: np.ndarray

    @classmethod
    def of(cls, switches: np.ndarray) -> "CpuClock":
        """The clock of the CPU whose switches these are."""
        times, foreign = switches["time_ns"], switches["next_pid"] == FOREIGN
        lengths = np.where(foreign[:-1], np.diff(times), 0)
        return cls(times, foreign, np.concatenate([[0], np.cumsum(lengths)]))

    def at(self, time_ns: np.ndarray) -> np.ndarray:
        """This clock at times of the wall clock."""
        i = np.searchsorted(self.times, time_ns, side="right") - 1
        i0 = np.maximum(i, 0)
        running = np.where(self.foreign[i0], time_ns - self.times[i0], 0)
        return np.where(i < 0, time_ns, time_ns - self.gone[i0] - running)

    def serves_others(self, time_ns: np.ndarray) -> np.ndarray:
        """Whether the CPU runs others at these times."""
        i = np.searchsorted(self.times, time_ns, side="right") - 1
        return (i >= 0) & self.foreign[np.maximum(i, 0)]


def stays_on(
    switches: np.ndarray, cpu: int, end_ns: int, limited: set[int]
) -> list[tuple[int, int, int, int, bool, bool]]:
    """Rows of `STAY` for one CPU; a stay that only others interrupted is one, unless a quota may have ended it."""
    stays: list[list] = []
    open_ = only_others = False
    columns = [switches[name].tolist() for name in ("time_ns", "prev_pid", "prev_state", "next_pid")]
    for time_ns, prev, state, next_ in zip(*columns, strict=True):
        if open_:
            stays[-1][3:] = [time_ns, True, state == 0 and prev == stays[-1][0]]
            open_, only_others = False, True
        if next_ > IDLE:
            goes_on = only_others and stays[-1][0] == next_ and stays[-1][5] and next_ not in limited
            if not goes_on:
                stays.append([next_, cpu, time_ns, time_ns, False, True])
            stays[-1][4] = False
            open_ = True
        elif next_ == IDLE:
            only_others = False
    if open_:
        stays[-1][3] = max(end_ns, stays[-1][2])
    return [tuple(stay) for stay in stays]  # type: ignore[misc]


def all_stays(events: np.ndarray, end_ns: int, limited: set[int]) -> tuple[dict[int, CpuClock], np.ndarray]:
    """The clock of every CPU that appears, and all stays of the probe's tasks in the order in which they began.

    `limited` are the tasks with a quota.
    """
    switches = events[events["event"] == SWITCH]
    clocks, rows = {}, []
    for cpu in np.unique(switches["cpu"]).tolist():
        own = switches[switches["cpu"] == cpu]
        clocks[cpu] = CpuClock.of(own)
        rows += stays_on(own, cpu, end_ns, limited)
    stays = np.array(rows, STAY)
    return clocks, stays[np.argsort(stays["begin_ns"], kind="stable")]
