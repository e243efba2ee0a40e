"""Many machines stepped in compiled code on all cores. A machine never sees another, so threads change no result."""

import functools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import numba
import numpy as np
from numba import prange

from vcpu_env.base.errors import whole_number
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

MACHINES_A_THREAD = 16
"""Fewer machines than this are stepped faster by one thread than by two that wait for each other."""

_one_at_a_time = Lock()


@functools.cache
def launch_threads(process: int) -> None:
    """Start Numba's threads in this process. OpenMP's default becomes theirs; torch, which shares it, keeps its own."""
    torch = sys.modules.get("torch")
    kept = torch.get_num_threads() if torch is not None else 0
    numba.get_num_threads()
    if torch is not None:
        torch.set_num_threads(kept)


@contextmanager
def together(threads: int) -> Iterator[None]:
    """Around every call of a parallel function: its threads; the work queue serves one Python thread at a time."""
    with _one_at_a_time:
        if JIT:
            launch_threads(os.getpid())
            if numba.get_num_threads() != threads:
                numba.set_num_threads(threads)
        yield


def handles(worlds: list[World]):
    """What the functions here take as machines: their addresses; uncompiled, the handles themselves."""
    return np.array([world.handle for world in worlds], np.int64) if JIT else [world.handle for world in worlds]


def checked_threads(threads: int | None, num_envs: int) -> int:
    """How many threads to use; None: one for each `MACHINES_A_THREAD` machines, up to all cores.

    Raises:
        EnvConfigError: fewer than one, or more than there are cores.
    """
    most = numba.config.NUMBA_NUM_THREADS
    if threads is None:
        return min(most, max(1, num_envs // MACHINES_A_THREAD))
    return whole_number("threads", threads, 1, most, EnvConfigError)


class Team:
    """Machines that parallel functions run.

    Attributes:
        lost: a signal's handler has raised meanwhile, and they may be in the middle of a step.
    """

    def __init__(self, worlds: list[World], threads: int):
        self.handles, self.threads, self.lost = handles(worlds), threads, False

    def run(self, function: Any, *arguments: Any) -> Any:
        """Call a parallel function of all machines; on one thread, what does the same in turn."""
        try:
            if self.threads == 1 and function in IN_TURN:
                return IN_TURN[function](self.handles, *arguments)
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


@kjit
def show(w, i, observations, masks, rewards, truncated, times_ns, elapsed_ns, told, counts):
    """Copy what a machine shows into row i of each array, of `told` and `counts` column i."""
    state = env_state(w)
    for j in range(observations.shape[1]):
        observations[i, j] = observation(w, j).value
    for j in range(masks.shape[1]):
        masks[i, j] = action_mask(w, j).legal
    for j in range(2 * NR_TERMS):
        told[j, i] = state.told[j]
    counts[0, i] = state.asked
    counts[1, i] = state.seen - state.asked - state.at_decision
    counts[2, i] = state.illegal
    rewards[i] = state.reward
    truncated[i] = state.truncated
    elapsed_ns[i] = state.elapsed_ns
    times_ns[i] = machine_clock(w).now_ns


@kjit
def put_action(w, action):
    """Give a machine its action. A function of its own: a parallel loop drops such writes as dead code."""
    state = env_state(w)
    for j in range(len(action)):
        state.action[j] = action[j]


@kjit
def begin_one(machines, which, k, again, seeds, jitters_ns, statuses, observations, masks, rewards, truncated,
              times_ns, elapsed_ns, told, counts):  # fmt: skip
    """`env_begin` on the k-th of the machines of these numbers, and what it shows. Returns whether it was to begin."""
    i = which[k]
    if again and statuses[i] != INTERRUPTED:
        return 0
    statuses[i] = INTERRUPTED if stop_asked() else env_begin(machines[i], seeds[k], jitters_ns[k])
    show(machines[i], i, observations, masks, rewards, truncated, times_ns, elapsed_ns, told, counts)
    return 1


@kjit
def step_one(machines, i, again, actions, statuses, observations, masks, rewards, truncated, times_ns, elapsed_ns,
             told, counts):  # fmt: skip
    """`env_step` with the i-th action on machine i, and what it shows then. Returns whether it was to step."""
    if again and statuses[i] != INTERRUPTED:
        return 0
    put_action(machines[i], actions[i])
    statuses[i] = INTERRUPTED if stop_asked() else env_step(machines[i])
    show(machines[i], i, observations, masks, rewards, truncated, times_ns, elapsed_ns, told, counts)
    return 1


def begin_each(machines, which, again, seeds, jitters_ns, statuses, observations, masks, rewards, truncated,
               times_ns, elapsed_ns, told, counts):  # fmt: skip
    """`begin_one` on each of the machines of these numbers.

    Where a signal cuts a machine short its status is INTERRUPTED, and `again` goes on with such machines only. Returns
    how many failed, of how many the episode is over, and how many were cut short.
    """
    failed, ended, cut = 0, 0, 0
    for k in prange(len(which)):
        if begin_one(machines, which, k, again, seeds, jitters_ns, statuses, observations, masks, rewards, truncated,
                     times_ns, elapsed_ns, told, counts):  # fmt: skip
            failed += 1 if statuses[which[k]] == FAILED else 0
            cut += 1 if statuses[which[k]] == INTERRUPTED else 0
    return failed, ended, cut


def step_each(machines, which, again, actions, statuses, observations, masks, rewards, truncated, times_ns, elapsed_ns,
              told, counts):  # fmt: skip
    """As `begin_each`: `step_one`."""
    failed, ended, cut = 0, 0, 0
    for k in prange(len(which)):
        i = which[k]
        if step_one(machines, i, again, actions, statuses, observations, masks, rewards, truncated, times_ns,
                    elapsed_ns, told, counts):  # fmt: skip
            failed += 1 if statuses[i] == FAILED else 0
            cut += 1 if statuses[i] == INTERRUPTED else 0
            ended += 1 if truncated[i] and statuses[i] != INTERRUPTED else 0
    return failed, ended, cut


begin_machines, step_machines = parallel_kjit(begin_each), parallel_kjit(step_each)
IN_TURN = {begin_machines: kjit(begin_each), step_machines: kjit(step_each)}
"""The same compiled for the thread that calls it, where `prange` is `range`: no others are started."""


@kjit
def show_machines(machines, which, observations, masks, rewards, truncated, times_ns, elapsed_ns, told, counts):
    """What the machines of these numbers show now."""
    for k in range(len(which)):
        i = which[k]
        show(machines[i], i, observations, masks, rewards, truncated, times_ns, elapsed_ns, told, counts)
