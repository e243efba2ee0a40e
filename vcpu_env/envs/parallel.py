"""Many machines stepped in compiled code on all cores. A machine never sees another, so threads change no result."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import numba
import numpy as np
from numba import prange

from vcpu_env.base.interrupts import INTERRUPTED, heard
from vcpu_env.base.jit import JIT, kjit, parallel_kjit
from vcpu_env.base.stop import stop_asked
from vcpu_env.base.timeline import machine_clock
from vcpu_env.base.world import World
from vcpu_env.engine.state import FAILED
from vcpu_env.envs.compiled.step import env_begin, env_step
from vcpu_env.envs.compiled.types import NR_TERMS, action_mask, env_state, observation
from vcpu_env.envs.config import EnvConfigError

os.environ.setdefault("GOMP_SPINCOUNT", "10000")
# OpenMP's barriers spin, by default for so long that a machine with other work to do stands still. This is about as
# long as Python needs between two steps, and much less than a time slice. Read when the first parallel function runs.

_one_at_a_time = Lock()


@contextmanager
def together(threads: int) -> Iterator[None]:
    """Around every call of a parallel function: its threads; the work queue serves one Python thread at a time."""
    with _one_at_a_time:
        if JIT and numba.get_num_threads() != threads:
            numba.set_num_threads(threads)
        yield


def handles(worlds: list[World]):
    """What the functions here take as machines: their addresses; uncompiled, the handles themselves."""
    return np.array([world.handle for world in worlds], np.int64) if JIT else [world.handle for world in worlds]


def checked_threads(threads: int | None) -> int:
    """How many threads to use; None: all cores.

    Raises:
        EnvConfigError: fewer than one, or more than there are cores.
    """
    most = numba.config.NUMBA_NUM_THREADS
    if threads is not None and (not isinstance(threads, int) or not 1 <= threads <= most):
        raise EnvConfigError(f"threads: value {threads!r} (allowed: 1..{most})")
    return threads or most


class Team:
    """Machines that parallel functions run.

    Attributes:
        lost: a signal's handler has raised meanwhile, and they may be in the middle of a step.
    """

    def __init__(self, worlds: list[World], threads: int):
        self.handles, self.threads, self.lost = handles(worlds), threads, False

    def run(self, function: Any, *arguments: Any) -> Any:
        """Call a function of all machines."""
        try:
            with together(self.threads):
                return function(self.handles, *arguments)
        except BaseException:
            self.lost = True
            raise

    def move(self, function: Any, which: np.ndarray, *arguments: Any) -> tuple[int, int]:
        """Begin or step the machines of these numbers. Returns how many failed, and of how many the episode is over."""
        failed, ended, cut = self.run(function, which, False, *arguments)
        while cut:
            heard()
            more_failed, more_ended, cut = self.run(function, which, True, *arguments)
            failed, ended = failed + more_failed, ended + more_ended
        return failed, ended


class Shown:
    """What all machines show after a step: fresh arrays, one row a machine, never handed out twice."""

    def __init__(self, count: int, nr_features: int, nr_mask: int):
        self.observations = np.empty((count, nr_features), np.float32)
        self.masks = np.empty((count, nr_mask), np.int8)
        self.rewards = np.empty(count)
        self.truncated = np.empty(count, np.bool_)
        self.times_ns, self.elapsed_ns = np.empty(count, np.int64), np.empty(count, np.int64)
        self.terms = np.empty((count, NR_TERMS), np.int64)

    def arrays(self) -> tuple[np.ndarray, ...]:
        """In the order of `show`."""
        return (
            self.observations,
            self.masks,
            self.rewards,
            self.truncated,
            self.times_ns,
            self.elapsed_ns,
            self.terms,
        )


@kjit
def show(w, i, observations, masks, rewards, truncated, times_ns, elapsed_ns, terms):
    """Copy what a machine shows into row i of each array."""
    state = env_state(w, 0)
    for j in range(observations.shape[1]):
        observations[i, j] = observation(w, j).value
    for j in range(masks.shape[1]):
        masks[i, j] = action_mask(w, j).legal
    for j in range(NR_TERMS):
        terms[i, j] = state.term[j]
    rewards[i] = state.reward
    truncated[i] = state.truncated
    elapsed_ns[i] = state.elapsed_ns
    times_ns[i] = machine_clock(w, 0).now_ns


@kjit
def put_action(w, action):
    """Give a machine its action. A function of its own: a parallel loop drops such writes as dead code."""
    state = env_state(w, 0)
    for j in range(len(action)):
        state.action[j] = action[j]


@parallel_kjit
def begin_machines(machines, which, again, seeds, jitters_ns, statuses, observations, masks, rewards, truncated,
                   times_ns, elapsed_ns, terms):  # fmt: skip
    """`env_begin` on the machines of these numbers, and what they show then.

    Where a signal cuts a machine short its status is INTERRUPTED, and `again` goes on with such machines only. Returns
    how many failed, of how many the episode is over, and how many were cut short.
    """
    failed, ended, cut = 0, 0, 0
    for k in prange(len(which)):
        i = which[k]
        if not again or statuses[i] == INTERRUPTED:
            statuses[i] = INTERRUPTED if stop_asked() else env_begin(machines[i], seeds[k], jitters_ns[k])
            show(machines[i], i, observations, masks, rewards, truncated, times_ns, elapsed_ns, terms)
            failed += 1 if statuses[i] == FAILED else 0
            cut += 1 if statuses[i] == INTERRUPTED else 0
    return failed, ended, cut


@parallel_kjit
def step_machines(machines, which, again, actions, statuses, observations, masks, rewards, truncated, times_ns,
                  elapsed_ns, terms):  # fmt: skip
    """As `begin_machines`: `env_step` with the i-th action."""
    failed, ended, cut = 0, 0, 0
    for k in prange(len(which)):
        i = which[k]
        w = machines[i]
        if not again or statuses[i] == INTERRUPTED:
            put_action(w, actions[i])
            statuses[i] = INTERRUPTED if stop_asked() else env_step(w)
            show(w, i, observations, masks, rewards, truncated, times_ns, elapsed_ns, terms)
            failed += 1 if statuses[i] == FAILED else 0
            if statuses[i] == INTERRUPTED:
                cut += 1
            elif truncated[i]:
                ended += 1
    return failed, ended, cut


@parallel_kjit
def show_machines(machines, which, observations, masks, rewards, truncated, times_ns, elapsed_ns, terms):
    """What the machines of these numbers show now."""
    for k in prange(len(which)):
        i = which[k]
        show(machines[i], i, observations, masks, rewards, truncated, times_ns, elapsed_ns, terms)
