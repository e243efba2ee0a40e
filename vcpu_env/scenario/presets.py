"""Host tasks that a scenario has by a single word: QEMU's own threads, vhost workers, and background noise.

Every number here is an estimate that nobody has checked [assumed].
"""

from typing import Any

from vcpu_env.scenario.host_tasks import HostTask, Step

EMULATOR = (
    Step(sleep_ns=10_000_000, dist="exponential"),
    Step(run_ns=30_000, dist="lognormal_0.8"),
)
"""QEMU's main loop: a timer, a monitor command, a poll of its file descriptors."""


def periodic(sleep_ns: int, run_ns: int) -> tuple[Step, ...]:
    """Sleep and compute, in turn, at random."""
    return (Step(sleep_ns=sleep_ns, dist="exponential"), Step(run_ns=run_ns, dist="lognormal_0.8"))


PER_CPU = {
    "none": {},
    "light": {"kworker": periodic(100_000_000, 10_000)},
    "heavy": {"kworker": periodic(10_000_000, 20_000), "ksoftirqd": periodic(5_000_000, 60_000)},
}
"""Kernel threads of every CPU, pinned there, by the level of noise."""

UNBOUND = {
    "none": {},
    "light": {"daemon": (1, periodic(200_000_000, 300_000))},
    "heavy": {"daemon": (4, periodic(50_000_000, 500_000)), "scraper": (1, periodic(1_000_000_000, 30_000_000))},
}
"""Threads that run anywhere: how many, and what they do."""


def noise_tasks(level: str, cpus: int) -> list[HostTask]:
    """The background of a host of `cpus` CPUs: kernel threads of each CPU, then daemons."""
    tasks = [
        HostTask(name=f"{name}-cpu{cpu}", cpus=(cpu,), program=program)
        for name, program in PER_CPU[level].items()
        for cpu in range(cpus)
    ]
    return tasks + [
        HostTask(name=f"noise-{name}", count=count, program=program)
        for name, (count, program) in UNBOUND[level].items()
    ]


def emulator_tasks(vm: str, start_ns: int, emulator_threads: int, vhost_ns: int) -> list[HostTask]:
    """A VM's threads beside its vCPUs, in its emulator cgroup: QEMU's own, and a vhost worker."""
    of_vm: dict[str, Any] = {"emulator_of": vm, "start_ns": start_ns}
    tasks = []
    if emulator_threads:
        tasks.append(HostTask(name=f"{vm}-emulator", count=emulator_threads, program=EMULATOR, **of_vm))
    if vhost_ns:
        tasks.append(HostTask(name=f"{vm}-vhost", program=(Step(serve_ns=vhost_ns),), **of_vm))
    return tasks
