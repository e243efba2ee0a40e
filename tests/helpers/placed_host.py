"""Hosts whose tasks lie where a test wants them."""

from tests.helpers.smp_driver import Host
from vcpu_env.kernel.build import Task


def pinned_start(nr_cpus: int, cpus: list[int], **options) -> Host:
    """Always-busy tasks, task p started on ``cpus[p]``, then free to go anywhere."""
    host = Host(nr_cpus, [Task(cpu=cpu) for cpu in cpus], **options)
    for p, cpu in enumerate(cpus):
        host.pin(p, cpu)
    host.start(*range(len(cpus)))
    host["task_struct"]["cpus_allowed"] = -1
    return host
