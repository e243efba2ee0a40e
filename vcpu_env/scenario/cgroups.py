"""What cgroups may have beside their weight: cpu.max with its burst, cpu.idle, and changes of these during a run.

Names and limits are cgroup v2's; -1 stands for its "max". A quota is run time of all CPUs together: 200000 us in
100000 us is two pCPUs' worth, however many vCPUs there are.
"""

from typing import Annotated, Any

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
    """A write to the cgroup files of a group or a VM during the run."""

    at_ns: int = Field(ge=0, le=7_200_000_000_000, description="when, in simulated time, the warm-up included")
    group: Name | None = Field(default=None, description="the group that is changed")
    vm: Name | None = Field(default=None, description="the VM whose own group is changed: a copy, or all copies")
    weight: int | None = Field(default=None, ge=1, le=10_000, description="new cpu.weight")
    idle: bool | None = Field(default=None, description="new cpu.idle; a group that is no longer idle has weight 100")
    quota_us: QuotaUs | None = None
    period_us: PeriodUs | None = None
    burst_us: BurstUs | None = None

    @property
    def of_bandwidth(self) -> bool:
        """Whether cpu.max or its burst is written."""
        return (self.quota_us, self.period_us, self.burst_us) != (None, None, None)

    @model_validator(mode="after")
    def check_one(self) -> "Change":
        """Refuse a change of nothing, or of several things."""
        if (self.group is None) == (self.vm is None):
            raise ValueError(f": {'neither' if self.vm is None else 'both'} of group and vm given (allowed: one)")
        kinds = (self.weight is not None) + (self.idle is not None) + self.of_bandwidth
        if kinds != 1:
            raise ValueError(f": {kinds} of weight, idle and quota_us given (allowed: one)")
        return self
