"""What an administrator does during a run beside cgroups: files under /sys, vcpupin."""

import pytest

from tests.helpers.at_once import at_once
from tests.helpers.invariants import assert_invariants, next_event_ns
from tests.helpers.run_hash import run_hash_elsewhere
from tests.helpers.scenarios import VM, refused
from vcpu_env.engine.host_changes import PARAMETERS
from vcpu_env.kernel.features import FEATURES
from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario
from vcpu_env.scenario.host_writes import FILES, KVM, PREEMPT, SCHED, host_writes

MSEC = 1_000_000
PLE = "/sys/module/kvm_intel/parameters/ple_gap"
HOGS = {"hogs": {"summary": "", "threads": [{"name": "hog", "count": 2, "program": "user 10ms\nwork"}]}}


def machine(*changes: dict, **vm) -> Machine:
    """Two VMs of two hogs on four CPUs, VM a on CPUs 0 and 1, b on 0 to 3."""
    sets = {"a": [[0, 1], [0, 1]], "b": [[0, 1, 2, 3]] * 2}
    vms = [{"name": name, "vcpus": 2, "workload": "hogs", "pinning": own} | vm for name, own in sets.items()]
    return Machine(at_once(Scenario(name="s", host={"cpus": 4}, workloads=HOGS, vms=vms, changes=changes)), "stock", 1)


def write(file: str, value: int | str) -> dict:
    return {"at_ns": 2 * MSEC, "file": file, "value": value}


@pytest.mark.core
@pytest.mark.parametrize(
    ("file", "value", "struct", "field", "number"),
    [
        *(
            (file, bounds[1], "kvm_params", file.removeprefix(KVM), bounds[1])
            for file, bounds in FILES.items()
            if KVM in file
        ),
        (f"{KVM}ipi_tracking_enabled", "N", "kvm_params", "ipi_tracking_enabled", 0),
        (f"{SCHED}base_slice_ns", 5_000_000, "sched_tunables", "base_slice_ns", 5_000_000),
        (f"{SCHED}migration_cost_ns", 7, "sched_tunables", "migration_cost_ns", 7),
        (f"{SCHED}vcpu_debooster_enabled", 0, "deboost_params", "vcpu_debooster_enabled", 0),
        (PREEMPT, "lazy", "sched_tunables", "preempt_lazy", 1),
        *((f"{SCHED}features", f"NO_{name}", "sched_features", name, 0) for name, on in FEATURES.items() if on),
        (f"{SCHED}features", "NEXT_BUDDY", "sched_features", "NEXT_BUDDY", 1),
    ],
)
def test_a_file_is_written_when_it_is_due(file, value, struct, field, number):
    """It changes nothing before, and nothing else."""
    changed, unchanged = machine(write(file, value)), machine()
    changed.run_until(2 * MSEC - 1)
    unchanged.run_until(2 * MSEC - 1)
    structs = ("kvm_params", "sched_tunables", "sched_features", "deboost_params")
    assert all((changed.world[name] == unchanged.world[name]).all() for name in structs)
    changed.run_until(2 * MSEC)
    unchanged.run_until(2 * MSEC)
    assert changed.world[struct][field][0] == number
    changed.world[struct][field] = unchanged.world[struct][field]
    assert all((changed.world[name] == unchanged.world[name]).all() for name in structs)


def test_every_file_is_a_parameter():
    files = [write(file, low) for file, (low, _) in FILES.items()] + [write(PREEMPT, "full")]
    files += [write(f"{SCHED}features", name) for name in FEATURES]
    names = [made.name for made in host_writes(Scenario(name="s", vms=[VM], changes=files))]
    assert set(names) == set(PARAMETERS) and len(names) == len(PARAMETERS)


@pytest.mark.core
def test_a_vcpu_is_pinned_elsewhere():
    """A running one leaves its CPU at once; all others stay within theirs."""
    pins = [
        {"at_ns": 3 * MSEC, "vm": "a", "vcpu": 1, "cpus": [2]},
        {"at_ns": 5 * MSEC, "vm": "a", "cpus": [3]},
        {"at_ns": 6 * MSEC, "vm": "b", "cpus": [0, 1]},
    ]
    m = machine(*pins)
    m.run_until(3 * MSEC - 1)
    assert set(m.world["task_struct"]["cpu"][:2].tolist()) <= {0, 1}
    m.run_until(3 * MSEC + 50_000)
    assert m.world["task_struct"]["cpu"][1] == 2 and m.world["task_struct"]["cpu"][0] in (0, 1)
    m.run_until(5 * MSEC + 50_000)
    assert m.world["task_struct"]["cpu"][:2].tolist() == [3, 3]
    m.run_until(6 * MSEC + 50_000)
    assert set(m.world["task_struct"]["cpu"][2:4].tolist()) <= {0, 1}
    before = m.counters()["vms"]
    m.run_until(16 * MSEC + 50_000)
    pairs = zip(m.counters()["vms"], before, strict=True)
    a, b = ({name: after[name] - was[name] for name in ("run_ns", "ready_ns")} for after, was in pairs)
    assert a["run_ns"] == pytest.approx(10 * MSEC, rel=0.03) and a["ready_ns"] == pytest.approx(10 * MSEC, rel=0.03)
    assert b["run_ns"] > 16 * MSEC  # until a balance, both may share one of theirs
    assert_invariants(m)


