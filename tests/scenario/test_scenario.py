"""Scenarios: shipped files, validation and its messages, overrides."""

import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.scenarios import VM, overridden, refused
from vcpu_env.kernel.features import scaled_base_slice_ns
from vcpu_env.scenario import (
    SCHED_FEATURES,
    Scenario,
    ScenarioError,
    list_scenarios,
    load_scenario,
    parse_scenario,
)


def override_refused(line, *overrides, **fields):
    with pytest.raises(ScenarioError) as error:
        overridden(*overrides, **fields)
    assert str(error.value) == line


def test_shipped_scenarios_load_and_are_what_their_names_say():
    for name in list_scenarios():
        scenario = load_scenario(name)
        assert scenario.name == name
        shape = re.fullmatch(
            r"(?P<workload>[a-z-]+?)-(?P<vms>\d)vm"
            r"(-((?P<vcpus>\d+)vcpu|(?P<cpus>\d+)cpu|(?P<topology>\d\w+)|(?P<partner>[a-z]+)))?",
            name,
        )
        if shape is None:
            assert name.startswith(("micro-", "host-", "quota-", "scale-"))
            continue
        assert scenario.host.topology == shape["topology"]
        assert shape["partner"] is None or name.startswith("mixed-")
        cpus = int(shape["cpus"] or shape["vcpus"] or 16)
        if shape["topology"]:
            cpus = scenario.host.cpus
        assert (len(scenario.expanded_vms), scenario.host.cpus) == (int(shape["vms"]), cpus)
        if not name.startswith("mixed-"):
            assert {vm.workload for vm in scenario.vms} == {shape["workload"]}
            assert {vm.vcpus for vm in scenario.vms} == {cpus}


@pytest.mark.parametrize(
    ("cpus", "slice_ns"),
    [(1, 700_000), (2, 1_400_000), (3, 1_400_000), (4, 2_100_000), (7, 2_100_000), (8, 2_800_000), (256, 2_800_000)],
)
def test_base_slice_follows_the_number_of_cpus(cpus, slice_ns):
    assert scaled_base_slice_ns(cpus) == slice_ns
    assert overridden(f"host.cpus={cpus}").host.base_slice_ns == slice_ns
    assert overridden(f"host.cpus={cpus}", "host.base_slice_ns=3_000_000").host.base_slice_ns == 3_000_000


@pytest.mark.parametrize(
    ("host", "cpus", "slice_ns"),
    [
        ({}, 16, 2_800_000),
        ({"topology": "2c"}, 2, 1_400_000),
        ({"topology": "2s8c2t"}, 32, 2_800_000),
        ({"topology": "2s8c2t", "cpus": 32}, 32, 2_800_000),
        ({"cpu_topology": [[0, 0, 0], [0, 0, 0], [1, 1, 0]]}, 3, 1_400_000),
    ],
)
def test_cpus_and_slice_follow_the_topology(host, cpus, slice_ns):
    scenario = Scenario(name="s", host=host, vms=[VM])
    assert (scenario.host.cpus, scenario.host.base_slice_ns) == (cpus, slice_ns)
    assert len(scenario.host.cpu_table) == cpus


def test_features_are_complete_and_known():
    assert Scenario(name="s", vms=[VM]).host.features == SCHED_FEATURES
    assert overridden("host.features.NEXT_BUDDY=true").host.features == SCHED_FEATURES | {"NEXT_BUDDY": True}
    override_refused(
        "host.features.NEXT_BUDY: unknown feature (did you mean 'NEXT_BUDDY'?)", "host.features.NEXT_BUDY=true"
    )
    override_refused(
        "host.features.HRTICK: value True (allowed: False; nothing here acts on this feature)",
        "host.features.HRTICK=true",
    )
    assert overridden("host.features.HRTICK=false").host.features == SCHED_FEATURES


