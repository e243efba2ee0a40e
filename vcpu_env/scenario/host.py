"""The host of a scenario: CPUs, scheduler, costs and KVM.

Defaults describe an ordinary oversubscribed x86 host on Linux v6.19; `kernel` chooses v7.3's scheduler instead. A
field's description ends in where its default comes from: [source] read in the kernel, [measured] on a KVM guest,
[published] in a commit, paper or mail, [assumed] an estimate that nobody has checked.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from vcpu_env.base.errors import nearest
from vcpu_env.kernel.features import CGROUP_MODES, FEATURES, FEATURES_7_3, scaled_base_slice_ns
from vcpu_env.scenario.bounds import LARGEST_COST_NS, LARGEST_FACTOR, LONGEST_NS, UINT_MAX
from vcpu_env.scenario.topology import MAX_CPUS, Table, check_table, parse_topology

UNMODELLED_FEATURES = dict.fromkeys(("NONTASK_CAPACITY", "RT_PUSH_IPI", "ATTACH_AGE_LOAD"), True) | dict.fromkeys(
    ("HRTICK", "HRTICK_DL", "WARN_DOUBLE_CLOCK", "RT_RUNTIME_SHARE", "LB_MIN", "LATENCY_WARN"), False
)
SCHED_FEATURES: dict[str, bool] = {name: bool(on) for name, on in FEATURES.items()} | UNMODELLED_FEATURES
"""Scheduler features of v6.19 and their defaults (/sys/kernel/debug/sched/features)."""

UNMODELLED_7_3 = {name: on for name, on in UNMODELLED_FEATURES.items() if name != "HRTICK"} | {"PARANOID_AVG": False}
SCHED_FEATURES_7_3 = {name: bool(on) for name, on in FEATURES_7_3.items()} | UNMODELLED_7_3
"""Those of v7.3 on x86."""

KERNEL_FEATURES = {"6.19": (SCHED_FEATURES, UNMODELLED_FEATURES), "7.3": (SCHED_FEATURES_7_3, UNMODELLED_7_3)}
"""By host.kernel: the features with their defaults, and those of them that nothing here acts on."""

ONLY_6_19 = {"reweight": "v6.19", "lag_clamp": "6.19.0"}
"""Fields of a host that choose between versions of v6.19's fair class, and the values that choose nothing."""


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
CostNs = Annotated[int, Field(ge=0, le=LARGEST_COST_NS)]
UnsignedInt = Annotated[int, Field(ge=0, le=UINT_MAX)]
Factor = Annotated[int, Field(ge=0, le=LARGEST_FACTOR)]


