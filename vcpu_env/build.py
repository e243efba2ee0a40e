"""From a scenario and a policy to a world: cgroups, vCPU threads, guests, parameters, everything at time 0."""

import numpy as np

from vcpu_env.engine_state import HOST_COSTS, engine_arrays
from vcpu_env.guest.balance import busy_balance_ns
from vcpu_env.guest.plan import GuestPlan, Offsets, place_guest, program_ops
from vcpu_env.guest.random import stream_key
from vcpu_env.guest.rcu import init_rcu, rcu_arrays
from vcpu_env.guest.types import IPI_MODES, SPIN_LOCK_KINDS, STEAL_TIME, guest_arrays
from vcpu_env.guest.workloads import WORKLOADS, workload_parameters
from vcpu_env.kernel.build import Group, Task, Tunables, allow_only, build_kernel
from vcpu_env.kernel.timeline import NEVER, init_timeline, timeline_arrays
from vcpu_env.kernel.types import (
    FEATURES,
    LAG_CLAMP_6_19_0,
    LAG_CLAMP_6_19_9,
    REWEIGHT_FIXED,
    REWEIGHT_V6_19,
    kernel_arrays,
)
from vcpu_env.kvm.lapic import lapic_arrays
from vcpu_env.kvm.pcpu import init_pcpus, pcpu_arrays
from vcpu_env.kvm.types import (
    APICV_AVIC,
    APICV_IPIV,
    APICV_OFF,
    APICV_ON,
    PLE_OFF,
    PLE_SVM,
    PLE_VMX,
    kvm_arrays,
    kvm_init,
)
from vcpu_env.policy.named import Policy
from vcpu_env.policy.types import init_policy, policy_arrays
from vcpu_env.policy.view import init_view, view_arrays
from vcpu_env.scenario.model import Scenario, Vm
from vcpu_env.world import World

SPIN_THRESHOLD_LOOPS = 1 << 15
"""Turns of the loop after which a pv waiter halts (SPIN_THRESHOLD of the guest kernel)."""

GUEST_COSTS = {
    "switch_ns": 1500,
    "futex_ns": 1000,
    "wake_ns": 500,
    "timer_ns": 2500,
    "call_ns": 700,
    "reschedule_ns": 300,
    "io_ns": 2000,
    "notice_ns": 100,
}
"""What the guest kernel's own work costs (ns); [assumed] except the context switch, half a measured round trip."""

TICK_PHASE = 7
"""Stream purpose, beside those of `guest.random`: the phase of a guest's tick."""


