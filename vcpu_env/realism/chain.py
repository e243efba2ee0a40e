"""Switches that a trace lacks: on some virtual machines some kernel threads leave no trace when they are switched from.

The idle tasks of some CPUs are among them. What a CPU's last switch led to must be what its next one leaves. If it
leaves another task, then that has come in between: when it was woken, if it was; its way out of idle then counts as run
time. If a kernel thread had taken its CPU, the thread is taken to have gone at once. A task that came out of idle
without a wake-up, as after throttling, came at a time that nobody knows.
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
            if came_ns < since[cpu] and prev_pid in pids:
                came_ns = since[cpu]
                if before == IDLE_PID:
                    raise BrokenChainError(f"realism: the trace of cpu {cpu} lacks switches (allowed: another CPU)")
            if before in pids:
                raise BrokenChainError(f"realism: the trace of cpu {cpu} is broken (allowed: another CPU)")
            came_ns = came_ns + 1 if came_ns >= since[cpu] else time_ns  # after what led to it
            missing.append((min(came_ns, time_ns), cpu, SWITCH, before, 0, prev_pid))
        running[cpu], since[cpu] = next_pid, time_ns
    if not missing:
        return events
    whole = np.concatenate([np.array(missing, EVENTS), events])  # before the event of the same time
    return whole[np.argsort(whole["time_ns"], kind="stable")]
