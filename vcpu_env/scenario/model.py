"""A scenario: the typed, complete, immutable description of one experiment's host, VMs and length.

A scenario holds no policy: the same scenario is run under many. Times are integer nanoseconds.
"""

from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from vcpu_env.scenario.bounds import LONGEST_NS
from vcpu_env.scenario.cgroup_writes import check_cgroups
from vcpu_env.scenario.cgroups import MAX_QUOTA_US, BurstUs, Change, Idle, PeriodUs, QuotaUs, check_limits, check_quota
from vcpu_env.scenario.errors import ScenarioError, error_lines
from vcpu_env.scenario.guest import GuestCosts
from vcpu_env.scenario.host import Host, Kvm, Name, Part
from vcpu_env.scenario.host_tasks import CpuList, HostTask, Thread, expanded, guest_refusal, refusal
from vcpu_env.scenario.presets import emulator_tasks, noise_tasks, vmm_task
from vcpu_env.scenario.workload_file import WorkloadFile

MAX_VCPUS = 4096
"""Most vCPUs of all VMs together."""

NameList = Annotated[tuple[Name, ...], Field(strict=False)]


PARAVIRT = ("pv_tlb_flush", "pv_sched_yield", "pv_lock_yield")
"""Fields of a VM that need steal time."""

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