@pytest.mark.core
@pytest.mark.parametrize("workload", ["dedup", "dbench"])
def test_pins_at_any_moment(workload):
    """Of vCPUs that run, wait, sleep, poll, are in the host kernel, or not created yet: invariants hold throughout."""
    pins = [
        {"at_ns": at_ns, "vm": "vm", "vcpu": i % 3, "cpus": [i % 2] if i % 5 else [0, 1]}
        for i, at_ns in enumerate(range(50_000, 4 * MSEC, 37_001))
    ]
    vms = [{"name": "vm", "vcpus": 3, "workload": workload}, {"name": "other", "vcpus": 2, "workload": "dedup"}]
    m = Machine(at_once(Scenario(name="s", host={"cpus": 2}, vms=vms, changes=pins)), "series-v2", 2)
    allowed = [[0, 1]] * 3
    due = list(pins)
    for _ in range(1500):
        m.run_until(next_event_ns(m))
        while due and due[0]["at_ns"] <= m.now_ns:
            allowed[due[0]["vcpu"]] = due[0]["cpus"]
            del due[0]
        words = [word & 3 for word in m.world["task_struct"]["cpus_allowed"][:3, 0].tolist()]
        assert words == [sum(1 << cpu for cpu in cpus) for cpus in allowed]
        if m.world["machine_clock"]["events"][0] % 11 == 0:
            assert_invariants(m)
    assert m.now_ns > 1 * MSEC and len(due) < len(pins) - 20


@pytest.mark.parametrize(
    ("line", "change"),
    [
        (".file: value '/etc/passwd' (allowed: ", {"file": "/etc/passwd", "value": 1}),
        (
            f".file: value '{PLE}' (allowed: files that Linux lets write; set kvm.ple_gap)",
            {"file": PLE, "value": 0},
        ),
        (
            ".file: value '/sys/module/kvm/parameters/halt_poll' (did you mean '/sys/",
            {"file": f"{KVM}halt_poll", "value": 1},
        ),
        (".value: value -1 (allowed: 0..4294967295)", {"file": f"{KVM}halt_poll_ns", "value": -1}),
        (".value: value 'Y' (allowed: 0..4294967295)", {"file": f"{KVM}halt_poll_ns", "value": "Y"}),
        (".value: value 'none' (allowed: full, lazy)", {"file": PREEMPT, "value": "none"}),
        (
            ".value: value 'NO_NEXT_BUDY' (a feature, or NO_ and a feature; did you mean 'NEXT_BUDDY'?)",
            {"file": f"{SCHED}features", "value": "NO_NEXT_BUDY"},
        ),
        (": file given without value (allowed: file and value)", {"file": PREEMPT}),
        (
            ": file given with more than value (allowed: file and value)",
            {"file": PREEMPT, "value": "full", "weight": 3},
        ),
        (".value: value 3 (allowed: with file)", {"vm": "vm", "value": 3, "weight": 3}),
        (".cpus: value 16 (allowed: CPUs 0..15)", {"vm": "vm", "cpus": [16]}),
        (".cpus: none given (allowed: CPUs 0..15)", {"vm": "vm", "cpus": []}),
        (".vcpu: value 4 (allowed: 0..3)", {"vm": "vm", "vcpu": 4, "cpus": [1]}),
        (".vcpu: given (allowed: with vm and cpus)", {"vm": "vm", "vcpu": 1}),
        (".vm: value 'v' (allowed: vm)", {"vm": "v", "cpus": [1]}),
    ],
)
def test_refused(line, change):
    with pytest.raises(ValueError, match="changes.0") as error:
        Scenario(name="s", vms=[VM], changes=[{"at_ns": 5} | change])
    assert str(error.value).startswith(f"changes.0{line}") and "\n" not in str(error.value)


def test_two_wrong_changes():
    refused("changes.0.value: value 2 (allowed: 0..1)", changes=[write(f"{KVM}ipi_tracking_enabled", 2)])


SCENARIO = f"""
host = {{ cpus = 2, cgroups = "libvirt" }}
vms = [
    {{ name = "vm", vcpus = 2, workload = "dedup", pinning = [[0, 1], 1] }},
    {{ name = "io", vcpus = 2, workload = "dbench", vhost_ns = 9000, iothreads = 1, params.block_per_s = 9000 }},
]
changes = [
    {{ at_ns = 2_000_000, vm = "vm", vcpu = 0, cpus = [1] }},
    {{ at_ns = 3_000_000, file = "{SCHED}features", value = "NEXT_BUDDY" }},
    {{ at_ns = 4_000_000, vm = "io", cpus = [0] }},
    {{ at_ns = 5_000_000, file = "{KVM}halt_poll_ns", value = 0 }},
    {{ at_ns = 6_000_000, vm = "vm", cpus = [0, 1] }},
]
"""


def test_compiled_and_uncompiled_runs_are_equal(tmp_path):
    file = tmp_path / "changed.toml"
    file.write_text(SCENARIO)
    run = (str(file), "series-v2", 3, 9 * MSEC)
    compiled = run_hash_elsewhere(*run, NUMBA_DISABLE_JIT="0")
    assert run_hash_elsewhere(*run, NUMBA_DISABLE_JIT="1") == compiled
