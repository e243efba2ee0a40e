"""VMs that begin and end while the host runs: nothing before, nothing after, and nothing left behind."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.at_once import at_once
from tests.helpers.invariants import assert_invariants, next_event_ns
from vcpu_env.base.jit import NIL
from vcpu_env.engine.loop import settle
from vcpu_env.kernel.types import TASK_DEAD
from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario, ScenarioError

MSEC = 1_000_000
STILL = {"name", "workload"}


def host(
    *lives: tuple[int, int | None], cpus: int = 2, lock: str = "pvqspinlock", workload: str = "dbench", **kwargs
) -> Machine:
    """A host with a VM of 2 vCPUs for each (begin, end) in ms."""
    vms = [
        {"name": f"vm{i}", "vcpus": 2, "workload": workload, "lock": lock, "start_ns": round(start * MSEC)}
        | ({} if stop is None else {"stop_ns": round(stop * MSEC)})
        for i, (start, stop) in enumerate(lives)
    ]
    scenario = at_once(Scenario(name="lives", host={"cpus": cpus, **kwargs}, vms=vms))
    return Machine(scenario, "series-v2", 3)


def after(machine: Machine, end_ms: float) -> list[dict]:
    machine.run_until(round(end_ms * MSEC))
    return machine.counters()["vms"]


def alive(vm: dict) -> bool:
    return any(value for name, value in vm.items() if name not in STILL and not isinstance(value, list))


@pytest.mark.core
def test_life():
    machine = host((0, None), (2.5, 6))
    always, guest = after(machine, 2.5 - 1e-6)
    assert alive(always) and not alive(guest)
    assert not machine.world["task_struct"]["on_rq"][2:].any()
    always, guest = after(machine, 6)
    assert guest["run_ns"] > 0 and guest["work_units"] > 0
    assert (always["alive_ns"], guest["alive_ns"]) == (6 * MSEC, 3.5 * MSEC)
    frozen = after(machine, 6)[1]
    late = after(machine, 12)
    assert late[1] == frozen
    assert late[0]["run_ns"] > always["run_ns"]


@pytest.mark.core
def test_time_of_a_vcpu_adds_up_over_its_life():
    machine = host((0, 7), (1, 4))
    machine.run_until(9 * MSEC)
    vcpus = machine.world["guest_vcpu"]
    lived = vcpus["run_ns"] + vcpus["steal_ns"] + vcpus["idle_ns"]
    assert (lived <= np.array([7, 7, 3, 3]) * MSEC).all()
    assert (lived > np.array([7, 7, 3, 3]) * MSEC * 0.7).all()  # the rest is host work


@pytest.mark.core
def test_nothing_is_left_behind():
    machine = host((0, 3), (0, 3))
    machine.run_until(20 * MSEC)
    world, slots = machine.world, machine.world["event_slots"][0]
    assert (world["rq"]["curr"] == NIL).all() and not world["rq"]["nr_running"].any()
    assert not world["cfs_rq"]["nr_queued"].any() and not world["cfs_rq"]["load_weight"].any()
    assert not world["sched_entity"]["on_rq"].any()
    assert (world["task_struct"]["state"] == TASK_DEAD).all()
    assert (world["event"]["when_ns"][slots["timer"] :] > 10**18).all()
    assert (world["pcpu"]["vcpu"] == NIL).all() and (world["lapic"]["cpu"] == NIL).all()
    idle_ns = machine.counters()["host"]["idle_ns"]
    assert idle_ns >= 2 * 17 * MSEC


@pytest.mark.core
def test_a_host_may_be_empty_at_first():
    machine = host((4, None))
    assert not alive(after(machine, 3)[0])
    assert machine.counters()["host"]["idle_ns"] == 2 * 3 * MSEC
    assert after(machine, 6)[0]["work_units"] > 0


@pytest.mark.core
@pytest.mark.parametrize(
    ("life", "message"),
    [
        ({"stop_ns": 5, "start_ns": 5}, r"vms.0.stop_ns: value 5 \(allowed: after start_ns, 5\)"),
        ({"start_ns": -1}, r"vms.0.start_ns: value -1 \(allowed: integer 0..3600000000000\)"),
        ({"stop_ns": 0}, r"vms.0.stop_ns: value 0 \(allowed: integer 1..3600000000000\)"),
    ],
)
def test_impossible_lives_are_refused(life, message):
    with pytest.raises(ScenarioError, match=f"^{message}$"):
        Scenario(name="a", vms=[{"name": "vm", "vcpus": 2, "workload": "dedup", **life}])


@pytest.mark.parametrize("workload", ["dbench", "vips"])
@pytest.mark.parametrize(("lock", "cgroups"), [("pvqspinlock", "per_vm"), ("fifo", "libvirt"), ("tas", "flat")])
def test_invariants_around_beginning_and_end(lock, cgroups, workload):
    machine = host((0, None), (5, 11), (0, 8), lock=lock, cgroups=cgroups, workload=workload)
    for instant in (5, 8, 11):
        machine.run_until(round((instant - 0.02) * MSEC))
        while machine.now_ns < (instant + 0.05) * MSEC:
            machine.run_until(next_event_ns(machine))
            assert_invariants(machine)


LIFE = st.tuples(st.integers(0, 9_000_000), st.none() | st.integers(1, 6_000_000))


@settings(max_examples=25)
@given(lives=st.lists(LIFE, min_size=1, max_size=4), lock=st.sampled_from(["pvqspinlock", "fifo", "tas"]))
def test_any_lives(lives, lock):
    """Whenever VMs come and go: a dead VM stands still, and every nanosecond of every CPU is accounted for."""
    lives = [(start / MSEC, None if length is None else (start + length) / MSEC) for start, length in lives]
    machine = host(*lives, lock=lock)
    for end_ms in (3, 7, 12, 16):
        vms = after(machine, end_ms)
        for vm, (start, stop) in zip(vms, lives, strict=True):
            until = end_ms if stop is None else min(stop, end_ms)
            assert vm["alive_ns"] == max(0, round(until * MSEC) - round(start * MSEC))
            assert alive(vm) == (end_ms > start)
            assert vm["run_ns"] <= 2 * vm["alive_ns"]
        settled = machine.fork().world
        settle(settled.handle, machine.now_ns)
        cpus = settled["pcpu"]
        assert (cpus["guest_ns"] + cpus["host_ns"] + cpus["poll_ns"] + cpus["idle_ns"] == machine.now_ns).all()
        dead = [2 * i + v for i, (_, stop) in enumerate(lives) if stop is not None and stop <= end_ms for v in (0, 1)]
        assert not machine.world["sched_entity"]["on_rq"][dead].any()
        assert not np.isin(machine.world["pcpu"]["vcpu"], dead).any()
