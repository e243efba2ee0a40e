"""Policies on a running machine: which patches change a decision and which provably do not, and run-time controls."""

import numpy as np
import pytest

from tests.helpers.at_once import at_once
from tests.helpers.worlds import differing
from vcpu_env.machine import Machine
from vcpu_env.policy.named import POLICIES, Policy, policy_named, series, series_level
from vcpu_env.scenario import apply_overrides, load_scenario

MSEC = 1_000_000
CROWDED = ("dbench-2vm", "dedup-2vm", "vips-2vm")
SEEDS = (0, 3)

PARAMETERS = {"deboost_params", "kvm_params"}
IPI_STATE = {"last_ipi_sender", "last_ipi_receiver", "pending_ipi", "last_ipi_vector", "ipi_time_ns", "ipi_response_ns"}
"""What patches 6 and 7 write, and only patches 8 and 9 read."""
CURSOR = {"scan_round"}
"""Scratch of one kvm_vcpu_on_spin(): the round in which it ended, the relaxed one too if it found nobody."""


def run(scenario: str, policy: Policy | str, seed: int, end_ns: int, *overrides: str) -> Machine:
    machine = Machine(apply_overrides(at_once(load_scenario(scenario)), overrides), policy, seed)
    machine.run_until(end_ns)
    return machine


@pytest.fixture(scope="module")
def levels() -> dict:
    """Worlds after 60 ms under every level of the series, by (scenario, seed, level)."""
    return {
        (scenario, seed, level): run(scenario, series_level(level), seed, 60 * MSEC)
        for scenario in CROWDED
        for seed in SEEDS
        for level in range(10)
    }


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scenario", CROWDED)
def test_patches_1_to_4_change_nothing(levels, scenario, seed):
    for level in (1, 2, 3, 4):
        assert differing(levels[scenario, seed, level].world, levels[scenario, seed, 0].world) == set()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scenario", CROWDED)
def test_patches_6_and_7_only_write_down_ipis(levels, scenario, seed):
    for level in (6, 7):
        a, b = levels[scenario, seed, level], levels[scenario, seed, 5]
        assert differing(a.world, b.world, {"kvm_params"} | IPI_STATE) == set()
        assert a.counters() == b.counters()


def test_patch_7_writes_down_ipis(levels):
    tracked = [levels[scenario, seed, 7].world["kvm_vcpu"] for scenario in CROWDED for seed in SEEDS]
    assert any((vcpus["last_ipi_receiver"] != -1).any() for vcpus in tracked)


@pytest.mark.parametrize("level", [5, 8, 9])
def test_patches_5_8_and_9_change_the_run(levels, level):
    for scenario, seed in [(scenario, seed) for scenario in CROWDED for seed in SEEDS]:
        a, b = levels[scenario, seed, level], levels[scenario, seed, level - 1]
        if "guest_thread.pc" in differing(a.world, b.world, PARAMETERS):
            return
    pytest.fail(f"patch {level} made no difference anywhere")


@pytest.mark.parametrize("level", range(10))
def test_patch_5_penalises_and_no_other(levels, level):
    counted = [levels[scenario, seed, level].counters() for scenario in CROWDED for seed in SEEDS]
    assert sum(run["deboost"]["yields"] for run in counted) > 0
    assert (sum(run["deboost"]["applied"] for run in counted) > 0) == (level >= 5)


@pytest.mark.parametrize("scenario", CROWDED)
def test_debooster_switched_off_is_stock(scenario):
    machine = run(scenario, "debooster", 1, 15 * MSEC)
    switched, stock = machine.fork(), machine.fork()
    switched.set_control("vcpu_debooster_enabled", 0)
    policy_named("stock").apply(stock.world)
    for other in (machine, switched, stock):
        other.run_until(60 * MSEC)
    records = {"yield_decision", "deboost_params"}
    assert differing(switched.world, stock.world, records) == set()
    assert differing(switched.world, machine.world, records) != set()


@pytest.mark.parametrize("scenario", CROWDED)
def test_debooster_switched_on_again(scenario):
    """Off and on within one instant is as if nothing had been done."""
    machine = run(scenario, "debooster", 1, 15 * MSEC)
    toggled = machine.fork()
    toggled.set_control("vcpu_debooster_enabled", 0)
    toggled.set_control("vcpu_debooster_enabled", 1)
    for other in (machine, toggled):
        other.run_until(20 * MSEC)
    assert differing(machine.world, toggled.world) == set()