class Vm(Part):
    """One VM, or several equal ones."""

    name: Name = Field(description="name; copies are called name-1, name-2, ...")
    count: int = Field(default=1, ge=1, le=64, description="number of equal VMs")
    vcpus: int = Field(ge=1, le=64, description="vCPUs of each")
    workload: Name = Field(description="guest program: a name, or a TOML file (docs/workloads.md)")
    params: dict[Name, int | float] = Field(
        default_factory=dict, description="parameters of the workload that differ from its defaults"
    )
    lock: Literal["pvqspinlock", "fifo", "tas"] = Field(
        default="pvqspinlock",
        description="guest kernel spin locks: paravirtual queued, as of a Linux guest on KVM; strictly first-come; or"
        " test-and-set",
    )
    steal_time: Literal["off", "every", "reported"] = Field(
        default_factory=lambda data: "reported" if data.get("lock") == "pvqspinlock" else "off",
        description="what the guest is told of lost CPUs: nothing; every loss; those that KVM reports, after an exit by"
        " a host interrupt; default by the lock",
    )
    pv_tlb_flush: bool = Field(
        default=False, description="paravirtual TLB flush: the host flushes for vCPUs that are known to have no CPU"
    )
    pv_sched_yield: bool = Field(
        default=False,
        description="paravirtual yield: after an IPI to several vCPUs, to the first known to have no CPU",
    )
    pv_lock_yield: bool = Field(
        default=False,
        description="a spin lock's waiter yields by hypercall to a holder that is known to have no CPU, as on s390;"
        " with lock 'fifo' or 'tas'",
    )
    weight: int = Field(default=100, ge=1, le=10_000, description="cpu.weight of the VM's group [source]")
    quota_us: QuotaUs = -1
    period_us: PeriodUs = 100_000
    burst_us: BurstUs = 0
    vcpu_quota_us: int = Field(
        default=-1,
        ge=-1,
        le=MAX_QUOTA_US,
        description="libvirt's vcpu_quota: cpu.max of the group of each vCPU, us; -1: no limit",
    )
    idle: Idle = False
    boot_ns: int = Field(
        default=50_000_000,
        ge=0,
        le=LONGEST_NS,
        description="how long a launched guest boots, mostly idle, before its program begins; 0: not at all [assumed]",
    )
    pinning: CpuList | None = Field(default=None, description="CPU of every vCPU; none: as host.placement says")
    group: Name | None = Field(default=None, description="cgroup that the VM's own groups lie in; none: the root")
    vcpu_groups: NameList | None = Field(
        default=None, description="cgroup of each vCPU's thread, in place of groups of the VM's own; none: those"
    )
    ipi_mode: Literal["phys", "shorthand_auto", "pv", "cluster"] = Field(
        default="phys",
        description="IPI to many vCPUs: one ICR write each; one shorthand write when it goes to all others; hypercall;"
        " one write for each cluster of 16",
    )
    balance: Literal["newidle", "periodic"] = Field(
        default="periodic",
        description="when guest threads move between vCPUs: at ticks as well; or as one becomes idle",
    )
    start_ns: int = Field(default=0, ge=0, le=LONGEST_NS, description="when the VM is created, in simulated time")
    stop_ns: int | None = Field(
        default=None, ge=1, le=LONGEST_NS, description="when they are killed, after start_ns; none: never"
    )
    hz: Literal[100, 250, 300, 1000] = Field(
        default=250, description="guest tick rate, 1/s: CONFIG_HZ [source: Kconfig default]"
    )
    threads: Annotated[tuple[Thread, ...], Field(strict=False)] = Field(
        default=(), description="the guest's threads, with workload 'threads' only"
    )
    emulator_threads: int = Field(
        default=0, ge=0, le=64, description="QEMU's threads beside the vCPUs, `scenario.presets` [assumed]"
    )
    vhost_ns: int = Field(
        default=0,
        ge=0,
        le=1_000_000_000,
        description="CPU time of a vhost worker for each device operation; 0: none is there, devices cost no CPU",
    )

    @field_validator("lock", mode="before")
    @classmethod
    def check_lock(cls, lock: Any) -> Any:
        """Name the successor of a kind of lock that older scenario files have."""
        if lock == "pv":
            raise ValueError(": value 'pv' (allowed: pvqspinlock, which replaces it, fifo, tas)")
        return lock

    @model_validator(mode="after")
    def check_limits(self) -> "Vm":
        """Refuse limits that contradict each other."""
        check_limits(self)
        check_quota(".vcpu_", self.vcpu_quota_us, 0)
        return self

    @model_validator(mode="after")
    def check_paravirt(self) -> "Vm":
        """Refuse features that need steal time without it, and a life that ends before it begins."""
        for name in PARAVIRT:
            if getattr(self, name) and self.steal_time == "off":
                raise ValueError(f".{name}: value True (allowed: with steal_time 'every' or 'reported')")
        if self.pv_lock_yield and self.lock == "pvqspinlock":
            raise ValueError(".pv_lock_yield: value True (allowed: with lock 'fifo' or 'tas')")
        if self.stop_ns is not None and self.stop_ns <= self.start_ns:
            raise ValueError(f".stop_ns: value {self.stop_ns} (allowed: after start_ns, {self.start_ns})")
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
        default=(), description="what is written to cgroups' files during the run"
    )
    run: Run = Field(default=Run(), description="length of warm-up and measurement")

    def __init__(self, **data: Any):
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise ScenarioError(error_lines(Scenario, error)) from None

    @property
    def expanded_vms(self) -> tuple[Vm, ...]:
        """Every VM on its own (`count` 1), copies renamed."""
        return tuple(
            vm if vm.count == 1 else vm.model_copy(update={"name": f"{vm.name}-{i + 1}", "count": 1})
            for vm in self.vms
            for i in range(vm.count)
        )

    @property
    def expanded_host_tasks(self) -> tuple[HostTask, ...]:
        """Every host task on its own: those named, then the VMs' VMMs, emulators and vhost workers, then noise."""
        tasks = list(self.host_tasks)
        for vm in self.expanded_vms:
            if self.host.placement == "launched":
                tasks.append(vmm_task(vm.name, vm.start_ns, vm.vcpus))
            tasks += emulator_tasks(vm.name, vm.start_ns, vm.emulator_threads, vm.vhost_ns)
        noise = self.host.noise or ("quiet" if self.vms else "none")
        return expanded(tasks + noise_tasks(noise, self.host.cpus))

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
        return self

    def _check_pinning(self, i: int, vm: Vm) -> None:
        if vm.pinning is None:
            return
        where, placement, cpus = f"vms.{i}.pinning", self.host.placement, self.host.cpus
        if placement not in ("launched", "one_per_cpu"):
            raise ValueError(
                f"{where}: given (allowed: with host.placement 'launched' or 'one_per_cpu', not '{placement}')"
            )
        if len(vm.pinning) != vm.vcpus:
            raise ValueError(f"{where}: {len(vm.pinning)} CPUs (allowed: one for each of {vm.vcpus} vCPUs)")
        for cpu in vm.pinning:
            if not 0 <= cpu < cpus:
                raise ValueError(f"{where}: value {cpu} (allowed: CPUs 0..{cpus - 1})")

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
