"""A scenario read out: who is there and what runs in whom, before anything is laid out in memory."""

from dataclasses import dataclass

from vcpu_env.base.random import VM_LAUNCH, draw, seed_key, stream_key
from vcpu_env.build.cgroups import UNLIMITED, bandwidth_of, cpu_shares, thread_limits
from vcpu_env.build.guests import guest_plans
from vcpu_env.build.threads import host_task_plans
from vcpu_env.engine.host_tasks.program import HostTaskPlan
from vcpu_env.guest.plan import GuestPlan
from vcpu_env.kernel.build import Group
from vcpu_env.kernel.topology import Cpu, Domains, domains_of
from vcpu_env.kernel.weights import WEIGHT_IDLEPRIO
from vcpu_env.scenario.cgroup_writes import Limits, limits_of
from vcpu_env.scenario.model import Scenario


@dataclass(frozen=True)
class Blueprint:
    """What a machine is made of.

    Attributes:
        seed: of all randomness.
        groups: the task groups; group *i* of the kernel is `groups[i - 1]`, 0 the root.
        vcpu_groups: of each VM, the group of each vCPU thread.
        host_task_groups: the group of each host task.
        guests: what runs in each VM.
        host_tasks, parties: the programs of host tasks, and how many tasks meet at each of their signals.
        launched_ns: when each VM is created.
        domains: the scheduling domains of the host's CPUs.
    """

    scenario: Scenario
    seed: int
    groups: list[Group]
    vcpu_groups: list[list[int]]
    host_task_groups: list[int]
    guests: list[GuestPlan]
    host_tasks: list[HostTaskPlan]
    parties: list[int]
    launched_ns: list[int]
    domains: Domains

    @property
    def nr_vcpus(self) -> int:
        """vCPUs of all VMs."""
        return sum(vm.vcpus for vm in self.scenario.expanded_vms)

    @property
    def nr_threads(self) -> int:
        """Guest threads of all VMs."""
        return sum(len(guest.programs) for guest in self.guests)

    @property
    def nr_hrticks(self) -> int:
        """CPUs with a timer that ends slices."""
        return self.scenario.host.cpus if self.scenario.host.features["HRTICK"] else 0

    @property
    def nr_servers(self) -> int:
        """CPUs with a server that keeps fair tasks from starving."""
        return self.scenario.host.cpus if self.scenario.has_rt_tasks else 0

    @property
    def nr_slots(self) -> int:
        """Entries of the timeline without those of cgroups: a CPU's three, one of each vCPU, thread, host task, VM.

        With HRTICK a CPU has one more, and with real-time tasks.
        """
        others = self.nr_vcpus + self.nr_threads + len(self.host_tasks) + len(self.guests)
        others += self.nr_hrticks + self.nr_servers
        return 3 * self.scenario.host.cpus + others


def blueprint_of(scenario: Scenario, seed: int) -> Blueprint:
    """Read a scenario out.

    Raises:
        ValueError: the scenario names an unknown workload or workload parameter.
    """
    groups, vcpu_groups, host_task_groups = cgroup_tree(scenario)
    launched_ns = launch_times(scenario, seed)
    host_tasks, parties = host_task_plans(scenario, groups, launched_ns)
    return Blueprint(
        scenario=scenario,
        seed=seed,
        groups=groups,
        vcpu_groups=vcpu_groups,
        host_task_groups=host_task_groups,
        guests=guest_plans(scenario),
        host_tasks=host_tasks,
        parties=parties,
        launched_ns=launched_ns,
        domains=domains_of(host_cpus(scenario)),
    )


def cgroup_tree(scenario: Scenario) -> tuple[list[Group], list[list[int]], list[int]]:
    """The task groups of a scenario; the group id of each vCPU thread of each VM; that of each host task."""
    groups: list[Group] = []
    ids: dict[str, int] = {}
    emulators: dict[str, int] = {}
    iothreads: dict[str, int] = {}
    host_tasks = scenario.expanded_host_tasks
    emulated = {task.emulator_of for task in host_tasks}

    def add(parent: int, weight: int, kind: str = "", name: str = "", limits: Limits = UNLIMITED) -> int:
        shares = WEIGHT_IDLEPRIO << 10 if limits.idle else cpu_shares(weight)
        groups.append(Group(parent, shares, limits.idle, bandwidth_of(limits), (kind, name)))
        return len(groups)

    remaining = list(scenario.groups)
    while remaining:
        for group in list(remaining):
            if group.parent is None or group.parent in ids:
                parent = ids.get(group.parent or "", 0)
                ids[group.name] = add(parent, group.weight, "group", group.name, limits_of(group))
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
            places.append([add(parent, vm.weight, "vm", vm.name, limits_of(vm))] * vm.vcpus)
        else:
            scope = add(add(parent, vm.weight, "vm", vm.name, limits_of(vm)), 100)
            own = thread_limits(vm, "vcpu")
            places.append([add(scope, 100, "vcpu", f"{vm.name}/vcpu{i}", own) for i in range(vm.vcpus)])
            if vm.name in emulated:
                own = thread_limits(vm, "emulator")
                emulators[vm.name] = add(scope, 100, "emulator", f"{vm.name}/emulator", own)
            for task in host_tasks:
                if task.iothread_of == vm.name:
                    own = thread_limits(vm, "iothread")
                    iothreads[task.name] = add(scope, 100, "iothread", f"{vm.name}/{task.name}", own)
        emulators.setdefault(vm.name, places[-1][0] if preset == "per_vm" and vm.vcpu_groups is None else parent)
    above = ids | {None: 0}
    of_tasks = [iothreads.get(t.name, emulators[t.vm]) if t.vm else above[t.group] for t in host_tasks]
    return groups, places, of_tasks


def host_cpus(scenario: Scenario) -> list[Cpu]:
    """Core, last-level cache and node of every CPU."""
    return [Cpu(*place) for place in scenario.host.cpu_table]


def launch_times(scenario: Scenario, seed: int) -> list[int]:
    """When each VM is created: those that start together are launched in turn, each at random within its gap."""
    host, vms = scenario.host, scenario.expanded_vms
    if host.placement != "launched":
        return [vm.start_ns for vm in vms]
    turns: dict[int, int] = {}
    times = []
    for i, vm in enumerate(vms):
        turn = turns[vm.start_ns] = turns.get(vm.start_ns, -1) + 1
        within_ns = draw(stream_key(seed_key(seed), VM_LAUNCH, i), 0) * (host.launch_gap_ns + 1) >> 32
        times.append(vm.start_ns + turn * host.launch_gap_ns + within_ns)
    return times