def test_ple_defaults_follow_the_vendor():
    vmx, svm = overridden().kvm, overridden("kvm.ple=svm").kvm
    assert (vmx.ple_window, vmx.ple_window_max) == (4096, 4_294_967_295)
    assert (svm.ple_window, svm.ple_window_max, svm.pause_ns) == (3000, 65_535, 31)
    override_refused(
        "kvm.ple_window_max: value 70000 (allowed with ple 'svm': up to 65535)",
        "kvm.ple=svm",
        "kvm.ple_window_max=70000",
    )
    override_refused("kvm.ple_window: value 4096 (allowed: up to ple_window_max, 5)", "kvm.ple_window_max=5")
    override_refused("kvm.ple_gap: value 50 (allowed: 0, or more than one PAUSE, 112 cycles)", "kvm.ple_gap=50")
    assert overridden("kvm.ple_gap=0").kvm.ple_gap == 0


def test_copies_of_a_vm():
    scenario = Scenario(name="s", vms=[VM | {"count": 3}, VM | {"name": "other"}])
    assert [vm.name for vm in scenario.expanded_vms] == ["vm-1", "vm-2", "vm-3", "other"]
    assert {vm.count for vm in scenario.expanded_vms} == {1}
    refused(
        "vms: name 'vm-2' given 2 times (allowed: once, copies included)",
        vms=[VM | {"count": 2}, VM | {"name": "vm-2"}],
    )


