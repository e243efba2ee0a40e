"""The machine from outside: one seed is one run, a fork has the same future, reading disturbs nothing, time adds up."""

import numpy as np
import pytest

from tests.helpers.at_once import at_once
from tests.helpers.run_hash import run_hash, run_hash_elsewhere
from vcpu_env.engine.loop import settle
from vcpu_env.kernel.features import FEATURES
from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario, apply_overrides, list_scenarios, load_scenario

MSEC = 1_000_000
SMALL = "dbench-1vm-2vcpu"
CROWDED = ("dbench-2vm", "dedup-2vm", "vips-2vm")


def machine(scenario: str, policy: str = "series-v2", seed: int = 0, *overrides: str) -> Machine:
    return Machine(apply_overrides(at_once(load_scenario(scenario)), overrides), policy, seed)


def words_at(end_ns: int, *arguments) -> np.ndarray:
    run = machine(*arguments)
    run.run_until(end_ns)
    return run.world.words


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a, b)


def leaves(tree, path=()):
    """(path, number) of every number in a tree of counters."""
    if isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from leaves(value, (*path, key))
    elif not isinstance(tree, str):
        yield path, tree


@pytest.mark.core
def test_same_seed_same_run():
    assert same(words_at(2 * MSEC, SMALL), words_at(2 * MSEC, SMALL))


@pytest.mark.core
def test_other_seed_other_run():
    a, b = machine(SMALL, "stock", 0), machine(SMALL, "stock", 1)
    a.run_until(2 * MSEC)
    b.run_until(2 * MSEC)
    assert not same(a.world["guest_thread"]["remaining_ns"], b.world["guest_thread"]["remaining_ns"])


@pytest.mark.parametrize("scenario", CROWDED)
def test_same_seed_same_crowded_run(scenario):
    assert same(words_at(30 * MSEC, scenario), words_at(30 * MSEC, scenario))


def test_same_run_in_another_process():
    run = ("dedup-2vm", "series-v2", 7, 20 * MSEC)
    assert run_hash_elsewhere(*run) == run_hash(*run)


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match=rf"seed: value {seed} \(allowed: 0..2147483647\)"):
        machine(SMALL, "stock", seed)


@pytest.mark.core
def test_halves_make_the_whole():
    halves = machine(SMALL)
    for end_ns in (1, 700_001, 700_001, 2 * MSEC):
        halves.run_until(end_ns)
    assert same(halves.world.words, words_at(2 * MSEC, SMALL))


@pytest.mark.parametrize("scenario", CROWDED)
def test_pieces_make_the_whole(scenario):
    pieces = machine(scenario)
    for end_ns in range(0, 20 * MSEC, 333_333):
        pieces.run_until(end_ns)
    pieces.run_until(20 * MSEC)
    assert same(pieces.world.words, words_at(20 * MSEC, scenario))


def test_time_does_not_run_backwards():
    run = machine(SMALL)
    run.run_until(2 * MSEC)
    before = run.world.words.copy()
    run.run_until(MSEC)
    assert same(run.world.words, before)


@pytest.mark.parametrize("scenario", CROWDED)
def test_fork_has_the_same_future(scenario):
    run = machine(scenario)
    for fork_ns in (0, MSEC + 1, 5 * MSEC, 17_654_321):
        run.run_until(fork_ns)
        fork = run.fork()
        assert fork.world.words is not run.world.words
        fork.run_until(fork_ns + 5 * MSEC)
        again = run.fork()
        run.run_until(fork_ns + 5 * MSEC)
        again.run_until(fork_ns + 5 * MSEC)
        assert same(fork.world.words, run.world.words)
        assert same(again.world.words, run.world.words)


@pytest.mark.core
def test_fork_leaves_the_original_alone():
    run = machine(SMALL)
    run.run_until(MSEC)
    before = run.world.words.copy()
    fork = run.fork()
    fork.run_until(2 * MSEC)
    assert same(run.world.words, before)
    assert not same(fork.world.words, before)


