"""What cgroups may have beside their weight: cpu.max with its burst, cpu.idle, and what may change during a run.

Names and limits are cgroup v2's; -1 stands for its "max". A quota is run time of all CPUs together: 200000 us in
100000 us is two pCPUs' worth, however many vCPUs there are.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vcpu_env.scenario.host import Name, Part

NO_QUOTA = -1
MIN_QUOTA_US = 1000
MAX_QUOTA_US = (1 << 44) - 1
DEFAULT_WEIGHT = 100

QuotaUs = Annotated[
    int,
    Field(ge=NO_QUOTA, le=MAX_QUOTA_US, description="cpu.max: run time per period on all CPUs, us; -1: no limit"),
]
PeriodUs = Annotated[int, Field(ge=1000, le=1_000_000, description="cpu.max: length of a period, us [source]")]
BurstUs = Annotated[int, Field(ge=0, le=MAX_QUOTA_US, description="cpu.max.burst: unused quota that is kept, us")]
Idle = Annotated[bool, Field(description="cpu.idle: the group runs at weight 3, and anybody else preempts it")]


def check_quota(where: str, quota_us: int, burst_us: int) -> None:
    """Refuse what the kernel would."""
    if NO_QUOTA < quota_us < MIN_QUOTA_US:
        raise ValueError(f"{where}quota_us: value {quota_us} (allowed: -1, or {MIN_QUOTA_US}..{MAX_QUOTA_US})")
    if burst_us > max(quota_us, 0):
        allowed = "0, since there is no quota_us" if quota_us == NO_QUOTA else f"0..quota_us, {quota_us}"
        raise ValueError(f"{where}burst_us: value {burst_us} (allowed: {allowed})")


def check_limits(part: Any) -> None:
    """Refuse limits of a group or a VM that contradict each other."""
    check_quota(".", part.quota_us, part.burst_us)
    if part.idle and part.weight != DEFAULT_WEIGHT:
        raise ValueError(f".weight: value {part.weight} (allowed: {DEFAULT_WEIGHT}, since idle is true)")


class Change(Part):
    """What an administrator does during the run: writes to a cgroup or under /sys, pins, stops or moves a VM."""

    at_ns: int = Field(ge=0, le=7_200_000_000_000, description="when, in simulated time, the warm-up included")
    group: Name | None = Field(default=None, description="the group that is changed")
    vm: Name | None = Field(
        default=None, description="the VM whose own group is changed, or whose vCPUs are pinned: a copy, or all copies"
    )
    file: str | None = Field(
        default=None,
        max_length=200,
        description="file that is written, in /sys/module/kvm/parameters or /sys/kernel/debug/sched",
    )
    value: int | str | None = Field(
        default=None,
        description="what is written to it: a number, Y, N, a preemption model, a feature or NO_ and one",
    )
    cpus: Annotated[tuple[int, ...], Field(strict=False)] | None = Field(
        default=None, description="CPUs that the VM's vCPUs may use from now on, as virsh vcpupin sets them"
    )
    vcpu: int | None = Field(default=None, ge=0, le=63, description="which of them, with cpus; none: all")
    life: Literal["suspend", "resume", "migrate-in", "migrate-out"] | None = Field(
        default=None,
        description="of the VM: virsh suspend, virsh resume; it arrives from another host, running; it leaves for one",
    )
    downtime_ns: int | None = Field(
        default=None,
        ge=0,
        le=60_000_000_000,
        description="how long it runs nowhere when it migrates, from at_ns on; default 300 ms [source: QEMU's limit]",
    )
    weight: int | None = Field(default=None, ge=1, le=10_000, description="new cpu.weight")
    idle: bool | None = Field(default=None, description="new cpu.idle; a group that is no longer idle has weight 100")
    quota_us: QuotaUs | None = None
    period_us: PeriodUs | None = None
    burst_us: BurstUs | None = None

    @property
    def of_cgroup(self) -> bool:
        """Whether it writes to a file of a cgroup."""
        return self.file is None and self.cpus is None and self.life is None

    @property
    def of_bandwidth(self) -> bool:
        """Whether cpu.max or its burst is written."""
        return (self.quota_us, self.period_us, self.burst_us) != (None, None, None)

    @model_validator(mode="after")
    def check_one(self) -> "Change":
        """Refuse a change of nothing, or of several things."""
        given = [name for name in ("group", "vm", "file") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f": {' and '.join(given) or 'none'} of group, vm and file given (allowed: one)")
        kinds = (self.weight is not None) + (self.idle is not None) + self.of_bandwidth
        if self.life is not None:
            if kinds or self.value is not None or self.cpus is not None or self.vcpu is not None or self.vm is None:
                raise ValueError(".life: given (allowed: with vm, and nothing else but downtime_ns)")
            if self.downtime_ns is not None and not self.life.startswith("migrate"):
                raise ValueError(f".downtime_ns: given with life '{self.life}' (allowed: with migrate-in, migrate-out)")
            return self
        if self.downtime_ns is not None:
            raise ValueError(".downtime_ns: given (allowed: with life)")
        if self.file is not None:
            if kinds or self.cpus is not None or self.vcpu is not None or self.value is None:
                what = "without value" if self.value is None else "with more than value"
                raise ValueError(f": file given {what} (allowed: file and value)")
            return self
        if self.value is not None:
            raise ValueError(f".value: value {self.value} (allowed: with file)")
        if self.vm is not None and self.cpus is not None:
            kinds += 1
        elif self.cpus is not None or self.vcpu is not None:
            raise ValueError(f".{'vcpu' if self.cpus is None else 'cpus'}: given (allowed: with vm and cpus)")
        if kinds != 1:
            of_vm = ", cpus, life" if self.vm is not None else ""
            raise ValueError(f": {kinds} of weight, idle{of_vm} and quota_us given (allowed: one)")
        return self
