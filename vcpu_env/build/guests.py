"""What runs in each VM of a scenario. To plan it compiles nothing, so that it is checked before all else."""

from collections.abc import Sequence

from vcpu_env.build.size import MIB, check_size, guest_structs, max_mib, size_of
from vcpu_env.guest.plan import GuestPlan
from vcpu_env.guest.program import Instances, Program
from vcpu_env.guest.types import SPIN_LOCK_KINDS
from vcpu_env.guest.workloads import WORKLOADS, workload_parameters
from vcpu_env.guest.workloads.described import build_described
from vcpu_env.scenario.host_tasks import Step, Thread, uses
from vcpu_env.scenario.model import Scenario

MANY_ITEMS = 1 << 40
"""Room for signals that nobody has waited for yet."""


def guest_plans(scenario: Scenario) -> list[GuestPlan]:
    """What runs in each VM.

    Raises:
        ValueError: a workload is wrong, or the guests are too large.
    """
    plans: list[GuestPlan] = []
    size = 0
    for vm in scenario.expanded_vms:
        plan = GuestPlan(vm.vcpus, SPIN_LOCK_KINDS[vm.lock])
        if vm.threads:
            plan_threads(plan, vm.threads)
        elif vm.workload in scenario.workloads:
            if vm.workload in WORKLOADS:
                raise ValueError(
                    f"workloads.{vm.workload}: the name is taken (allowed: other than {', '.join(WORKLOADS)})"
                )
            workload = scenario.workloads[vm.workload]
            build_described(plan, workload.model_dump(), workload.programs(vm.params))
        else:
            parameters = workload_parameters(vm.workload, vm.params)
            WORKLOADS[vm.workload].build(plan, parameters)
        if scenario.host.placement == "launched":
            plan.boot = Program.boot(vm.boot_ns, len(plan.programs) / vm.vcpus)
        plans.append(plan)
        size += sum(map(size_of, guest_structs([plan])))
        if size > max_mib() * MIB:
            check_size(scenario.name, guest_structs(plans))
    return plans


def plan_threads(plan: GuestPlan, threads: Sequence[Thread]) -> None:
    """A VM's threads: sleeps are a device's, signals items of a queue, mutexes futexes; a turn is a unit of work."""
    objects = {f"lock/{name}": plan.futexes(1) for name in uses(threads, "lock")}
    objects |= {f"signal/{name}": plan.queues(1, MANY_ITEMS) for name in uses(threads, "signal")}
    objects |= {f"barrier/{name}": plan.barriers(parties) for name, parties in uses(threads, "barrier").items()}
    for thread in threads:
        program = Program()
        add_guest_steps(program, thread.program, objects)
        program.work()
        for _ in range(thread.count):
            plan.thread(program)


def add_guest_steps(program: Program, steps: Sequence[Step], objects: dict[str, Instances]) -> None:
    """Append what the steps say."""
    for step in steps:
        if step.run_ns is not None:
            program.user(step.run_ns, step.dist)
        elif step.sleep_ns is not None:
            program.block(step.sleep_ns, step.dist)
        elif step.wait is not None:
            program.get(objects[f"signal/{step.wait}"])
        elif step.signal is not None:
            program.put(objects[f"signal/{step.signal}"])
        elif step.barrier is not None:
            program.barrier(objects[f"barrier/{step.barrier}"])
        elif step.lock is not None:
            program.lock(objects[f"lock/{step.lock}"])
        elif step.unlock is not None:
            program.unlock()
        else:
            mark = program.here()
            add_guest_steps(program, step.steps, objects)
            program.repeat(step.repeat or 1, mark)