def cpu_shares(weight: int) -> int:
    """Scaled shares of a cgroup's cpu.weight (sched_weight_from_cgroup)."""
    return max(2, (weight * 1024 + 50) // 100) << 10


def cgroup_tree(scenario: Scenario) -> tuple[list[Group], list[list[int]]]:
    """The task groups of a scenario, and for each VM the group id of each of its vCPU threads."""
    groups: list[Group] = []
    ids: dict[str, int] = {}

    def add(parent: int, weight: int) -> int:
        groups.append(Group(parent=parent, shares=cpu_shares(weight)))
        return len(groups)

    remaining = list(scenario.groups)
    while remaining:
        for group in list(remaining):
            if group.parent is None or group.parent in ids:
                ids[group.name] = add(ids.get(group.parent or "", 0), group.weight)
                remaining.remove(group)
    preset = scenario.host.cgroups
    machine_slice = add(0, 100) if preset == "libvirt" else 0
    places = []
    for vm in scenario.expanded_vms:
        parent = ids[vm.group] if vm.group else machine_slice
        if vm.vcpu_groups is not None:
            places.append([ids[name] for name in vm.vcpu_groups])
        elif preset == "flat":
            places.append([parent] * vm.vcpus)
        elif preset == "per_vm":
            places.append([add(parent, vm.weight)] * vm.vcpus)
        else:
            scope = add(add(parent, vm.weight), 100)
            places.append([add(scope, 100) for _ in range(vm.vcpus)])
    return groups, places


def vcpu_cpus(scenario: Scenario, vm: Vm, rng: np.random.Generator) -> tuple[list[int], bool]:
    """Where each vCPU of a VM starts, and whether it must stay there."""
    cpus, placement = scenario.host.cpus, scenario.host.placement
    if vm.pinning is not None:
        return list(vm.pinning), True
    if placement == "one_to_one":
        return [i % cpus for i in range(vm.vcpus)], True
    if placement == "random_pinning":
        return rng.integers(cpus, size=vm.vcpus).tolist(), True
    order = np.concatenate([rng.permutation(cpus) for _ in range(-(-vm.vcpus // cpus))])
    return order[: vm.vcpus].tolist(), False


def guest_plans(scenario: Scenario) -> list[GuestPlan]:
    """What runs in each VM."""
    plans = []
    for vm in scenario.expanded_vms:
        plan = GuestPlan(vm.vcpus, SPIN_LOCK_KINDS[vm.lock])
        parameters = workload_parameters(vm.workload, vm.params)
        WORKLOADS[vm.workload].build(plan, parameters)
        plans.append(plan)
    return plans


def build_world(scenario: Scenario, policy: Policy, seed: int) -> World:
    """Lay out and fill the world of a scenario.

    Raises:
        ValueError: the scenario names an unknown workload or workload parameter.
    """
    host, vms = scenario.host, scenario.expanded_vms
    plans = guest_plans(scenario)
    groups, places = cgroup_tree(scenario)
    nr_vcpus = sum(vm.vcpus for vm in vms)
    nr_threads = sum(len(plan.programs) for plan in plans)
    nr_slots = 3 * host.cpus + nr_vcpus + nr_threads + len(vms)
    world = World(
        [
            *kernel_arrays(host.cpus, nr_vcpus, len(groups)),
            *policy_arrays(),
            *view_arrays(),
            *kvm_arrays(len(vms), nr_vcpus),
            *pcpu_arrays(host.cpus),
            *lapic_arrays(nr_vcpus),
            *guest_arrays(
                nr_vcpus,
                nr_threads,
                sum(len(plan.lock_kinds) for plan in plans),
                sum(len(plan.queue_capacities) for plan in plans),
                sum(sum(program_ops(plan).values()) for plan in plans),
                len(vms),
            ),
            *rcu_arrays(len(vms)),
            *timeline_arrays(nr_slots),
            *engine_arrays(),
        ]
    )
    init_timeline(world)
    init_pcpus(world, nr_vcpus, nr_threads, len(vms))
    init_rcu(world)
    init_policy(world)
    init_view(world)
    fill_kernel(world, scenario, groups, places, seed)
    fill_kvm(world, scenario)
    at = Offsets()
    for vm, plan in enumerate(plans):
        place_guest(world, vm, plan, at, seed)
    fill_costs(world, scenario)
    fill_guest_kernels(world, scenario, seed)
    policy.apply(world)
    world["engine"]["exact_ticks"] = host.exact_ticks
    world["coscheduling"]["nr_vms"] = len(vms)
    return world


def fill_kernel(world: World, scenario: Scenario, groups: list[Group], places: list[list[int]], seed: int) -> None:
    """The host scheduler: one task per vCPU, in the VM's cgroup."""
    host = scenario.host
    rng = np.random.default_rng([seed, 0x5C4ED])
    tasks, pinned = [], []
    for vm, where in zip(scenario.expanded_vms, places, strict=True):
        cpus, stay = vcpu_cpus(scenario, vm, rng)
        tasks += [Task(group=group, cpu=cpu) for group, cpu in zip(where, cpus, strict=True)]
        pinned += [stay] * vm.vcpus
    tunables = Tunables(
        hz=host.hz,
        base_slice_ns=host.base_slice_ns,
        migration_cost_ns=host.migration_cost_ns,
        preempt_lazy=host.preempt == "lazy",
        reweight=REWEIGHT_FIXED if host.reweight == "fixed" else REWEIGHT_V6_19,
        lag_clamp=LAG_CLAMP_6_19_9 if host.lag_clamp == "6.19.9" else LAG_CLAMP_6_19_0,
    )
    features = {name: int(on) for name, on in host.features.items() if name in FEATURES}
    build_kernel(world, host.cpus, tasks, groups, tunables, features)
    for p, task in enumerate(tasks):
        if pinned[p]:
            allow_only(world, p, task.cpu)


def fill_kvm(world: World, scenario: Scenario) -> None:
    """KVM's module parameters and the vCPUs of each VM."""
    kvm = scenario.kvm
    kvm_init(
        world,
        [vm.vcpus for vm in scenario.expanded_vms],
        ple_mode={"off": PLE_OFF, "vmx": PLE_VMX, "svm": PLE_SVM}[kvm.ple],
        apicv={"off": APICV_OFF, "apicv": APICV_ON, "ipiv": APICV_IPIV, "avic": APICV_AVIC}[kvm.apicv],
        pv_eoi=int(kvm.pv_eoi),
        ple_gap=kvm.ple_gap,
        ple_window=kvm.ple_window,
        ple_window_grow=kvm.ple_window_grow,
        ple_window_shrink=kvm.ple_window_shrink,
        ple_window_max=kvm.ple_window_max,
        pause_cycles=max(1, kvm.pause_ns * kvm.tsc_mhz // 1000),
        tsc_khz=kvm.tsc_mhz * 1000,
        halt_poll_ns=kvm.halt_poll_ns,
        halt_poll_ns_grow=kvm.halt_poll_ns_grow,
        halt_poll_ns_grow_start=kvm.halt_poll_ns_grow_start,
        halt_poll_ns_shrink=kvm.halt_poll_ns_shrink,
    )
    world["kvm_vcpu"]["task"] = np.arange(len(world["kvm_vcpu"]))
    world["lapic"]["cpu"] = -1


def fill_costs(world: World, scenario: Scenario) -> None:
    """Costs of host and guest work, and what the guest kernels' own constants are."""
    costs = scenario.host.costs
    host = world["host_costs"]
    for name in HOST_COSTS.names or ():
        if name != "cold_cache_ratio_1024":
            host[name] = getattr(costs, name)
    host["cold_cache_ratio_1024"] = round(costs.cold_cache_ratio * 1024)
    apic = world["lapic_costs"]
    apic["ipi_ns"], apic["posted_ipi_ns"], apic["eoi_exit_ns"] = costs.ipi_ns, costs.ipi_ns // 2, costs.eoi_exit_ns
    guest = world["guest_costs"]
    for name, value in GUEST_COSTS.items():
        guest[name] = value
    guest["icr_write_ns"] = costs.icr_write_ns
    guest["pv_ipi_ns"] = costs.vm_exit_ns
    guest["spin_iteration_ns"] = scenario.kvm.pause_ns
    guest["spin_threshold_ns"] = SPIN_THRESHOLD_LOOPS * scenario.kvm.pause_ns


def fill_guest_kernels(world: World, scenario: Scenario, seed: int) -> None:
    """Each guest kernel's tick (guests boot at different times), slice, and what it knows of steal time."""
    vms = world["guest_vm"]
    for vm, spec in enumerate(scenario.expanded_vms):
        tick_ns = 1_000_000_000 // spec.hz
        slice_ns = 700_000 * min(spec.vcpus, 8).bit_length()
        vms["ipi_mode"][vm] = IPI_MODES[spec.ipi_mode]
        vms["tick_ns"][vm] = tick_ns
        vms["tick_phase_ns"][vm] = (stream_key(seed, vm, TICK_PHASE) & 0x7FFFFFFFFFFFFFFF) % tick_ns
        vms["slice_ns"][vm] = slice_ns
        vms["steal_time"][vm] = STEAL_TIME[spec.steal_time]
        vms["pv_tlb_flush"][vm], vms["pv_sched_yield"][vm] = spec.pv_tlb_flush, spec.pv_sched_yield
        vms["balance_ns"][vm] = busy_balance_ns(spec.vcpus) if spec.balance == "periodic" else 0
        vms["start_ns"][vm] = spec.start_ns
        vms["stop_ns"][vm] = NEVER if spec.stop_ns is None else spec.stop_ns
