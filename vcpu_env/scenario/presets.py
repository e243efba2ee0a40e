"""Host tasks that a scenario has by a single word: a VM's own threads beside its vCPUs, and background noise.

The numbers of the VMM and of the noise level ``quiet`` are measured: on a v6.19 host with kvm-amd, 2 and 4 CPUs, that
runs nothing but VMs. Every other number is an estimate that nobody has checked [assumed].
"""

from typing import Any

from vcpu_env.scenario.bounds import LONGEST_NS
from vcpu_env.scenario.host_tasks import HostTask, Sched, Step
from vcpu_env.scenario.vm import Vm

VMM_WORK_NS = 100_000
"""What a VMM's main thread computes before it creates vCPUs, and again afterwards: 0.2 ms in all [measured]."""
VCPU_GAP_NS = 580_000
"""Mean time from one vCPU's creation to the next: lognormal, 9 of 10 within 0.11 to 1.6 ms [measured: 0.09 to 2 ms]."""

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
    "quiet": {"kworker": periodic(667_000_000, 40_000)},
    "light": {"kworker": periodic(100_000_000, 10_000)},
    "heavy": {"kworker": periodic(10_000_000, 20_000), "ksoftirqd": periodic(5_000_000, 60_000)},
}
"""Kernel threads of every CPU, pinned there, by the level of noise."""

UNBOUND = {
    "none": {},
    "quiet": {
        "rcu_preempt": (1, periodic(77_000_000, 3_300)),
        "kcompactd": (1, periodic(500_000_000, 3_500)),
    },
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


def vmm_task(vm: Vm) -> HostTask:
    """The main thread of a VM's VMM: it creates the vCPUs one after another, then sleeps for good."""
    create = Step(repeat=vm.vcpus, steps=(Step(create_vcpu=True), Step(sleep_ns=VCPU_GAP_NS, dist="lognormal_0.8")))
    work = Step(run_ns=VMM_WORK_NS)
    return HostTask(name=f"{vm.name}-vmm", program=(work, create, work, Step(sleep_ns=LONGEST_NS)), **_of_emulator(vm))


def emulator_tasks(vm: Vm) -> list[HostTask]:
    """A VM's threads beside its vCPUs: QEMU's own and a vhost worker in its emulator cgroup, or IOThreads in theirs."""
    tasks = []
    if vm.emulator_threads:
        tasks.append(
            HostTask(name=f"{vm.name}-emulator", count=vm.emulator_threads, program=EMULATOR, **_of_emulator(vm))
        )
    serve = (Step(serve_ns=vm.vhost_ns),) if vm.vhost_ns else ()
    if vm.iothreads:
        sets = vm.iothread_cpus or (None,) * vm.iothreads
        of_vm: dict[str, Any] = {"iothread_of": vm.name, "start_ns": vm.start_ns, "program": serve}
        of_vm |= _sched(vm.iothreadsched)
        tasks += [HostTask(name=f"{vm.name}-iothread{i}", cpus=cpus, **of_vm) for i, cpus in enumerate(sets, 1)]
    elif serve:
        tasks.append(HostTask(name=f"{vm.name}-vhost", program=serve, **_of_emulator(vm)))
    return tasks


def _of_emulator(vm: Vm) -> dict[str, Any]:
    of_vm = {"emulator_of": vm.name, "start_ns": vm.start_ns, "cpus": vm.emulator_cpus}
    return of_vm | _sched(vm.emulatorsched)


def _sched(sched: Sched | None) -> dict[str, Any]:
    return {} if sched is None else {"policy": sched.scheduler, "priority": sched.priority}