class Part(BaseModel):
    """Base of all parts of a scenario: immutable, no unknown fields, no silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def table_of(topology: str | None, cpu_topology: Table | None) -> Table | None:
    """Core, LLC and node of every CPU, if the scenario says anything about them."""
    return cpu_topology if topology is None else parse_topology(topology)


def cpus_of(topology: str | None, cpu_topology: Table | None) -> int:
    """Number of CPUs of a topology; without any, that of the published runs."""
    table = table_of(topology, cpu_topology)
    return 16 if table is None else len(table)


class Costs(Part):
    """What the machinery costs, in nanoseconds of the CPU that pays."""

    context_switch_ns: CostNs = Field(default=2000, description="vCPU to vCPU on one CPU, without IBPB [published]")
    ibpb_ns: CostNs = Field(
        default=1000, description="branch predictor barrier, when the next vCPU is another VM's [assumed]"
    )
    vm_exit_ns: CostNs = Field(default=500, description="exit and re-entry with a trivial handler [published]")
    icr_write_ns: CostNs = Field(default=700, description="sender's exit for one interrupt command, fastpath [assumed]")
    ipi_ns: CostNs = Field(default=700, description="from sending an IPI to its arrival at a running vCPU [assumed]")
    injection_exit_ns: CostNs = Field(
        default=800, description="receiver's forced exit and injection without APICv [assumed]"
    )
    eoi_exit_ns: CostNs = Field(default=600, description="exit for an EOI without APICv and PV EOI [published]")
    hlt_exit_ns: CostNs = Field(default=1500, description="from HLT to the vCPU thread scheduled out [assumed]")
    wake_ns: CostNs = Field(
        default=4000, description="waking a blocked vCPU on an idle CPU until it runs guest code [assumed]"
    )
    pause_exit_ns: CostNs = Field(default=700, description="PAUSE exit, without the scan of siblings [assumed]")
    pause_scan_ns: CostNs = Field(default=10, description="scan of one sibling in kvm_vcpu_on_spin() [assumed]")
    yield_to_ns: CostNs = Field(
        default=1200, description="successful yield_to(): two run queue locks and schedule() [assumed]"
    )
    tick_ns: CostNs = Field(
        default=3000, description="host tick that interrupts a guest, exit and re-entry included [assumed]"
    )
    resched_ipi_ns: CostNs = Field(
        default=2000, description="reschedule IPI to a CPU in guest mode until schedule() [assumed]"
    )
    migration_ns: CostNs = Field(default=1000, description="extra for a vCPU that resumes on another CPU [assumed]")
    cold_cache_ns: CostNs = Field(
        default=30_000, description="most guest time lost to cold caches per dispatch [assumed]"
    )
    tlb_flush_ns: CostNs = Field(
        default=1000,
        description="guest time lost to an empty TLB, after the host flushed it for a paravirtual shootdown [assumed]",
    )
    cold_cache_ratio: float = Field(
        default=0.3,
        ge=0,
        le=10,
        description="loss per ns that others ran on the CPU since, up to cold_cache_ns [assumed]",
    )
    task_switch_ns: CostNs = Field(
        default=1800, description="switch to a task that is no vCPU; yields with a switch less without [measured]"
    )
    task_yield_ns: CostNs = Field(default=1100, description="sched_yield() that switches to nobody [measured]")
    task_syscall_ns: CostNs = Field(
        default=750, description="another call that sleeps or wakes; pipe hand-off less its switch [measured]"
    )
    task_tick_ns: CostNs = Field(default=1500, description="host tick that interrupts a task in user mode [assumed]")
    task_ipi_ns: CostNs = Field(default=1000, description="reschedule IPI to a CPU in user mode [assumed]")
    bandwidth_timer_ns: CostNs = Field(
        default=1000, description="timer of a group with a quota that unthrottles nobody [measured]"
    )
    distribute_ns: CostNs = Field(
        default=1000, description="for each throttled queue that such a timer gives run time, its IPI [assumed]"
    )
    unthrottle_ns: CostNs = Field(
        default=4000, description="unthrottling a queue, on its own CPU: one group with one task [measured]"
    )
    group_walk_ns: CostNs = Field(
        default=100, description="for each group below an unthrottled queue's group [assumed]"
    )
    llc_refill: float = Field(
        default=6,
        ge=1,
        le=100,
        description="factor of cold_cache_ns after a move to another LLC of the node [assumed]",
    )
    node_refill: float = Field(
        default=10, ge=1, le=100, description="factor of cold_cache_ns after a move to another node [assumed]"
    )
    smt_speed: float = Field(
        default=0.65,
        ge=0.1,
        le=1,
        description="speed of guest code on a hardware thread whose sibling is busy [assumed]",
    )


class Host(Part):
    """CPUs, host scheduler and where vCPUs and cgroups are put."""

    topology: str | None = Field(
        default=None,
        description="sockets, LLCs, cores, threads, as 16c, 8c2t, 2s8c2t, 2s2l4c2t; none: cores of one LLC",
    )
    cpu_topology: Annotated[tuple[Annotated[tuple[int, ...], Field(strict=False)], ...], Field(strict=False)] | None = (
        Field(default=None, description="in place of topology: core, LLC and node of every CPU, as [[0, 0, 0], ...]")
    )
    cpus: int = Field(
        default_factory=lambda data: cpus_of(data["topology"], data["cpu_topology"]),
        ge=1,
        le=MAX_CPUS,
        description="physical CPUs (hardware threads); default as in the published runs, 16, or as topology says",
    )
    kernel: Literal["6.19", "7.3"] = Field(
        default="6.19",
        description="fair class of Linux v6.19, a run queue for each cgroup, or v7.3, one for each CPU",
    )
    hz: Literal[100, 250, 300, 1000] = Field(
        default=1000, description="host tick rate, 1/s: CONFIG_HZ [source: x86 defconfig]"
    )
    preempt: Literal["full", "lazy"] = Field(
        default_factory=lambda data: "lazy" if data.get("kernel") == "7.3" else "full",
        description="preemption model; lazy sends no IPI for a fair wakeup; default full, on kernel 7.3 lazy [source]",
    )
    base_slice_ns: int = Field(
        default_factory=lambda data: scaled_base_slice_ns(data["cpus"]),
        ge=100_000,
        le=100_000_000,
        description="slice; default by the number of CPUs, 2.8 ms from eight on [source]",
    )
    features: dict[str, bool] = Field(
        default_factory=lambda data: dict(KERNEL_FEATURES[data.get("kernel", "6.19")][0]),
        description="scheduler features; those not named keep the kernel's default [source]",
    )
    exact_ticks: bool = Field(default=False, description="run every tick, also those that cannot change anything")
    tick_jitter_ns: int | None = Field(
        default=None,
        ge=0,
        le=500_000,
        description="a tick is late by up to this, at random: 30000 on a KVM guest [measured]; "
        "none: 5000 on hosts with quotas, 0 on others [assumed]",
    )
    placement: Literal["launched", "one_per_cpu", "random_pinning", "one_to_one"] = Field(
        default="launched",
        description="VMs launched one after another, their threads forked as by a VMM; or every VM's vCPUs put one on"
        " each CPU, all at one instant (the best case); or every vCPU pinned at random (a static case); or vCPU i of"
        " each VM pinned to CPU i modulo cpus",
    )
    launch_gap_ns: int = Field(
        default=10_000_000,
        ge=0,
        le=LONGEST_NS,
        description="mean time between the launches of VMs that start together, with placement 'launched' [assumed]",
    )
    skew_tick: bool = Field(
        default=False, description="ticks of the CPUs spread over half a tick, as by the kernel parameter [source]"
    )
    cgroups: Literal["per_vm", "flat", "libvirt"] = Field(
        default="per_vm",
        description="one group per VM; all vCPUs in the root; or machine/VM/vCPU groups as libvirt makes them",
    )
    cgroup_mode: Literal["up", "smp", "concur", "max", "tasks"] | None = Field(
        default_factory=lambda data: "concur" if data.get("kernel") == "7.3" else None,
        description="kernel 7.3: what a group of several CPUs weighs on each; default there concur [source]",
    )
    reweight: Literal["v6.19", "fixed"] = Field(
        default="v6.19",
        description="reweight_entity() of a running group entity: bug for bug, or exact as in later kernels",
    )
    lag_clamp: Literal["6.19.0", "6.19.9"] = Field(
        default="6.19.0",
        description="lag limit: twice the slice or one tick; or largest slice on the queue plus a tick [source]",
    )
    migration_cost_ns: int = Field(
        default=500_000,
        ge=0,
        le=1_000_000_000,
        description="a task that ran within this time counts as cache hot [source]",
    )
    fair_server_runtime_ns: int = Field(
        default=50_000_000,
        ge=0,
        le=4_194_304_000,
        description="run time in each fair_server_period_ns that every CPU keeps for fair tasks which real-time tasks"
        " would starve; 0: none [source]",
    )
    fair_server_period_ns: int = Field(
        default=1_000_000_000, ge=100_000, le=4_194_304_000, description="its period [source]"
    )
    costs: Costs = Field(default=Costs(), description="what the machinery costs")
    noise: Literal["none", "quiet", "light", "heavy"] | None = Field(
        default=None,
        description="kernel threads and daemons beside the VMs, `scenario.presets`: quiet [measured], others [assumed];"
        " default: quiet, on a host without VMs none",
    )

    @field_validator("kernel", mode="before")
    @classmethod
    def name_of_kernel(cls, name: object) -> object:
        """7.3 is a name, though it looks like a number."""
        return str(name) if isinstance(name, float) else name

    @field_validator("placement", mode="before")
    @classmethod
    def renamed_placement(cls, name: object) -> object:
        """Name what replaced a placement of old scenario files."""
        if name == "balanced":
            raise ValueError(": value 'balanced' (allowed: 'one_per_cpu', its name now; the default is 'launched')")
        return name

    @field_validator("topology")
    @classmethod
    def known_topology(cls, text: str | None) -> str | None:
        """Refuse what is no topology."""
        try:
            if text is not None:
                parse_topology(text)
        except ValueError as error:
            raise ValueError(f": value '{text}' (allowed: {error})") from None
        return text

    @field_validator("cpu_topology")
    @classmethod
    def possible_topology(cls, table: Table | None) -> Table | None:
        """Refuse tables that no host has."""
        return None if table is None else check_table(table)

    @model_validator(mode="after")
    def check_cpus(self) -> "Host":
        """Refuse a number of CPUs that contradicts the topology, and two topologies."""
        if self.topology is not None and self.cpu_topology is not None:
            raise ValueError(".cpu_topology: given (allowed: only without topology)")
        table = table_of(self.topology, self.cpu_topology)
        if table is not None and self.cpus != len(table):
            raise ValueError(f".cpus: value {self.cpus} (allowed: {len(table)}, as the topology has)")
        return self

    @model_validator(mode="after")
    def check_kernel(self) -> "Host":
        """Refuse what the kernel does not have."""
        if self.kernel == "6.19" and self.cgroup_mode is not None:
            raise ValueError(f".cgroup_mode: value '{self.cgroup_mode}' (allowed: only with kernel '7.3')")
        if self.kernel == "7.3" and self.cgroup_mode is None:
            raise ValueError(f".cgroup_mode: value None (allowed with kernel '7.3': {', '.join(CGROUP_MODES)})")
        for name, neutral in ONLY_6_19.items():
            if self.kernel == "7.3" and getattr(self, name) != neutral:
                raise ValueError(f".{name}: value '{getattr(self, name)}' (allowed: only with kernel '6.19')")
        return self

    @model_validator(mode="after")
    def check_fair_server(self) -> "Host":
        """Refuse more run time than a period has."""
        if self.fair_server_runtime_ns > self.fair_server_period_ns:
            allowed = f"0..fair_server_period_ns, {self.fair_server_period_ns}"
            raise ValueError(f".fair_server_runtime_ns: value {self.fair_server_runtime_ns} (allowed: {allowed})")
        return self

    @property
    def cpu_table(self) -> Table:
        """Core, last-level cache and node of every CPU."""
        table = table_of(self.topology, self.cpu_topology)
        return tuple((cpu, 0, 0) for cpu in range(self.cpus)) if table is None else table

    @field_validator("features")
    @classmethod
    def complete_features(cls, named: dict[str, bool], info: ValidationInfo) -> dict[str, bool]:
        """Refuse features that the kernel lacks or that would change nothing; add the defaults of those not named."""
        known, unmodelled = KERNEL_FEATURES[info.data.get("kernel", "6.19")]
        for name, on in named.items():
            if name not in known:
                raise ValueError(f".{name}: unknown feature ({nearest(name, known)})")
            if on != unmodelled.get(name, on):
                raise ValueError(f".{name}: value {on} (allowed: {not on}; nothing here acts on this feature)")
        return known | named


class Kvm(Part):
    """KVM's module parameters (kernel names and units) and the interrupt hardware."""

    ple: Literal["vmx", "svm", "off"] = Field(
        default="vmx", description="PAUSE-loop exits: Intel, by time in kernel mode; AMD, by count in any mode; or none"
    )
    tsc_mhz: int = Field(
        default=2500, ge=100, le=10_000, description="cycles of ple_gap and ple_window per microsecond"
    )
    pause_ns: int = Field(
        default_factory=lambda data: 31 if data["ple"] == "svm" else 45,
        ge=1,
        le=1000,
        description="one turn of a PAUSE loop; 31 on Zen 4 [measured], 45 on Intel since Skylake [published: 40-56]",
    )
    ple_gap: UnsignedInt = Field(
        default=128, description="cycles between PAUSEs that still count as one loop; 0: no PLE [source]"
    )
    ple_window: int = Field(
        default_factory=lambda data: 3000 if data["ple"] == "svm" else 4096,
        ge=1,
        le=UINT_MAX,
        description="vmx: cycles, 4096; svm: PAUSEs, 3000, of a loop before it exits [source]",
    )
    ple_window_grow: Factor = Field(
        default=2, description="window growth per exit: factor, or addend if >= ple_window [source]"
    )
    ple_window_shrink: UnsignedInt = Field(
        default=0, description="window on reschedule: divisor or subtrahend; 0: reset [source]"
    )
    ple_window_max: int = Field(
        default_factory=lambda data: 65_535 if data["ple"] == "svm" else 4_294_967_295,
        ge=1,
        le=UINT_MAX,
        description="largest window: vmx 4294967295 cycles, svm 65535 PAUSEs [source]",
    )
    apicv: Literal["off", "apicv", "ipiv", "avic"] = Field(
        default="off",
        description="interrupts: emulated; posted, without exits of the receiver; unicast IPIs without exits of either;"
        " AMD: IPIs without exits of either if the receiver has a CPU",
    )
    pv_eoi: bool = Field(default=False, description="paravirtual EOI, which spares the EOI exit without APICv")
    halt_poll_ns: UnsignedInt = Field(
        default=200_000, description="longest poll before a halted vCPU blocks; 0: none [source]"
    )
    halt_poll_ns_grow: Factor = Field(default=2, description="growth factor of the poll; 0: never grows [source]")
    halt_poll_ns_grow_start: UnsignedInt = Field(default=10_000, description="first poll after zero [source]")
    halt_poll_ns_shrink: UnsignedInt = Field(
        default=2, description="divisor of the poll; 0: back to zero [source: since 6.11]"
    )

    @model_validator(mode="after")
    def check_window(self) -> "Kvm":
        """Refuse windows that could not have been set or could never fire."""
        if self.ple_window > self.ple_window_max:
            raise ValueError(
                f".ple_window: value {self.ple_window} (allowed: up to ple_window_max, {self.ple_window_max})"
            )
        if self.ple == "svm" and self.ple_window_max > 65_535:
            raise ValueError(f".ple_window_max: value {self.ple_window_max} (allowed with ple 'svm': up to 65535)")
        if self.ple == "vmx" and self.apicv == "avic":
            raise ValueError(".apicv: value 'avic' (allowed with ple 'vmx': off, apicv, ipiv)")
        pause_cycles = self.pause_ns * self.tsc_mhz // 1000
        if self.ple != "off" and 0 < self.ple_gap <= pause_cycles:
            raise ValueError(
                f".ple_gap: value {self.ple_gap} (allowed: 0, or more than one PAUSE, {pause_cycles} cycles)"
            )
        return self