@pytest.mark.parametrize("scenario", CROWDED)
def test_ipi_tracking_switched_off_from_the_start(scenario):
    """Without records no candidate is IPI-aware: what is left of patches 6-9 is the relaxed round."""
    off = Machine(at_once(load_scenario(scenario)), "ipi", 1)
    off.set_control("ipi_tracking_enabled", 0)
    off.run_until(30 * MSEC)
    assert (off.world["kvm_vcpu"]["last_ipi_receiver"] == -1).all()
    without = run(scenario, series({8, 9}), 1, 30 * MSEC)
    assert differing(off.world, without.world, {"kvm_params"}) == set()


@pytest.mark.parametrize("scenario", CROWDED)
def test_relaxed_boost_switched_off_is_patches_6_to_8(scenario):
    off = Machine(at_once(load_scenario(scenario)), "ipi", 1)
    off.set_control("enable_relaxed_boost", 0)
    off.run_until(30 * MSEC)
    assert differing(off.world, run(scenario, series({6, 7, 8}), 1, 30 * MSEC).world, {"kvm_params"}) == set()


def test_window_of_zero_forgets_every_ipi():
    short = Machine(at_once(load_scenario("dedup-2vm")), "ipi", 1)
    short.set_control("ipi_window_ns", 0)
    short.run_until(30 * MSEC)
    assert differing(short.world, run("dedup-2vm", "ipi", 1, 30 * MSEC).world, {"kvm_params"}) != set()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("halt_poll_ns", 0, r"control: value 'halt_poll_ns' \(allowed: vcpu_debooster_enabled, "),
        ("vcpu_debooster_enabled", -1, r"vcpu_debooster_enabled: value -1 \(allowed: 0..2147483647\)"),
        ("vcpu_debooster_enabled", 2**31, r"vcpu_debooster_enabled: value 2147483648 "),
        ("ipi_tracking_enabled", 2, r"ipi_tracking_enabled: value 2 \(allowed: 0..1\)"),
        ("enable_relaxed_boost", 2, r"enable_relaxed_boost: value 2 \(allowed: 0..1\)"),
        ("ipi_window_ns", -5, r"ipi_window_ns: value -5 \(allowed: 0..4611686018427387904\)"),
    ],
)
def test_bad_control_is_refused(name, value, message):
    machine = Machine(at_once(load_scenario("dbench-1vm-2vcpu")), "series-v2")
    before = machine.world.words.copy()
    with pytest.raises(ValueError, match=message):
        machine.set_control(name, value)
    assert np.array_equal(machine.world.words, before)


@pytest.mark.parametrize("workload", ["dbench", "dedup", "vips"])
def test_series_is_inert_without_overcommit(workload):
    """One VM, every vCPU alone on its CPU: nobody is preempted, so there is nobody to yield to."""
    runs = [
        run(f"{workload}-1vm-16vcpu", policy, 3, 60 * MSEC, "host.placement=one_to_one", "host.noise=none")
        for policy in ("stock", "debooster", "ipi", "series-v2")
    ]
    for other in runs[1:]:
        assert differing(other.world, runs[0].world, PARAMETERS | IPI_STATE | CURSOR) == set()
    counted = runs[0].counters()
    assert counted["kvm"]["ple_yield_attempt"] == 0
    assert counted["sched"]["nr_migrations"] == 0


def test_names():
    assert {"stock", "debooster", "ipi", "series-v2", "debooster-v1"} <= POLICIES.keys()
    assert all(policy.name == name and policy.summary for name, policy in POLICIES.items())
    with pytest.raises(ValueError, match=r"policy: value 'serie' \(did you mean 'series-v"):
        policy_named("serie")
    with pytest.raises(ValueError, match=r"level: value 10 \(allowed: 0..9\)"):
        series_level(10)
    with pytest.raises(ValueError, match=r"patches: value 12 \(allowed: 1..9\)"):
        series({5, 12})


def test_whole_series_is_its_last_level():
    a, b = (run("dbench-2vm", policy, 5, 20 * MSEC) for policy in ("series-v2", series_level(9)))
    assert differing(a.world, b.world) == set()
