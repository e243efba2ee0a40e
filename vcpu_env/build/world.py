"""From a scenario and a policy to a world: cgroups, vCPU threads, guests, parameters, everything at time 0."""

from collections.abc import Sequence

import numpy as np

from vcpu_env.base.jit import NIL
from vcpu_env.base.random import VM_TICK_PHASE, draw, seed_key, stream_key
from vcpu_env.base.structs import StructArray
from vcpu_env.base.timeline import NEVER, init_timeline, timeline_arrays
from vcpu_env.base.trace_ring import ALL_GROUPS, trace_arrays
from vcpu_env.base.world import World
from vcpu_env.build.blueprint import Blueprint, blueprint_of, host_cpus
from vcpu_env.build.cgroups import CgroupEvents
from vcpu_env.build.host_changes import HostChanges
from vcpu_env.build.size import check_size, guest_structs
from vcpu_env.build.threads import allow_host_tasks, kernel_tasks, vcpu_tasks
from vcpu_env.engine.alignment import alignment_arrays, init_alignment
from vcpu_env.engine.host_tasks.program import nr_host_ops, place_host_tasks
from vcpu_env.engine.host_tasks.types import host_arrays
from vcpu_env.engine.state import engine_arrays, host_costs
from vcpu_env.guest.balance import busy_balance_ns
from vcpu_env.guest.plan import Offsets, place_guest
from vcpu_env.guest.rcu import init_rcu, rcu_arrays
from vcpu_env.guest.shapes import place_shapes, shape_arrays
from vcpu_env.guest.types import IPI_MODES, STEAL_TIME
from vcpu_env.kernel.build import Task, Tunables, build_kernel
from vcpu_env.kernel.cpumask import allow
from vcpu_env.kernel.features import CGROUP_MODES, FEATURES_7_3, scaled_base_slice_ns
from vcpu_env.kernel.rt_types import rt_arrays
from vcpu_env.kernel.types import (
    KERNEL_6_19,
    KERNEL_7_3,
    LAG_CLAMP_6_19_0,
    LAG_CLAMP_6_19_9,
    REWEIGHT_FIXED,
    REWEIGHT_V6_19,
    WORK_SIGNAL,
    kernel_arrays,
)
from vcpu_env.kernel.yield_types import init_yield, yield_arrays
from vcpu_env.kvm.lapic import lapic_arrays
from vcpu_env.kvm.pcpu import init_pcpus, pcpu_arrays
from vcpu_env.kvm.pvsched import pvsched_arrays
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
from vcpu_env.policy.coscheduling import coscheduling_arrays
from vcpu_env.policy.named import Policy
from vcpu_env.policy.view import init_view, view_arrays
from vcpu_env.scenario.model import Scenario
from vcpu_env.scenario.vm import PARAVIRT, Vm
from vcpu_env.scenario.vm_lives import arriving

KERNELS = {"6.19": KERNEL_6_19, "7.3": KERNEL_7_3}

SPIN_THRESHOLD_LOOPS = 1 << 15
"""Turns of the loop after which a paravirtual waiter halts (SPIN_THRESHOLD of the guest kernel)."""

SPIN_RETRY_LOOPS = 1000
"""Turns of the loop between two yields to a lock's holder (spin_retry of s390)."""

TICK_JITTER_NS = 5_000
"""Of hosts with quotas, unless the scenario says otherwise: whose tick comes first decides who gets what is left."""


