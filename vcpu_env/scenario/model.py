"""A scenario: the typed, complete, immutable description of one experiment's host, VMs and length.

A scenario holds no policy: the same scenario is run under many. Times are integer nanoseconds.
"""

from collections import Counter
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from vcpu_env.scenario.bounds import LONGEST_NS
from vcpu_env.scenario.cgroup_writes import check_cgroups
from vcpu_env.scenario.cgroups import BurstUs, Change, Idle, PeriodUs, QuotaUs, check_limits
from vcpu_env.scenario.errors import ScenarioError, error_lines
from vcpu_env.scenario.guest import GuestCosts
from vcpu_env.scenario.host import Host, Kvm, Name, Part
from vcpu_env.scenario.host_tasks import RT, HostTask, expanded, guest_refusal, refusal, wrong_cpus
from vcpu_env.scenario.host_writes import host_writes, pins
from vcpu_env.scenario.presets import emulator_tasks, noise_tasks, vmm_task
from vcpu_env.scenario.vm import PARAVIRT, Vm
from vcpu_env.scenario.vm_lives import copies_of, migrated, vm_stops
from vcpu_env.scenario.workload_file import WorkloadFile

MAX_VCPUS = 4096
"""Most vCPUs of all VMs together."""

THREADS = "threads"
"""The workload that is no program of `guest.workloads`: the VM's own `threads`."""


class Group(Part):
    """A cgroup above the VMs' own."""

    name: Name = Field(description="name that VMs and other groups refer to")
    parent: Name | None = Field(default=None, description="group it lies in; none: the root")
    weight: int = Field(default=100, ge=1, le=10_000, description="cpu.weight [source]")
    quota_us: QuotaUs = -1
    period_us: PeriodUs = 100_000
    burst_us: BurstUs = 0
    idle: Idle = False

    @model_validator(mode="after")
    def check_limits(self) -> "Group":
        """Refuse limits that contradict each other."""
        check_limits(self)
        return self


class Run(Part):
    """How long a scenario runs, in simulated time."""

    warmup_ns: int = Field(default=400_000_000, ge=0, le=LONGEST_NS, description="time before measurement")
    duration_ns: int = Field(default=1_000_000_000, ge=1, le=LONGEST_NS, description="measured time, after warmup_ns")
    policy_from_ns: int | None = Field(
        default=None,
        ge=0,
        le=LONGEST_NS,
        description="until then the host runs stock, so that every policy begins with the same placement; default:"
        " three quarters of the warm-up with placement 'launched', else 0",
    )

    @model_validator(mode="after")
    def check_policy_from(self) -> "Run":
        """Refuse a policy that comes after the warm-up."""
        if self.policy_from_ns is not None and self.policy_from_ns > self.warmup_ns:
            raise ValueError(
                f".policy_from_ns: value {self.policy_from_ns} (allowed: up to warmup_ns, {self.warmup_ns})"
            )
        return self


