"""Switches that a trace lacks: on some virtual machines a CPU's idle task leaves none of the switch that ends it.

What a CPU's last switch led to must be what its next one leaves. Where it led to idle and the next one leaves a task
that was woken in between, the task is taken to have come when it was woken up: its way out of idle then counts as run
time. A task that came without a wake-up, as after throttling, came at a time that nobody knows.
"""

from collections.abc import Collection

import numpy as np

from vcpu_env.realism.events import EVENTS, SWITCH, WAKEUP

IDLE_PID = 0


class BrokenChainError(ValueError):
    """Switches are missing, and nothing tells when they were."""


def complete(events: np.ndarray, pids: Collection[int]) -> np.ndarray:
    """All events in time order, with the missing switches out of idle; process ids as they are.

    Tasks other than `pids`, the probe's, that came without a wake-up (a new one has none) are taken to have come and
    gone at once.

    Raises:
        BrokenChainError: naming the CPU.
    """
    running: dict[int, int] = {}
    since: dict[int, int] = {}
    woken: dict[int, int] = {}
    missing = []
    for time_ns, cpu, event, prev_pid, _, next_pid in events.tolist():
        if event == WAKEUP:
            woken[next_pid] = time_ns
            continue
        before = running.get(cpu, prev_pid)
        if before != prev_pid:
            came_ns = woken.get(prev_pid, -1)
            if before != IDLE_PID or came_ns < since[cpu]:
                if prev_pid in pids or before in pids:
                    raise BrokenChainError(f"realism: the trace of cpu {cpu} lacks switches (allowed: another CPU)")
                came_ns = time_ns
            missing.append((came_ns, cpu, SWITCH, before, 0, prev_pid))
        running[cpu], since[cpu] = next_pid, time_ns
    if not missing:
        return events
    whole = np.concatenate([np.array(missing, EVENTS), events])  # before the event of the same time
    return whole[np.argsort(whole["time_ns"], kind="stable")]
