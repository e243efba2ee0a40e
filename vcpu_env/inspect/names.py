"""Names and thread ids of what a trace shows: host tasks and vCPUs as the host's tools would list them."""

from typing import NamedTuple

from vcpu_env.build.blueprint import Blueprint

FIRST_PID = 1000
"""Thread ids begin here; 0 is the idle task."""
FIRST_PROCESS = 500_000
"""Process ids of the VMs, one each."""
COMM_LENGTH = 15


class Task(NamedTuple):
    """A task of the host.

    Attributes:
        pid: its thread id in texts.
        tgid: the id of its process: the VM's, or its own.
        comm: its name, at most 15 characters.
        process: the process's name.
        vm: index of the VM that it belongs to, None for others.
        vcpu: number within the VM, None for tasks that are no vCPU.
    """

    pid: int
    tgid: int
    comm: str
    process: str
    vm: int | None = None
    vcpu: int | None = None


def tasks_of(plan: Blueprint) -> list[Task]:
    """All tasks of a machine by their ids: vCPUs first, then the host's others."""
    vms = plan.scenario.expanded_vms
    places = {vm.name: i for i, vm in enumerate(vms)}
    tasks: list[Task] = []
    for i, vm in enumerate(vms):
        for n in range(vm.vcpus):
            comm = f"CPU {n}/{vm.name}"[:COMM_LENGTH]
            tasks.append(Task(FIRST_PID + len(tasks), FIRST_PROCESS + i, comm, vm.name, i, n))
    for spec in plan.scenario.expanded_host_tasks:
        owner = places.get(spec.emulator_of) if spec.emulator_of else None
        pid = FIRST_PID + len(tasks)
        process = spec.name if owner is None else vms[owner].name
        tgid = pid if owner is None else FIRST_PROCESS + owner
        tasks.append(Task(pid, tgid, spec.name.removeprefix("noise-")[:COMM_LENGTH], process, owner))
    return tasks


def group_names(plan: Blueprint) -> list[str]:
    """All task groups by their ids; 0 is the root. What a scenario does not name has its kind, or a number."""
    owners = [f"{kind} {name}".strip() for kind, name in (group.owner for group in plan.groups)]
    return ["root", *(owner or f"group {tg}" for tg, owner in enumerate(owners, start=1))]


def thread_names(plan: Blueprint) -> list[str]:
    """All guest threads by their ids, as ``vm/thread 3``."""
    vms = plan.scenario.expanded_vms
    return [
        f"{vm.name}/thread {i}" for vm, guest in zip(vms, plan.guests, strict=True) for i in range(len(guest.programs))
    ]


def lock_names(plan: Blueprint) -> list[str]:
    """All locks of all guests by their ids, as ``vm/lock 3``."""
    vms = plan.scenario.expanded_vms
    return [
        f"{vm.name}/lock {i}" for vm, guest in zip(vms, plan.guests, strict=True) for i in range(len(guest.lock_kinds))
    ]
