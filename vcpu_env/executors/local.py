"""Runs tasks on this machine: one after the other in this process, or in a pool of processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from vcpu_env.executors.base import Item, Result, WorkerDiedError


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Inline:
    """Runs everything in this process."""

    def everywhere(self, function: Callable[[], Result]) -> list[Result]:
        """Call the function."""
        return [function()]

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[tuple[int, Result]]:
        """One item after the other."""
        yield from enumerate(map(function, items))


class ProcessPool:
    """Runs items in worker processes on this machine."""

    def __init__(self, workers: int):
        self.workers = workers

    def everywhere(self, function: Callable[[], Result]) -> list[Result]:
        """Call the function, in this process: the machine is the same."""
        return [function()]

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[tuple[int, Result]]:
        """Items one by one, to whichever process is free."""
        others = set(multiprocessing.active_children())
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(min(self.workers, max(1, len(items))), context, initializer=_start_worker)
        try:
            futures = {pool.submit(function, item): i for i, item in enumerate(items)}
            for future in as_completed(futures):
                yield futures[future], future.result()
            pool.shutdown()
        except BrokenProcessPool as error:
            raise WorkerDiedError(str(error)) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - others:
                child.terminate()


def _start_worker() -> None:
    """Leave interrupts to the parent, and end with it even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)
