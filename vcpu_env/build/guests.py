"""What runs in each VM of a scenario. To plan it compiles nothing, so that it is checked before all else."""

from vcpu_env.build.size import MIB, check_size, guest_structs, max_mib, size_of
from vcpu_env.build.threads import plan_threads
from vcpu_env.guest.plan import GuestPlan
from vcpu_env.guest.program import Program
from vcpu_env.guest.types import SPIN_LOCK_KINDS
from vcpu_env.guest.workloads import WORKLOADS, workload_parameters
from vcpu_env.guest.workloads.described import build_described
from vcpu_env.scenario.model import Scenario


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