class Scenario(Part):
    """One experiment, without the policy.

    Raises:
        ScenarioError: with one line for every field that is wrong.
    """

    name: Name = Field(description="name in tables and file names")
    host: Host = Field(default=Host(), description="CPUs, host scheduler, placement, costs")
    kvm: Kvm = Field(default=Kvm(), description="KVM's parameters and interrupt hardware")
    guest_costs: GuestCosts = Field(default=GuestCosts(), description="what the guest kernels' own work costs")
    workloads: dict[Name, WorkloadFile] = Field(
        default_factory=dict, description="guest programs described here, or in the files that VMs name"
    )
    groups: Annotated[tuple[Group, ...], Field(strict=False)] = Field(
        default=(), description="cgroups above the VMs' own"
    )
    vms: Annotated[tuple[Vm, ...], Field(strict=False)] = Field(
        default=(), description="the VMs; at least one, or a host task"
    )
    host_tasks: Annotated[tuple[HostTask, ...], Field(strict=False)] = Field(
        default=(), description="threads of the host that are no vCPUs"
    )
    changes: Annotated[tuple[Change, ...], Field(strict=False)] = Field(
        default=(), description="what an administrator does during the run"
    )
    run: Run = Field(default=Run(), description="length of warm-up and measurement")

    def __init__(self, **data: Any):
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise ScenarioError(error_lines(Scenario, error)) from None

    @property
    def expanded_vms(self) -> tuple[Vm, ...]:
        """Every VM on its own (`count` 1), copies renamed; those that migrate with the begin or end that this gives."""
        copies = [
            (vm if vm.count == 1 else vm.model_copy(update={"name": name, "count": 1}), vm.name)
            for vm in self.vms
            for name in copies_of(vm)
        ]
        return migrated(copies, self.changes) if self.has_lives else tuple(vm for vm, _ in copies)

    @property
    def has_lives(self) -> bool:
        """Whether a VM is paused, or migrates."""
        return any(change.life is not None for change in self.changes)

    @property
    def expanded_host_tasks(self) -> tuple[HostTask, ...]:
        """Every host task on its own: those named, then the VMs' VMMs, emulators and vhost workers, then noise."""
        tasks = list(self.host_tasks)
        for vm in self.expanded_vms:
            if self.host.placement == "launched":
                tasks.append(vmm_task(vm))
            tasks += emulator_tasks(vm)
        noise = self.host.noise or ("quiet" if self.vms else "none")
        return expanded(tasks + noise_tasks(noise, self.host.cpus))

    @property
    def has_rt_tasks(self) -> bool:
        """Whether any thread is of the real-time class."""
        threads = [sched for vm in self.vms for sched in (*vm.vcpusched, vm.emulatorsched, vm.iothreadsched) if sched]
        return any(task.policy in RT for task in self.host_tasks) or any(one.scheduler in RT for one in threads)

    @property
    def policy_from_ns(self) -> int:
        """When the policy takes the place of stock."""
        if self.run.policy_from_ns is not None:
            return self.run.policy_from_ns
        return self.run.warmup_ns * 3 // 4 if self.host.placement == "launched" else 0

    @property
    def layout(self) -> str:
        """Placement, cgroups, locks, paravirtual features, kernel: results of different layouts are never averaged."""
        locks = "+".join(sorted({vm.lock for vm in self.vms}))
        paravirt = [f", {name}" for name in PARAVIRT if any(getattr(vm, name) for vm in self.vms)]
        plain = f"{self.host.placement}, {self.host.cgroups} cgroups, {locks} locks{''.join(paravirt)}"
        return f"{plain}, Linux {self.host.kernel}"

    @model_validator(mode="after")
    def check_vms(self) -> "Scenario":
        """Refuse VMs that contradict the host or each other."""
        if not self.vms and not self.host_tasks:
            raise ValueError("vms: none given (allowed: at least one VM or host task)")
        names = Counter(vm.name for vm in self.expanded_vms)
        for name, uses in names.items():
            if uses > 1:
                raise ValueError(f"vms: name '{name}' given {uses} times (allowed: once, copies included)")
        total = sum(vm.vcpus * vm.count for vm in self.vms)
        if total > MAX_VCPUS:
            raise ValueError(f"vms: {total} vCPUs in all (allowed: up to {MAX_VCPUS})")
        groups = [group.name for group in self.groups]
        for i, vm in enumerate(self.vms):
            self._check_pinning(i, vm)
            self._check_vcpu_groups(i, vm, groups)
            if vm.weight != 100 and self.host.cgroups == "flat":
                raise ValueError(f"vms.{i}.weight: value {vm.weight} (allowed: 100, since host.cgroups is 'flat')")
            if vm.group is not None and vm.group not in groups:
                raise ValueError(
                    f"vms.{i}.group: value '{vm.group}' (allowed: {', '.join(groups) or 'no group is defined'})"
                )
        check_cgroups(self)
        host_writes(self)
        pins(self)
        vm_stops(self)
        return self

    def _check_pinning(self, i: int, vm: Vm) -> None:
        placement, cpus = self.host.placement, self.host.cpus
        if vm.pinning is not None and placement not in ("launched", "one_per_cpu"):
            raise ValueError(
                f"vms.{i}.pinning: given (allowed: with host.placement 'launched' or 'one_per_cpu', not '{placement}')"
            )
        for field, sets, count, threads in (
            ("pinning", vm.pinning, vm.vcpus, "vCPUs"),
            ("iothread_cpus", vm.iothread_cpus, vm.iothreads, "IOThreads"),
        ):
            if sets is not None and len(sets) != count:
                raise ValueError(f"vms.{i}.{field}: {len(sets)} CPUs (allowed: one for each of {count} {threads})")
            for chosen in sets or ():
                if wrong := wrong_cpus(chosen, cpus):
                    raise ValueError(f"vms.{i}.{field}{wrong.removeprefix('cpus')}")
        if wrong := wrong_cpus(vm.emulator_cpus, cpus):
            raise ValueError(f"vms.{i}.emulator_{wrong}")

    def _check_vcpu_groups(self, i: int, vm: Vm, groups: list[str]) -> None:
        if vm.vcpu_groups is None:
            return
        where = f"vms.{i}.vcpu_groups"
        if vm.group is not None or vm.weight != 100:
            raise ValueError(
                f"{where}: given (allowed: only without group and weight, which are of the VM's own group)"
            )
        if len(vm.vcpu_groups) != vm.vcpus:
            raise ValueError(f"{where}: {len(vm.vcpu_groups)} groups (allowed: one for each of {vm.vcpus} vCPUs)")
        for name in vm.vcpu_groups:
            if name not in groups:
                raise ValueError(f"{where}: value '{name}' (allowed: {', '.join(groups) or 'no group is defined'})")

    @model_validator(mode="after")
    def check_workloads(self) -> "Scenario":
        """Refuse parameters that a workload described here does not have or could not run with."""
        for i, vm in enumerate(self.vms):
            if vm.workload in self.workloads:
                try:
                    self.workloads[vm.workload].programs(vm.params)
                except ValueError as error:
                    raise ValueError(f"vms.{i}{error}") from None
        return self

    @model_validator(mode="after")
    def check_host_tasks(self) -> "Scenario":
        """Refuse host tasks that contradict the host or each other."""
        names = [vm.name for vm in self.expanded_vms]
        tasks = self.expanded_host_tasks
        for i, vm in enumerate(self.vms):
            if (vm.workload == THREADS) != bool(vm.threads):
                raise ValueError(
                    f"vms.{i}.threads: {len(vm.threads)} (allowed: with workload '{THREADS}', and only there)"
                )
            if vm.threads and vm.params:
                raise ValueError(f"vms.{i}.params: given (allowed: with another workload than '{THREADS}')")
            if wrong := guest_refusal(vm.threads):
                raise ValueError(f"vms.{i}.{wrong}")
        wrong = refusal(self.host_tasks, self.host.cpus, [group.name for group in self.groups], names, self.host.costs)
        if wrong or len({task.name for task in tasks}) < len(tasks):
            raise ValueError(
                wrong or "host_tasks: a name is that of a noise, VMM, emulator or vhost task (allowed: others)"
            )
        return self

    @model_validator(mode="after")
    def check_groups(self) -> "Scenario":
        """Refuse cgroups that are not a tree."""
        parents = {group.name: group.parent for group in self.groups}
        if len(parents) < len(self.groups):
            raise ValueError("groups: a name is given twice (allowed: once)")
        for i, group in enumerate(self.groups):
            if group.parent is not None and group.parent not in parents:
                raise ValueError(f"groups.{i}.parent: value '{group.parent}' (allowed: {', '.join(parents)})")
        for i, group in enumerate(self.groups):
            ancestor, steps = group.parent, 0
            while ancestor is not None and steps <= len(parents):
                ancestor, steps = parents[ancestor], steps + 1
            if ancestor is not None:
                raise ValueError(f"groups.{i}.parent: value '{group.parent}' closes a cycle (allowed: a tree)")
        return self