@pytest.mark.parametrize("scenario", CROWDED)
def test_reading_counters_changes_nothing(scenario):
    read, unread = machine(scenario), machine(scenario)
    for end_ns in range(0, 20 * MSEC, 333_333):
        read.run_until(end_ns)
        read.counters()
        unread.run_until(end_ns)
    assert same(read.world.words, unread.world.words)
    assert read.counters() == unread.counters()


@pytest.mark.parametrize("scenario", [*CROWDED, SMALL])
def test_time_of_every_cpu_adds_up(scenario):
    run = machine(scenario)
    for end_ns in (1, 3 * MSEC, 12_345_678, 40 * MSEC):
        run.run_until(end_ns)
        settled = run.fork().world
        settle(settled.handle, end_ns)
        cpus, vcpus = settled["pcpu"], settled["guest_vcpu"]
        assert (cpus["guest_ns"] + cpus["host_ns"] + cpus["poll_ns"] + cpus["idle_ns"] == end_ns).all()
        for mode in ("guest_ns", "host_ns", "poll_ns", "idle_ns"):
            assert (cpus[mode] >= 0).all()
        assert vcpus["run_ns"].sum() == cpus["guest_ns"].sum()


@pytest.mark.parametrize("scenario", [*CROWDED, SMALL])
def test_time_of_every_vcpu_adds_up(scenario):
    run = machine(scenario)
    run.run_until(40 * MSEC)
    settled = run.fork().world
    settle(settled.handle, run.now_ns)
    vcpus = settled["guest_vcpu"]
    assert (vcpus["user_ns"] + vcpus["kernel_ns"] == vcpus["run_ns"]).all()
    assert (vcpus["spin_ns"] + vcpus["irq_ns"] <= vcpus["kernel_ns"]).all()
    assert (vcpus["run_ns"] + vcpus["steal_ns"] + vcpus["idle_ns"] <= run.now_ns).all()
    for vm, spec in zip(run.counters()["vms"], run.scenario.expanded_vms, strict=True):
        assert vm["user_ns"] + vm["kernel_ns"] == vm["run_ns"]
        assert 0 < vm["run_ns"] <= spec.vcpus * run.now_ns


@pytest.mark.parametrize("scenario", CROWDED)
def test_counters_never_decrease(scenario):
    run = machine(scenario)
    before = dict(leaves(run.counters()))
    for end_ns in range(2 * MSEC, 40 * MSEC, 2 * MSEC):
        run.run_until(end_ns)
        after = dict(leaves(run.counters()))
        assert after.keys() == before.keys()
        assert [path for path in after if after[path] < before[path]] == []
        before = after
    assert all(vm["work_units"] > 0 for vm in run.counters()["vms"])


def test_overcommit_makes_spinners_yield():
    """What the policies act on does happen in a short run of an overcommitted host."""
    run = machine("dbench-2vm", "stock")
    run.run_until(60 * MSEC)
    counted = run.counters()
    assert counted["kvm"]["pause_exits"] > 0
    assert counted["kvm"]["ple_yield_ok"] > 0
    assert counted["decisions"] >= counted["kvm"]["ple_yield_ok"]
    assert counted["host"]["idle_ns"] < counted["host"]["guest_ns"]


@pytest.mark.parametrize("scenario", list_scenarios())
def test_world_of_a_shipped_scenario_is_small(scenario):
    assert machine(scenario).world.words.nbytes < (2**26 if scenario.startswith("scale-") else 2**24)


def test_largest_world_stays_under_a_gigabyte():
    vms = [{"name": "vm", "count": 64, "vcpus": 64, "workload": "dedup", "params": {"threads": 64}}]
    largest = Scenario(name="largest", host={"cpus": 256, "cgroups": "libvirt"}, vms=vms)
    assert Machine(largest).world.words.nbytes < 2**30


def test_scheduler_features_reach_the_kernel():
    run = machine("dbench-2vm", "stock", 0, "host.features.RUN_TO_PARITY=false")
    features = run.world["sched_features"][0]
    assert {name: int(features[name]) for name in FEATURES} == FEATURES | {"RUN_TO_PARITY": 0}
