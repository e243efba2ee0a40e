"""Runs items on a Ray cluster, in batches. Every machine of it needs this project, from the same commit."""

import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from vcpu_env.executors.base import ExecutorError, Item, Result, WorkerDiedError

LARGEST_BATCH = 16
"""Items in one Ray task at most: a task of its own for each small item would cost more than the item."""

BATCHES_PER_CPU = 4
"""Batches that a CPU gets if there are enough items: more even out the load, fewer cost less."""


class Ray:
    """Runs items on a Ray cluster.

    Args:
        workers: CPUs to use at most; None: all of the cluster. It also sizes a cluster that is started here.
        address: of a running cluster; None: one is started on this machine, and stopped at the end.
    """

    def __init__(self, workers: int | None, address: str | None):
        self.workers = workers
        if ray.is_initialized():
            return
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        started_here = {"include_dashboard": False, "num_cpus": workers}
        cluster = {"address": address} if address is not None else started_here
        on_sigterm = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **cluster)
        except (ConnectionError, ValueError, RuntimeError) as error:
            line = str(error).strip().partition("\n")[0]
            raise ExecutorError(f"address: value '{address}' (allowed: that of a running cluster; {line})") from None
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray has set its own

    def everywhere(self, function: Callable[[], Result]) -> list[Result]:
        """Call the function once on every machine of the cluster."""
        nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        pinned = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
        return [_value(call) for call in [_run.options(scheduling_strategy=to).remote(function) for to in pinned]]

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[tuple[int, Result]]:
        """Batches of items, to whichever CPU is free; no more in flight than there are CPUs for.

        The results of a batch come one by one, so that those of a run that is killed meanwhile are not lost.
        """
        cpus = int(ray.cluster_resources().get("CPU", 1))
        width = min(cpus, self.workers or cpus)
        size = max(1, min(LARGEST_BATCH, len(items) // (BATCHES_PER_CPU * width)))
        waiting = [range(start, min(start + size, len(items))) for start in range(0, len(items), size)][::-1]
        shared = ray.put(function)
        flying: dict[ray.ObjectRefGenerator, Iterator[int]] = {}
        try:
            while waiting or flying:
                while waiting and len(flying) < width:
                    batch = waiting.pop()
                    flying[_run_batch.remote(shared, [items[i] for i in batch])] = iter(batch)
                (ready,), _ = ray.wait(list(flying), num_returns=1)
                result = next(ready, None)
                if result is None:
                    del flying[ready]
                else:
                    yield next(flying[ready]), _value(result)
        finally:
            for call in flying:
                ray.cancel(call, force=True)


@ray.remote
def _run(function):
    return function()


@ray.remote(num_returns="streaming")
def _run_batch(function, batch):
    for item in batch:
        yield function(item)


def _value(call):
    """The result of a call; its own exception if it raised one."""
    try:
        return ray.get(call)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.ObjectLostError) as error:
        raise WorkerDiedError(str(error).partition("\n")[0]) from None
