"""Signals while compiled code runs: it stops between two events, Python handles the signal, and it may go on.

Python handles signals in its main thread, between two of its instructions: compiled code keeps it waiting. A second
thread, woken by the signal, asks the machines to stop; whatever runs one (`engine.loop.run_until`) then returns
INTERRUPTED, with the machine in the state between two events, as if it had been asked to run no further.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

INTERRUPTED = 4
"""Returned, never stored, in place of an engine's status."""

GRACE_S = 0.8
"""How long the main thread of a command may take to notice a signal before the process is ended all the same."""

EXIT_CODE = 130


_ask: Callable[[int], object] = bool
"""Asks machines to stop (1), and no longer (0); nobody is to be asked as long as no compiled code is loaded."""


class _Watcher:
    """The second thread. It sleeps until a signal arrives that Python handles."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.writer, False)
        self.lock = threading.Lock()
        self.active = False
        self.ends_process = False
        self.noticed = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while number := os.read(self.reader, 1):
            with self.lock:
                if self.active:
                    _ask(1)
            if self.ends_process and number[0] in (signal.SIGINT, signal.SIGTERM) and not self.noticed.wait(GRACE_S):
                print("interrupted", file=sys.stderr, flush=True)
                os._exit(EXIT_CODE)

    def set(self, active: bool) -> None:
        with self.lock:
            self.active = active
            _ask(0)


_watcher: _Watcher | None = None


def ask_machines_by(ask: Callable[[int], object]) -> None:
    """Tell how machines are asked to stop (1), and no longer (0)."""
    global _ask
    _ask = ask


def _the_watcher() -> _Watcher:
    global _watcher
    _watcher = _watcher or _Watcher()
    return _watcher


def _forget_watcher() -> None:
    """In a forked process: the thread is not there, and the pipe is the parent's."""
    global _watcher
    if _watcher is not None:
        _watcher = None
        signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_forget_watcher)


def run_interruptibly(run: Callable[[], int]) -> int:
    """Run a machine by `run`, again and again while it returns INTERRUPTED; signals are handled in between.

    Signals are the main thread's affair, and if somebody else has himself woken by them (an event loop that handles
    signals), they are his: then they wait until `run` returns.
    """
    mine = threading.current_thread() is threading.main_thread()
    watcher = _the_watcher() if mine else None
    if watcher is None or watcher.active:
        return _go_on(run)
    former = signal.set_wakeup_fd(watcher.writer, warn_on_full_buffer=False)
    if former != -1:
        signal.set_wakeup_fd(former)
        return _go_on(run)
    watcher.set(True)
    try:
        return _go_on(run)
    finally:
        signal.set_wakeup_fd(-1)
        watcher.set(False)


def _go_on(run: Callable[[], int]) -> int:
    while (status := run()) == INTERRUPTED:
        _ask(0)
    return status


def _interrupt(number: int, frame: Any) -> None:
    _the_watcher().noticed.set()
    raise KeyboardInterrupt


def end_on_signals() -> None:
    """For commands: SIGINT and SIGTERM raise KeyboardInterrupt within an event of a machine.

    Should other compiled code keep the main thread from noticing, the process ends after `GRACE_S` with one line. A
    signal that is ignored (a job in the background) stays so.
    """
    watcher = _the_watcher()
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    signal.set_wakeup_fd(watcher.writer, warn_on_full_buffer=False)
    watcher.ends_process = True
    watcher.set(True)