def test_every_wrong_field_is_one_line():
    refused(
        "host.cpus: value 0 (allowed: integer 1..256)",
        "host.hz: value 123 (allowed: 100, 250, 300, 1000)",
        "kvm.pv_eoi: value 1 (allowed: true or false)",
        "vms.0.lock: value 'fio' (allowed: pvqspinlock, fifo, tas)",
        host={"cpus": 0, "hz": 123},
        kvm={"pv_eoi": 1},
        vms=[VM | {"lock": "fio"}],
    )


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("vms: none given (allowed: at least one VM or host task)", {"vms": []}),
        ("vms.0.vcpus: missing (allowed: integer 1..64)", {"vms": [{"name": "a", "workload": "vips"}]}),
        ("vms.0.vcpus: value True (allowed: integer 1..64)", {"vms": [VM | {"vcpus": True}]}),
        ("vms.0.vcpus: value 2.0 (allowed: integer 1..64)", {"vms": [VM | {"vcpus": 2.0}]}),
        ("vms.0.lokc: unknown field (did you mean 'lock'?)", {"vms": [VM | {"lokc": "tas"}]}),
        ("vms.0.name: value 'a b' (allowed: name of letters, digits, '_', '.', '-')", {"vms": [VM | {"name": "a b"}]}),
        ("vms.0.params.hold: value 'x' (allowed: number)", {"vms": [VM | {"params": {"hold": "x"}}]}),
        ("vms.0.pinning: value 3 (allowed: list of integers)", {"vms": [VM | {"pinning": 3}]}),
        ("vms.0.pinning: 2 CPUs (allowed: one for each of 4 vCPUs)", {"vms": [VM | {"pinning": [0, 1]}]}),
        ("vms.0.pinning: value 16 (allowed: CPUs 0..15)", {"vms": [VM | {"pinning": [0, 1, 2, 16]}]}),
        ("vms.0.pinning: value 16 (allowed: CPUs 0..15)", {"vms": [VM | {"pinning": [0, [1, 16], 2, 3]}]}),
        ("vms.0.pinning: none given (allowed: CPUs 0..15)", {"vms": [VM | {"pinning": [0, [], 2, 3]}]}),
        ("vms.0.emulator_cpus: value 16 (allowed: CPUs 0..15)", {"vms": [VM | {"emulator_cpus": [16]}]}),
        (
            "vms.0.iothread_cpus: 2 CPUs (allowed: one for each of 1 IOThreads)",
            {"vms": [VM | {"vhost_ns": 1, "iothreads": 1, "iothread_cpus": [0, 1]}]},
        ),
        ("vms.0.iothreads: value 1 (allowed: 0, since vhost_ns is 0)", {"vms": [VM | {"iothreads": 1}]}),
        (
            "vms.0.iothread_quota_us: value 5000 (allowed: -1, since host.cgroups is 'per_vm')",
            {"vms": [VM | {"iothread_quota_us": 5000}]},
        ),
        (
            "vms.0.pinning: given (allowed: with host.placement 'launched' or 'one_per_cpu', not 'one_to_one')",
            {"host": {"placement": "one_to_one"}, "vms": [VM | {"pinning": [0, 1, 2, 3]}]},
        ),
        (
            "host.placement: value 'balanced' (allowed: 'one_per_cpu', its name now; the default is 'launched')",
            {"host": {"placement": "balanced"}},
        ),
        (
            "run.policy_from_ns: value 500000000 (allowed: up to warmup_ns, 400000000)",
            {"run": {"policy_from_ns": 500_000_000}},
        ),
        (
            "host_tasks.0.program: create_vcpu given (allowed: in the VMs' own VMMs only)",
            {"host_tasks": [{"name": "a", "program": [{"create_vcpu": True}, {"run_ns": 1000}]}]},
        ),
        (
            "vms.0.weight: value 200 (allowed: 100, since host.cgroups is 'flat')",
            {"host": {"cgroups": "flat"}, "vms": [VM | {"weight": 200}]},
        ),
        (
            "vms: 4097 vCPUs in all (allowed: up to 4096)",
            {"vms": [VM | {"vcpus": 64, "count": 64}, VM | {"name": "one", "vcpus": 1}]},
        ),
        ("host.cpus: value 8 (allowed: 16, as the topology has)", {"host": {"topology": "2s8c", "cpus": 8}}),
        (
            "host.topology: value '8c3t' (allowed: [SOCKETSs][LLCSl]CORESc[THREADSt], as 16c, 8c2t, 2s8c2t, 2s2l4c2t; "
            "1 or 2 threads, up to 256 CPUs)",
            {"host": {"topology": "8c3t"}},
        ),
        (
            "host.cpu_topology.1: core 0 in llc 1 (allowed: 0, where its other CPU is)",
            {"host": {"cpu_topology": [[0, 0, 0], [0, 1, 0]]}},
        ),
        (
            "host.cpu_topology: given (allowed: only without topology)",
            {"host": {"topology": "2c", "cpu_topology": [[0, 0, 0], [1, 0, 0]]}},
        ),
        ("vms.0.group: value 'g' (allowed: no group is defined)", {"vms": [VM | {"group": "g"}]}),
        (
            "vms.0.vcpu_groups: 1 groups (allowed: one for each of 4 vCPUs)",
            {"groups": [{"name": "a"}], "vms": [VM | {"vcpu_groups": ["a"]}]},
        ),
        (
            "vms.0.vcpu_groups: value 'b' (allowed: a)",
            {"groups": [{"name": "a"}], "vms": [VM | {"vcpu_groups": ["a", "a", "b", "a"]}]},
        ),
        (
            "vms.0.vcpu_groups: given (allowed: only without group and weight, which are of the VM's own group)",
            {"groups": [{"name": "a"}], "vms": [VM | {"vcpu_groups": ["a"] * 4, "weight": 50}]},
        ),
        ("groups: a name is given twice (allowed: once)", {"groups": [{"name": "a"}, {"name": "a"}]}),
        ("groups.0.parent: value 'b' (allowed: a)", {"groups": [{"name": "a", "parent": "b"}]}),
        ("groups.0.parent: value 'a' closes a cycle (allowed: a tree)", {"groups": [{"name": "a", "parent": "a"}]}),
        (
            "groups.1.parent: value 'c' closes a cycle (allowed: a tree)",
            {"groups": [{"name": "a"}, {"name": "b", "parent": "c"}, {"name": "c", "parent": "b"}]},
        ),
        (
            "host.costs.cold_cache_ratio: value nan (allowed: number 0..10)",
            {"host": {"costs": {"cold_cache_ratio": float("nan")}}},
        ),
        ("run.duration_ns: value 0 (allowed: integer 1..3600000000000)", {"run": {"duration_ns": 0}}),
        ("host: value 3 (allowed: a table)", {"host": 3}),
    ],
)
def test_messages(line, fields):
    refused(line, **fields)


