"""Quotas, cpu.idle and changes in a scenario: what is refused, in one line, and in which order changes happen."""

import pytest

from tests.helpers.scenarios import VM, overridden, refused
from vcpu_env.scenario import Scenario, list_scenarios, load_scenario
from vcpu_env.scenario.cgroup_writes import Limits, writes

FLAT, LIBVIRT = {"cgroups": "flat"}, {"cgroups": "libvirt"}


def at(at_ns: int, **change) -> dict:
    return {"at_ns": at_ns, "vm": "vm"} | change


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("quota_us: value 999 (allowed: -1, or 1000..17592186044415)", {"quota_us": 999}),
        ("quota_us: value -2 (allowed: integer -1..17592186044415)", {"quota_us": -2}),
        ("quota_us: value 'max' (allowed: integer -1..17592186044415)", {"quota_us": "max"}),
        ("period_us: value 999 (allowed: integer 1000..1000000)", {"quota_us": 1000, "period_us": 999}),
        ("burst_us: value 3 (allowed: 0, since there is no quota_us)", {"burst_us": 3}),
        ("burst_us: value 2001 (allowed: 0..quota_us, 2000)", {"quota_us": 2000, "burst_us": 2001}),
        ("weight: value 50 (allowed: 100, since idle is true)", {"idle": True, "weight": 50}),
    ],
)
def test_limits_that_the_kernel_would_refuse(line, fields):
    refused(f"vms.0.{line}", vms=[VM | fields])
    refused(f"groups.0.{line}", groups=[{"name": "g"} | fields])


@pytest.mark.parametrize(
    ("line", "fields", "vm"),
    [
        ("quota_us: value 5000 (allowed: -1, since host.cgroups is 'flat')", {"host": FLAT}, {"quota_us": 5000}),
        ("idle: value True (allowed: False, since host.cgroups is 'flat')", {"host": FLAT}, {"idle": True}),
        ("vcpu_quota_us: value 5000 (allowed: -1, since host.cgroups is 'per_vm')", {}, {"vcpu_quota_us": 5000}),
        ("vcpu_quota_us: value 5 (allowed: -1, or 1000..17592186044415)", {"host": LIBVIRT}, {"vcpu_quota_us": 5}),
        (
            "quota_us: value 5000 (allowed: -1, since vcpu_groups takes the place of the VM's own groups)",
            {"groups": [{"name": "g"}]},
            {"quota_us": 5000, "vcpu_groups": ["g"] * 4},
        ),
    ],
)
def test_limits_that_the_layout_has_no_group_for(line, fields, vm):
    refused(f"vms.0.{line}", vms=[VM | vm], **fields)


def test_groups_have_limits_in_every_layout():
    groups = [{"name": "g", "quota_us": 5000, "period_us": 2000, "burst_us": 5000}]
    assert overridden("vms.0.group=g", groups=groups, host=FLAT).groups[0].burst_us == 5000
    assert overridden("host.cgroups=libvirt", "vms.*.vcpu_quota_us=7000").vms[0].vcpu_quota_us == 7000


@pytest.mark.parametrize(
    ("line", "change", "fields"),
    [
        (": none of group, vm and file given (allowed: one)", {"vm": None, "weight": 5}, {}),
        (": group and vm of group, vm and file given (allowed: one)", {"group": "g", "weight": 5}, {}),
        (": 0 of weight, idle, cpus, life and quota_us given (allowed: one)", {}, {}),
        (": 2 of weight, idle, cpus, life and quota_us given (allowed: one)", {"weight": 5, "period_us": 5000}, {}),
        (": 2 of weight, idle, cpus, life and quota_us given (allowed: one)", {"weight": 5, "cpus": [1]}, {}),
        (".weight: value 0 (allowed: integer 1..10000)", {"weight": 0}, {}),
        (".vm: value 'v' (allowed: vm)", {"vm": "v", "weight": 5}, {}),
        (".vm: value 'vm-3' (allowed: vm, vm-1, vm-2)", {"vm": "vm-3", "weight": 5}, {"vms": [VM | {"count": 2}]}),
        (".vm: given (allowed: group, since host.cgroups is 'flat')", {"weight": 5}, {"host": FLAT}),
        (".group: value 'x' (allowed: no group is defined)", {"vm": None, "group": "x", "weight": 5}, {}),
        (".quota_us: value 7 (allowed: -1, or 1000..17592186044415)", {"quota_us": 7}, {}),
        (".burst_us: value 7 (allowed: 0, since there is no quota_us)", {"burst_us": 7}, {}),
        (
            ".burst_us: value 4000 (allowed: 0..quota_us, 3000)",
            {"quota_us": 3000},
            {"vms": [VM | {"quota_us": 5000, "burst_us": 4000}]},
        ),
        (".weight: value 5 (allowed: none while idle is true)", {"weight": 5}, {"vms": [VM | {"idle": True}]}),
        (
            ".vm: value 'vm' (allowed: VMs without vcpu_groups)",
            {"weight": 5},
            {"groups": [{"name": "g"}], "vms": [VM | {"vcpu_groups": ["g"] * 4}]},
        ),
    ],
)
def test_changes_that_cannot_be(line, change, fields):
    refused(f"changes.0{line}", changes=[at(5, **change)], **fields)


def test_changes_happen_in_order_of_time_and_keep_what_they_do_not_name():
    changes = [at(30, idle=True), at(10, quota_us=4000, burst_us=1000), at(20, weight=7), at(20, period_us=5000)]
    scenario = Scenario(name="s", vms=[VM], changes=changes)
    first, second, third, last = writes(scenario)
    assert (first.at_ns, first.kind, first.limits) == (10, "bandwidth", Limits(100, False, 4000, 100_000, 1000))
    assert (second.kind, second.limits.weight) == ("weight", 7)
    assert (third.kind, third.limits) == ("bandwidth", Limits(7, False, 4000, 5000, 1000))
    assert (last.kind, last.limits) == ("idle", Limits(100, True, 4000, 5000, 1000))


def test_a_change_of_a_vm_with_copies_is_of_all_or_of_one():
    both, one = (Scenario(name="s", vms=[VM | {"count": 2}], changes=[at(1, vm=vm, weight=5)]) for vm in ("vm", "vm-2"))
    assert [write.owner for write in writes(both)] == [("vm", "vm-1"), ("vm", "vm-2")]
    assert [write.owner for write in writes(one)] == [("vm", "vm-2")]


def test_changes_can_be_overridden():
    assert overridden("changes.0.weight=9", changes=[at(1, weight=5)]).changes[0].weight == 9


def test_shipped_scenarios_with_quotas():
    limited = [name for name in list_scenarios() if name.startswith("quota-")]
    assert len(limited) == 4
    for name in limited:
        scenario = load_scenario(name)
        parts = [*scenario.vms, *scenario.groups]
        quotas = [part.quota_us for part in parts] + [vm.vcpu_quota_us for vm in scenario.vms]
        assert max(quotas) > 0 or scenario.changes
