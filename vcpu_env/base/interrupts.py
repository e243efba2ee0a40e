"""Signals while compiled code runs: it stops between two events, Python handles the signal, and it may go on.

Python handles signals in its main thread, between two of its instructions: compiled code keeps it waiting. A second
thread, woken by the signal, asks the machines to stop; whatever runs one (`engine.loop.run_until`) then returns
INTERRUPTED, with the machine in the state between two events. Who called it says so with `heard`, whereupon Python
handles the signal, and calls it again: the machine goes on as if it had not been asked.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

INTERRUPTED = 4
"""Returned, never stored, in place of an engine's status."""

GRACE_S = 0.8
"""How long the main thread of a command may take to notice a signal before the process is ended all the same."""

_MAIN = threading.main_thread().ident

_ask: Callable[[int], object] = bool
"""Asks machines to stop (1), and no longer (0); nobody is to be asked as long as no compiled code is loaded."""

_main_runs = False
"""Whether the main thread is in `run_interruptibly`."""


class _Watcher:
    """The second thread. It sleeps until a signal arrives that Python handles."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.writer, False)
        self.ends_process = False
        self.noticed = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while number := os.read(self.reader, 1):
            _ask(1)
            if self.ends_process and number[0] in (signal.SIGINT, signal.SIGTERM) and not self.noticed.wait(GRACE_S):
                _end_at_once(number[0])


_watcher: _Watcher | None = None


def ask_machines_by(ask: Callable[[int], object]) -> None:
    """Tell how machines are asked to stop (1), and no longer (0)."""
    global _ask
    _ask = ask


def watch_signals() -> None:
    """From now on signals stop machines.

    Signals are the main thread's affair, and if somebody else has himself woken by them (an event loop that handles
    signals), they are his: then they wait until compiled code has returned.
    """
    global _watcher
    if threading.get_ident() != _MAIN:
        return
    _watcher = _watcher or _Watcher()
    former = signal.set_wakeup_fd(_watcher.writer, warn_on_full_buffer=False)
    if former not in (-1, _watcher.writer):
        signal.set_wakeup_fd(former)


def _forget_watcher() -> None:
    """In a forked process: the thread is not there, and the pipe is the parent's."""
    global _watcher, _MAIN, _main_runs
    _MAIN, _main_runs = threading.get_ident(), False
    if _watcher is not None:
        _watcher = None
        signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_forget_watcher)


def heard() -> None:
    """A machine has returned INTERRUPTED. Other threads leave it to the main thread to hear, if it runs machines."""
    if threading.get_ident() == _MAIN or not _main_runs:
        _ask(0)


def run_interruptibly(run: Callable[[], int]) -> int:
    """Run a machine by `run`, again and again while it returns INTERRUPTED; signals are handled in between."""
    global _main_runs
    watch_signals()
    outermost = threading.get_ident() == _MAIN and not _main_runs
    if outermost:
        _main_runs = True
    try:
        while (status := run()) == INTERRUPTED:
            heard()
        return status
    finally:
        if outermost:
            _main_runs = False


INTERRUPTED_COMMAND = 130
"""What Typer makes of a KeyboardInterrupt."""

_first: tuple[int, float] | None = None
"""The signal that has ended the command, and when (s)."""


def exit_code() -> int:
    """Of a command that a signal has ended: 128 and the signal's number."""
    return 128 + (_first[0] if _first else signal.SIGINT)


def _end_at_once(number: int) -> None:
    print("interrupted", file=sys.stderr, flush=True)
    os._exit(128 + number)


def _interrupt(number: int, frame: Any) -> None:
    """The first signal ends the command in order; one that comes while this takes too long ends it at once."""
    global _first
    if _watcher is not None:
        _watcher.noticed.set()
    if _first is None:
        _first = number, time.monotonic()
        raise KeyboardInterrupt
    if time.monotonic() - _first[1] > GRACE_S:
        _end_at_once(number)


def end_on_signals() -> None:
    """For commands: SIGINT and SIGTERM raise KeyboardInterrupt between two events of a machine.

    Should other compiled code keep the main thread from noticing, the process ends after `GRACE_S` with one line. A
    signal that is ignored (a job in the background) stays so.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    watch_signals()
    if _watcher is not None:
        _watcher.ends_process = True
