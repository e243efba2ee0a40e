"""The executor of a name."""

from vcpu_env.base.errors import nearest, whole_number
from vcpu_env.executors.base import Executor, ExecutorError
from vcpu_env.executors.local import Inline, ProcessPool, available_cores

EXECUTORS = ("process", "inline", "ray")
MOST_WORKERS = 1024


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
    if workers is not None:
        workers = whole_number("workers", workers, 1, MOST_WORKERS, ExecutorError)
    if address is not None and kind != "ray":
        raise ExecutorError(f"address: given with executor '{kind}' (allowed: with ray)")
    if kind == "ray":
        try:
            from vcpu_env.executors.ray import Ray
        except ImportError:
            raise ExecutorError("executor: value 'ray' (needs Ray: pip install 'vcpu-env[ray]')") from None
        return Ray(workers, address)
    if kind == "inline" or workers == 1:
        return Inline()
    return ProcessPool(workers or available_cores())