def vcpu_cpus(scenario: Scenario, vm: Vm, rng: np.random.Generator) -> tuple[list[int], list[Sequence[int]]]:
    """Where each vCPU of a VM starts, and the CPUs that it may run on (none: all)."""
    cpus, placement = scenario.host.cpus, scenario.host.placement
    if vm.pinning is not None:
        return [own[int(rng.integers(len(own))) if len(own) > 1 else 0] for own in vm.pinning], list(vm.pinning)
    if placement in ("one_to_one", "random_pinning"):
        where = [i % cpus for i in range(vm.vcpus)]
        if placement == "random_pinning":
            where = rng.integers(cpus, size=vm.vcpus).tolist()
        return where, [(cpu,) for cpu in where]
    anywhere: list[Sequence[int]] = [()] * vm.vcpus
    if placement == "launched":
        return [0] * vm.vcpus, anywhere  # the VMM forks them
    order = np.concatenate([rng.permutation(cpus) for _ in range(-(-vm.vcpus // cpus))])
    return order[: vm.vcpus].tolist(), anywhere


def build_world(plan: Blueprint, policy: Policy, trace_events: int = 0, traced: int = ALL_GROUPS) -> World:
    """Lay out and fill the world of a blueprint; room for so many records, of these groups (`base.trace_ring`)."""
    cgroups = CgroupEvents(plan.scenario, plan.groups, first_slot=plan.nr_slots)
    changes = HostChanges(plan.scenario, first_slot=plan.nr_slots + cgroups.nr_slots)
    world = lay_out(plan, cgroups, changes, trace_events)
    init_timeline(world)
    init_pcpus(
        world, plan.nr_vcpus, plan.nr_threads, len(plan.guests), len(plan.host_tasks), plan.nr_hrticks, plan.nr_servers
    )
    init_rcu(world)
    init_alignment(world)
    init_yield(world)
    init_view(world)
    world["random_key"]["key"] = seed_key(plan.seed)
    fill_kernel(world, plan)
    cgroups.fill(world, plan.seed)
    changes.fill(world)
    fill_guests(world, plan)
    place_host_tasks(world, plan.host_tasks, plan.parties)
    if trace_events:
        world["trace_ring"]["length"], world.traced = trace_events, traced
    policy.apply(world)
    fill_ticks(world, plan.scenario, quotas=cgroups.any)
    world["coscheduling"]["nr_vms"] = len(plan.guests)
    return world


def lay_out(plan: Blueprint, cgroups: CgroupEvents, changes: HostChanges, trace_events: int) -> World:
    """The struct arrays of all floors, all zero.

    Raises:
        ValueError: they would be too large.
    """
    arrays = struct_arrays(plan, cgroups, changes, trace_events)
    check_size(plan.scenario.name, arrays)
    return World(arrays)


def machine_bytes(scenario: Scenario) -> int:
    """How large a scenario's machine becomes.

    Raises:
        ValueError: too large.
    """
    plan = blueprint_of(scenario, 0)
    cgroups = CgroupEvents(scenario, plan.groups, first_slot=plan.nr_slots)
    changes = HostChanges(scenario, first_slot=plan.nr_slots + cgroups.nr_slots)
    return check_size(scenario.name, struct_arrays(plan, cgroups, changes, 0))


def struct_arrays(plan: Blueprint, cgroups: CgroupEvents, changes: HostChanges, trace_events: int) -> list[StructArray]:
    """The struct arrays of all floors, each as long as the blueprint needs it."""
    guests, host_tasks, domains = plan.guests, plan.host_tasks, plan.domains
    nr_cpus, nr_vms = plan.scenario.host.cpus, len(guests)
    nr_tasks = plan.nr_vcpus + len(host_tasks)
    return [
        *kernel_arrays(nr_cpus, nr_tasks, len(plan.groups), len(domains.levels), domains.nr_llcs),
        *(rt_arrays(nr_cpus, nr_tasks) if plan.nr_servers else ()),
        *yield_arrays(),
        *view_arrays(),
        *kvm_arrays(nr_vms, plan.nr_vcpus),
        *pcpu_arrays(nr_cpus),
        *lapic_arrays(plan.nr_vcpus),
        *pvsched_arrays(plan.nr_vcpus),
        *guest_structs(guests),
        *shape_arrays(sum(len(guest.shapes) for guest in guests)),
        *rcu_arrays(nr_vms),
        *timeline_arrays(plan.nr_slots + cgroups.nr_slots + changes.nr_slots),
        *engine_arrays(),
        *coscheduling_arrays(),
        *alignment_arrays(nr_vms),
        *host_arrays(len(host_tasks), nr_host_ops(host_tasks), len(plan.parties)),
        *trace_arrays(trace_events),
        *cgroups.arrays(),
        *changes.arrays(),
    ]


def fill_guests(world: World, plan: Blueprint) -> None:
    """KVM's view of the VMs, their threads and programs, what things cost, and each guest kernel's own numbers."""
    fill_kvm(world, plan.scenario)
    at = Offsets()
    for vm, guest in enumerate(plan.guests):
        place_guest(world, vm, guest, at)
    place_shapes(world, [table for guest in plan.guests for table in guest.shapes])
    fill_costs(world, plan.scenario)
    fill_guest_kernels(world, plan)


def fill_ticks(world: World, scenario: Scenario, quotas: bool) -> None:
    """Which ticks the host runs, and when each CPU's come."""
    host, engine = scenario.host, world["engine"]
    engine["exact_ticks"] = host.exact_ticks
    if host.skew_tick:  # tick_setup_sched_timer() of a kernel with skew_tick=1
        world["pcpu"]["tick_phase_ns"] = world["sched_tunables"]["tick_ns"][0] // 2 // host.cpus * np.arange(host.cpus)
    default_jitter_ns = TICK_JITTER_NS if quotas else 0
    engine["tick_jitter_ns"] = default_jitter_ns if host.tick_jitter_ns is None else host.tick_jitter_ns


def fill_kernel(world: World, plan: Blueprint) -> None:
    """The host scheduler: one task per vCPU, in the VM's cgroup, then the other tasks of the host."""
    scenario, host = plan.scenario, plan.scenario.host
    rng = np.random.default_rng([plan.seed, 0x5C4ED])
    tasks: list[Task] = []
    allowed: list[Sequence[int]] = []
    for vm, where in zip(scenario.expanded_vms, plan.vcpu_groups, strict=True):
        cpus, sets = vcpu_cpus(scenario, vm, rng)
        tasks += vcpu_tasks(vm, where, cpus)
        allowed += sets
    first_host_task = len(tasks)
    tasks += kernel_tasks(scenario, plan.host_task_groups, rng)
    tunables = Tunables(
        hz=host.hz,
        base_slice_ns=host.base_slice_ns,
        migration_cost_ns=host.migration_cost_ns,
        preempt_lazy=host.preempt == "lazy",
        reweight=REWEIGHT_FIXED if host.reweight == "fixed" else REWEIGHT_V6_19,
        kernel=KERNELS[host.kernel],
        cgroup_mode=CGROUP_MODES.index(host.cgroup_mode or "concur"),
        lag_clamp=LAG_CLAMP_6_19_9 if host.lag_clamp == "6.19.9" else LAG_CLAMP_6_19_0,
        distribute_cost_ns=host.costs.distribute_ns,
        unthrottle_cost_ns=host.costs.unthrottle_ns,
        tg_walk_cost_ns=host.costs.group_walk_ns,
        fair_server_runtime_ns=host.fair_server_runtime_ns,
        fair_server_period_ns=host.fair_server_period_ns,
    )
    features = {name: int(on) for name, on in host.features.items() if name in FEATURES_7_3}
    first_server = int(world["event_slots"]["fair_server"][0])
    build_kernel(world, host.cpus, tasks, plan.groups, tunables, features, host_cpus(scenario), first_server)
    if plan.nr_hrticks:
        world["rq"]["hrtick_timer"] = world["event_slots"]["hrtick"][0] + np.arange(host.cpus)
    for p, own in enumerate(allowed):
        if own:
            allow(world, p, own)
    allow_host_tasks(world, scenario, first_host_task)


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
    for name in host_costs.fields:
        factor = name.removesuffix("_1024")
        host[name] = getattr(costs, name) if factor == name else round(getattr(costs, factor) * 1024)
    apic = world["lapic_costs"]
    apic["ipi_ns"], apic["posted_ipi_ns"], apic["eoi_exit_ns"] = costs.ipi_ns, costs.ipi_ns // 2, costs.eoi_exit_ns
    guest = world["guest_costs"]
    for name, value in scenario.guest_costs:
        guest[name] = value
    guest["icr_write_ns"] = costs.icr_write_ns
    guest["pv_ipi_ns"] = costs.vm_exit_ns
    guest["spin_iteration_ns"] = scenario.kvm.pause_ns
    guest["spin_threshold_ns"] = SPIN_THRESHOLD_LOOPS * scenario.kvm.pause_ns
    guest["spin_retry_ns"] = SPIN_RETRY_LOOPS * scenario.kvm.pause_ns


def fill_guest_kernels(world: World, plan: Blueprint) -> None:
    """Each guest kernel's tick (guests boot at different times), slice, and what it knows of steal time."""
    scenario, vms = plan.scenario, world["guest_vm"]
    for vm, spec in enumerate(scenario.expanded_vms):
        tick_ns = 1_000_000_000 // spec.hz
        slice_ns = scaled_base_slice_ns(spec.vcpus)
        vms["ipi_mode"][vm] = IPI_MODES[spec.ipi_mode]
        vms["tick_ns"][vm] = tick_ns
        vms["tick_phase_ns"][vm] = draw(stream_key(seed_key(plan.seed), VM_TICK_PHASE, vm), 0) * tick_ns >> 32
        vms["slice_ns"][vm] = slice_ns
        first = vms["first_thread"][vm]
        world["guest_thread"]["deadline"][first : first + vms["nr_threads"][vm]] = slice_ns // 2
        vms["steal_time"][vm] = STEAL_TIME[spec.steal_time]
        for name in PARAVIRT:
            vms[name][vm] = getattr(spec, name)
        vms["balance_ns"][vm] = busy_balance_ns(spec.vcpus) if spec.balance == "periodic" else 0
        vms["launched"][vm] = scenario.host.placement == "launched"
        vms["start_ns"][vm] = plan.launched_ns[vm]
        vms["stop_ns"][vm] = NEVER if spec.stop_ns is None else spec.stop_ns
        vms["paused_since_ns"][vm] = NIL
    for vm in arriving(scenario):
        first = vms["first_vcpu"][vm]
        vms["paused_since_ns"][vm] = vms["start_ns"][vm]
        world["task_struct"]["exit_work"][first : first + vms["nr_vcpus"][vm]] = WORK_SIGNAL
