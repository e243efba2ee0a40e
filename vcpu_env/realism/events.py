"""What both a recording and a simulation are: scheduler events in time order, tasks by number.

A task's number is its place among the probe's tasks, from 1; 0 is the idle task, `FOREIGN` anything else.
"""

import numpy as np

SWITCH, WAKEUP = 0, 1
IDLE, FOREIGN = 0, -1

EVENTS = np.dtype(
    [
        ("time_ns", "i8"),
        ("cpu", "i4"),
        ("event", "i4"),  # SWITCH or WAKEUP
        ("prev_pid", "i4"),
        ("prev_state", "i4"),  # of a switch: 0 if the task that leaves stays runnable
        ("next_pid", "i4"),  # of a switch: the task that comes; of a wake-up: the task that is woken
    ]
)


def numbered(events: np.ndarray, pids: list[int], idle: int = 0) -> np.ndarray:
    """Events with process ids replaced by task numbers; without those that no task of the probe and no CPU it uses saw.

    What is dropped: wake-ups of others, and everything on CPUs on which no task of the probe ever ran.
    """
    numbers = {pid: i for i, pid in enumerate(pids, start=1)} | {idle: IDLE}
    result = np.zeros(len(events), EVENTS)
    for field in EVENTS.names or ():
        result[field] = events[field]
    for field in ("prev_pid", "next_pid"):
        known, inverse = np.unique(events[field], return_inverse=True)
        result[field] = np.array([numbers.get(int(pid), FOREIGN) for pid in known], np.int32)[inverse]
    woken = result["event"] == WAKEUP
    result["prev_pid"][woken] = result["prev_state"][woken] = 0
    cpus = np.unique(result["cpu"][~woken & (result["next_pid"] > 0)])
    keep = np.where(woken, result["next_pid"] > 0, np.isin(result["cpu"], cpus))
    both = (result["prev_pid"] == FOREIGN) & (result["next_pid"] == FOREIGN)
    return result[keep & ~both]
