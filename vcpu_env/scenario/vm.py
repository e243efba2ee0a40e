"""VMs of a scenario: vCPUs, workload, paravirtual features, limits, where their threads may run."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from vcpu_env.scenario.bounds import LONGEST_NS
from vcpu_env.scenario.cgroups import BurstUs, Idle, PeriodUs, QuotaUs, check_limits, check_quota
from vcpu_env.scenario.host import Name, Part
from vcpu_env.scenario.host_tasks import CpuList, Sched, Thread

NameList = Annotated[tuple[Name, ...], Field(strict=False)]

PARAVIRT = ("pv_tlb_flush", "pv_sched_yield", "pv_lock_yield")
"""Fields of a VM that need steal time."""


def _sets(value: Any) -> Any:
    """A list of CPUs and of lists of CPUs as lists of CPUs."""
    if not isinstance(value, list | tuple):
        return value
    return tuple((entry,) if isinstance(entry, int) else entry for entry in value)


CpuSets = Annotated[tuple[CpuList, ...], Field(strict=False), BeforeValidator(_sets)]
"""For each of several threads the CPUs that it may run on."""


class VcpuSched(Sched):
    """Scheduling class of vCPU threads, from their creation on (libvirt's vcpusched)."""

    vcpus: CpuList | None = Field(default=None, description="which vCPUs, as [0, 1]; none: all")


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
    vcpu_quota_us: QuotaUs = Field(
        default=-1, description="libvirt's vcpu_quota: cpu.max of the group of each vCPU, us; -1: no limit"
    )
    vcpu_period_us: PeriodUs = Field(
        default_factory=lambda data: data.get("period_us", 100_000),
        description="libvirt's vcpu_period: length of a period of vcpu_quota_us, us; default: period_us",
    )
    emulator_quota_us: QuotaUs = Field(
        default=-1, description="libvirt's emulator_quota: cpu.max of the emulator's group, us; -1: no limit"
    )
    emulator_period_us: PeriodUs = Field(default=100_000, description="libvirt's emulator_period, us")
    iothread_quota_us: QuotaUs = Field(
        default=-1, description="libvirt's iothread_quota: cpu.max of the group of each IOThread, us; -1: no limit"
    )
    iothread_period_us: PeriodUs = Field(default=100_000, description="libvirt's iothread_period, us")
    idle: Idle = False
    boot_ns: int = Field(
        default=50_000_000,
        ge=0,
        le=LONGEST_NS,
        description="how long a launched guest boots, mostly idle, before its program begins; 0: not at all [assumed]",
    )
    pinning: CpuSets | None = Field(
        default=None,
        description="CPU of every vCPU, or the list of CPUs that it may run on (libvirt's vcpupin);"
        " none: as host.placement says",
    )
    emulator_cpus: CpuList | None = Field(
        default=None,
        description="CPUs of the VMM, the emulator's threads and the vhost worker (libvirt's emulatorpin); none: all",
    )
    vcpusched: Annotated[tuple[VcpuSched, ...], Field(strict=False)] = Field(
        default=(),
        description="scheduling class of vCPU threads, those not named: normal; real-time ones ignore cgroups",
    )
    emulatorsched: Sched | None = Field(default=None, description="that of the VMM, the emulator and the vhost worker")
    iothreadsched: Sched | None = Field(default=None, description="that of the IOThreads")
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
    iothreads: int = Field(
        default=0, ge=0, le=64, description="QEMU's IOThreads: they do the vhost worker's work in its place"
    )
    iothread_cpus: CpuSets | None = Field(
        default=None,
        description="CPU of every IOThread, or the list of CPUs that it may run on (libvirt's iothreadpin); none: all",
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
        for threads in ("vcpu", "emulator", "iothread"):
            check_quota(f".{threads}_", getattr(self, f"{threads}_quota_us"), 0)
        if self.iothreads and not self.vhost_ns:
            raise ValueError(f".iothreads: value {self.iothreads} (allowed: 0, since vhost_ns is 0)")
        return self

    @model_validator(mode="after")
    def check_schedulers(self) -> "Vm":
        """Refuse two classes of one vCPU, and those of threads that there are not."""
        seen: set[int] = set()
        for i, sched in enumerate(self.vcpusched):
            vcpus = tuple(range(self.vcpus)) if sched.vcpus is None else sched.vcpus
            for vcpu in vcpus:
                if not 0 <= vcpu < self.vcpus:
                    raise ValueError(f".vcpusched.{i}.vcpus: value {vcpu} (allowed: 0..{self.vcpus - 1})")
                if vcpu in seen:
                    raise ValueError(f".vcpusched.{i}.vcpus: value {vcpu} (allowed: once)")
                seen.add(vcpu)
            if not vcpus:
                raise ValueError(f".vcpusched.{i}.vcpus: none given (allowed: at least one)")
        if self.iothreadsched is not None and not self.iothreads:
            raise ValueError(".iothreadsched: given (allowed: with iothreads)")
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