def test_groups_form_a_tree_that_vms_name():
    groups = [{"name": "machine"}, {"name": "gold", "parent": "machine", "weight": 300}]
    scenario = Scenario(name="s", groups=groups, vms=[VM | {"group": "gold"}])
    assert scenario.groups[1].weight == 300


def test_overrides():
    fields = {"vms": [VM, VM | {"name": "b"}]}
    assert overridden("host.hz=250").host.hz == 250
    assert [vm.lock for vm in overridden("vms.0.lock=fifo", **fields).vms] == ["fifo", "pvqspinlock"]
    assert [vm.lock for vm in overridden('vms.*.lock="tas"', **fields).vms] == ["tas", "tas"]
    assert overridden("vms.0.vcpus=2", "vms.0.pinning=[0, 5]").vms[0].pinning == ((0,), (5,))
    assert overridden("vms.*.params.hold_ns=700", "vms.0.params.share=0.5").vms[0].params == {
        "hold_ns": 700,
        "share": 0.5,
    }
    assert overridden("host.costs.ipi_ns = 1_000").host.costs.ipi_ns == 1000
    assert overridden() == Scenario(name="s", vms=[VM])


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("hots.hz=1", "hots: unknown field (did you mean 'host'?)"),
        ("host.hzz=1", "host.hzz: unknown field (did you mean 'hz'?)"),
        ("host.hz.x=1", "host.hz.x: unknown field (host.hz is a single value)"),
        ("vms.1.lock=tas", "vms.1: unknown field (allowed: *.FIELD or 0..0.FIELD)"),
        ("vms.-1.lock=tas", "vms.-1: unknown field (allowed: *.FIELD or 0..0.FIELD)"),
        ("vms.*=1", "vms.*: unknown field (allowed: *.FIELD or 0..0.FIELD)"),
        ("groups.0.weight=1", "groups.0: unknown field (allowed: nothing, since none is defined)"),
        ("host.hz", "set: value 'host.hz' (allowed: KEY=VALUE, as host.hz=250)"),
        ("=1", "set: value '=1' (allowed: KEY=VALUE, as host.hz=250)"),
        ("host.hz=[1", "host.hz: value '[1' (allowed: a TOML value, as 5, 0.5, true, fifo, \"a b\", [0, 1])"),
        ("vms.*.lock=pv", "vms.0.lock: value 'pv' (allowed: pvqspinlock, which replaces it, fifo, tas)"),
        ("vms.0.lock=fio", "vms.0.lock: value 'fio' (allowed: pvqspinlock, fifo, tas)"),
    ],
)
def test_override_messages(override, line):
    override_refused(line, override)


def test_a_table_set_whole_cannot_be_entered_again():
    override_refused("host.hz: set twice (allowed: a whole table, or fields in it)", "host=3", "host.hz=1")
    override_refused("vms.0: set twice (allowed: a whole table, or fields in it)", "vms=[]", "vms.0.lock=tas")


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_override_is_applied_or_refused(key, value):
    try:
        overridden(f"{key}={value}")
    except ScenarioError as error:
        assert str(error)


def test_files(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('[[vms]]\nname = "a"\nvcpus = 2\nworkload = "vips"\n')
    assert load_scenario(file).name == load_scenario(str(file)).name == "mine"
    file.write_bytes(b"\xff")
    with pytest.raises(ScenarioError, match="UTF-8"):
        load_scenario(file)
    with pytest.raises(ScenarioError, match="No such file"):
        load_scenario("missing.toml")
    with pytest.raises(ScenarioError, match="Is a directory"):
        load_scenario(tmp_path)
    with pytest.raises(ScenarioError, match="did you mean 'dbench-2vm'"):
        load_scenario("dbnch-2vm")
    with pytest.raises(ScenarioError, match="line 1"):
        parse_scenario("a = = 3\n", "text")


def test_scenarios_are_values():
    scenario = load_scenario("dedup-3vm")
    assert pickle.loads(pickle.dumps(scenario)) == scenario
    assert Scenario(**scenario.model_dump(mode="json")) == scenario
    with pytest.raises(ValueError, match="frozen"):
        scenario.name = "other"
    assert scenario.layout == "launched, per_vm cgroups, pvqspinlock locks, Linux 6.19"
