"""What an executor is: it maps a function over items and yields (index, result) as they come."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from vcpu_env.base.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")


class ExecutorError(InputError):
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
