"""From a scenario's programs of threads, on the host and in VMs, to tasks of the kernel and their operations."""

from collections.abc import Sequence

import numpy as np

from vcpu_env.base.world import World
from vcpu_env.engine.host_tasks.program import HostProgram, HostTaskPlan
from vcpu_env.kernel.build import Group, Task
from vcpu_env.kernel.cpumask import allow, cpu_words
from vcpu_env.kernel.types import SCHED_BATCH, SCHED_FIFO, SCHED_IDLE, SCHED_NORMAL, SCHED_RR
from vcpu_env.scenario.host_tasks import Step, Thread, all_steps, uses
from vcpu_env.scenario.model import Scenario
from vcpu_env.scenario.vm import Vm

ALL_CPUS = (-1, -1, -1, -1)
POLICIES = {"normal": SCHED_NORMAL, "batch": SCHED_BATCH, "idle": SCHED_IDLE, "fifo": SCHED_FIFO, "rr": SCHED_RR}


def creates_vcpus(task: Thread) -> bool:
    """Whether it is a VMM's main thread."""
    return any(step.action == "create_vcpu" for step in all_steps(task.program))


def vcpu_tasks(vm: Vm, groups: Sequence[int], cpus: Sequence[int]) -> list[Task]:
    """The vCPU threads of a VM as the scheduler knows them."""
    tasks = []
    for vcpu, (group, cpu) in enumerate(zip(groups, cpus, strict=True)):
        sched = next((sched for sched in vm.vcpusched if sched.vcpus is None or vcpu in sched.vcpus), None)
        policy, priority = ("normal", None) if sched is None else (sched.scheduler, sched.priority)
        tasks.append(Task(group=group, cpu=cpu, policy=POLICIES[policy], priority=priority or 0))
    return tasks


def kernel_tasks(scenario: Scenario, groups: list[int], rng: np.random.Generator) -> list[Task]:
    """The host tasks as the scheduler knows them; the i-th is forked on the i-th CPU that it may run on.

    Whoever launches a VM does so on any CPU.
    """
    tasks = []
    for i, (spec, group) in enumerate(zip(scenario.expanded_host_tasks, groups, strict=True)):
        cpus = spec.cpus or tuple(range(scenario.host.cpus))
        if creates_vcpus(spec):
            i = int(rng.integers(len(cpus)))
        tasks.append(
            Task(
                group=group,
                nice=spec.nice,
                weight=spec.weight,
                policy=POLICIES[spec.policy],
                priority=spec.priority or 0,
                slice_ns=spec.slice_ns,
                cpu=cpus[i % len(cpus)],
            )
        )
    return tasks


def allow_host_tasks(world: World, scenario: Scenario, first: int) -> None:
    """sched_setaffinity() of the host tasks, whose ids begin at `first`."""
    for p, spec in enumerate(scenario.expanded_host_tasks, first):
        if spec.cpus is not None:
            allow(world, p, spec.cpus)


def host_task_plans(
    scenario: Scenario, groups: Sequence[Group], launched_ns: list[int]
) -> tuple[list[HostTaskPlan], list[int]]:
    """The programs of the host tasks; of every signal how many tasks meet there (0: it is no barrier).

    Args:
        launched_ns: when each VM is created, and its threads with it.
    """
    tasks = scenario.expanded_host_tasks
    vms = {vm.name: i for i, vm in enumerate(scenario.expanded_vms)}
    barriers = uses(tasks, "barrier")
    names = [f"vm/{i}" for i in range(len(vms))]
    names += [f"{kind}/{name}" for kind in ("signal", "lock") for name in uses(tasks, kind)]
    parties = [0] * len(names) + list(barriers.values())
    ids = {name: i for i, name in enumerate([*names, *(f"barrier/{name}" for name in barriers)])}
    ids |= {f"group/{group.owner[1]}": tg for tg, group in enumerate(groups, 1) if group.owner[0] == "group"}
    ids["group//"] = 0
    plans = []
    for spec in tasks:
        program = HostProgram()
        vm = vms[spec.vm] if spec.vm else None
        add_steps(program, spec.program, ids, vm, 0)
        serves = any(step.action == "serve_ns" for step in all_steps(spec.program))
        start_ns = spec.start_ns if vm is None else launched_ns[vm]
        plans.append(HostTaskPlan(program, start_ns, spec.timer_slack_ns, vm, serves))
    return plans, parties


def add_steps(program: HostProgram, steps: Sequence[Step], ids: dict[str, int], vm: int | None, level: int) -> None:
    """Append what the steps say; `ids`: of signals and groups, `level`: in how many loops they lie."""
    for step in steps:
        if step.run_ns is not None:
            program.run(step.run_ns, step.dist)
        elif step.sleep_ns is not None:
            program.sleep(step.sleep_ns, step.dist)
        elif step.timer_ns is not None:
            program.timer(step.timer_ns, step.timer, step.relative)
        elif step.sched_yield is not None:
            program.sched_yield()
        elif step.wait is not None:
            mutex = None if step.mutex is None else ids[f"lock/{step.mutex}"]
            program.wait(ids[f"signal/{step.wait}"], mutex)
        elif step.signal is not None:
            program.signal(ids[f"signal/{step.signal}"], not step.lossy, step.to_all, step.sync)
        elif step.barrier is not None:
            program.barrier(ids[f"barrier/{step.barrier}"])
        elif step.lock is not None:
            program.lock(ids[f"lock/{step.lock}"])
        elif step.unlock is not None:
            program.unlock(ids[f"lock/{step.unlock}"])
        elif step.serve_ns is not None:
            program.wait(ids[f"vm/{vm}"])
            program.run(step.serve_ns, step.dist)
            program.served()
        elif step.create_vcpu is not None:
            program.create_vcpu()
        elif step.repeat is not None:
            mark = program.here()
            add_steps(program, step.steps, ids, vm, level + 1)
            program.repeat(step.repeat, mark, level)
        elif step.cpus is not None:
            program.affinity(cpu_words(step.cpus) if step.cpus else ALL_CPUS)
        elif step.group is not None:
            program.group(ids[f"group/{step.group}"])
        elif step.nice is not None:
            program.nice(step.nice)
        elif step.policy is not None:
            program.policy(POLICIES[step.policy])
        else:
            program.exit()
