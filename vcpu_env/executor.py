"""Runs independent tasks: in this process, in a pool of processes, or on a Ray cluster; the results are the same.

An executor maps a function over items and yields (index, result) as they come. Whatever ends the iteration early (an
exception, an interrupt, a closed generator) ends the workers as well.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol, TypeVar

from vcpu_env.scenario.errors import nearest

Item = TypeVar("Item")
Result = TypeVar("Result")

EXECUTORS = ("process", "inline", "ray")


class ExecutorError(Exception):
    """An executor that does not exist or cannot be had."""


class WorkerDiedError(Exception):
    """A worker process ended before its task did."""


class Executor(Protocol):
    """What runs the cells of an experiment."""

    def everywhere(self, function: Callable[[], Result]) -> list[Result]:
        """Call a function once on every machine that will run items, before any does."""

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[tuple[int, Result]]:
        """Results of `function` over `items` with the items' indices, in the order in which they come.

        Raises:
            WorkerDiedError: if a worker dies.
        """


def make_executor(kind: str, workers: int | None = None, address: str | None = None) -> Executor:
    """The executor of this kind.

    Args:
        workers: processes; by default all cores.
        address: of a running Ray cluster; by default one is started on this machine.

    Raises:
        ExecutorError: no such executor, or it cannot be had with these settings.
    """
    if kind not in EXECUTORS:
        raise ExecutorError(f"executor: value '{kind}' ({nearest(kind, EXECUTORS)})")
    if address is not None and kind != "ray":
        raise ExecutorError(f"address: given with executor '{kind}' (allowed: with ray)")
    if kind == "ray":
        try:
            from vcpu_env.executor_ray import Ray
        except ImportError:
            raise ExecutorError("executor: value 'ray' (needs Ray: pip install 'vcpu-env[ray]')") from None
        return Ray(workers, address)
    if kind == "inline" or workers == 1:
        return Inline()
    return ProcessPool(workers or available_cores())


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
