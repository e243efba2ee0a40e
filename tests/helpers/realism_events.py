"""Events of a made-up trace, as short rows."""

import numpy as np

from vcpu_env.realism.events import EVENTS, SWITCH, WAKEUP


def events(*rows) -> np.ndarray:
    """Rows (time, cpu, prev, state, next) of a switch, (time, cpu, task) of a wake-up."""
    full = [
        (time, cpu, WAKEUP, 0, 0, rest[0]) if len(rest) == 1 else (time, cpu, SWITCH, *rest)
        for time, cpu, *rest in rows
    ]
    return np.array(full, EVENTS)
