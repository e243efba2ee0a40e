"""What cgroups may have beside their weight: cpu.max with its burst, cpu.idle, and changes of these during a run.

Names and limits are cgroup v2's; -1 stands for its "max". A quota is run time of all CPUs together: 200000 us in
100000 us is two pCPUs' worth, however many vCPUs there are.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from vcpu_env.scenario.host import Name, Part

if TYPE_CHECKING:
    from vcpu_env.scenario.model import Scenario

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


@dataclass
class Limits:
    """The limits of one group at a moment."""

    weight: int
    idle: bool
    quota_us: int
    period_us: int
    burst_us: int


@dataclass(frozen=True)
class Write:
    """A change of one group, with the group's limits after it.

    Attributes:
        at_ns: when.
        owner: ("group", name) or ("vm", name of one VM).
        kind: "weight", "idle" or "bandwidth".
    """

    at_ns: int
    owner: tuple[str, str]
    kind: str
    limits: Limits


def limits_of(part: Any) -> Limits:
    """What a group or a VM starts with."""
    return Limits(part.weight, part.idle, part.quota_us, part.period_us, part.burst_us)


def owners(scenario: "Scenario", i: int) -> list[tuple[str, str]]:
    """The groups that the change with index `i` is about; refuses names that do not exist."""
    change = scenario.changes[i]
    if change.group is not None:
        groups = [group.name for group in scenario.groups]
        if change.group not in groups:
            raise ValueError(
                f"changes.{i}.group: value '{change.group}' (allowed: {', '.join(groups) or 'no group is defined'})"
            )
        return [("group", change.group)]
    if scenario.host.cgroups == "flat":
        raise ValueError(f"changes.{i}.vm: given (allowed: group, since host.cgroups is 'flat')")
    copies = {vm.name: [f"{vm.name}-{k + 1}" for k in range(vm.count)] for vm in scenario.vms if vm.count > 1}
    names = copies.get(str(change.vm), [str(change.vm)])
    for name in names:
        vm = next((vm for vm in scenario.expanded_vms if vm.name == name), None)
        if vm is None:
            known = ", ".join([*copies, *(vm.name for vm in scenario.expanded_vms)])
            raise ValueError(f"changes.{i}.vm: value '{change.vm}' (allowed: {known})")
        if vm.vcpu_groups is not None:
            raise ValueError(f"changes.{i}.vm: value '{change.vm}' (allowed: VMs without vcpu_groups)")
    return [("vm", name) for name in names]


def writes(scenario: "Scenario") -> list[Write]:
    """The changes of a scenario group by group, in the order in which they happen.

    Raises:
        ValueError: one that the kernel would refuse, or of a group that does not exist.
    """
    limits = {("group", group.name): limits_of(group) for group in scenario.groups}
    limits |= {("vm", vm.name): limits_of(vm) for vm in scenario.expanded_vms}
    done = []
    for i in sorted(range(len(scenario.changes)), key=lambda i: scenario.changes[i].at_ns):
        change = scenario.changes[i]
        for owner in owners(scenario, i):
            now = limits[owner]
            if change.weight is not None:
                if now.idle:
                    raise ValueError(f"changes.{i}.weight: value {change.weight} (allowed: none while idle is true)")
                now.weight, kind = change.weight, "weight"
            elif change.idle is not None:
                now.idle, now.weight, kind = change.idle, DEFAULT_WEIGHT, "idle"
            else:
                for field in ("quota_us", "period_us", "burst_us"):
                    if getattr(change, field) is not None:
                        setattr(now, field, getattr(change, field))
                check_quota(f"changes.{i}.", now.quota_us, now.burst_us)
                kind = "bandwidth"
            done.append(Write(change.at_ns, owner, kind, Limits(**vars(now))))
    return done


def check_cgroups(scenario: "Scenario") -> None:
    """Refuse limits of groups that the scenario's layout does not have, and changes that cannot be."""
    preset = scenario.host.cgroups
    for i, vm in enumerate(scenario.vms):
        given = {"quota_us": vm.quota_us, "vcpu_quota_us": vm.vcpu_quota_us, "idle": vm.idle}
        off: dict[str, int | bool] = {"quota_us": NO_QUOTA, "vcpu_quota_us": NO_QUOTA, "idle": False}
        for field, value in given.items():
            why = ""
            if vm.vcpu_groups is not None:
                why = "vcpu_groups takes the place of the VM's own groups"
            elif preset == "flat" or (field == "vcpu_quota_us" and preset != "libvirt"):
                why = f"host.cgroups is '{preset}'"
            if why and value != off[field]:
                raise ValueError(f"vms.{i}.{field}: value {value} (allowed: {off[field]}, since {why})")
    writes(scenario)
