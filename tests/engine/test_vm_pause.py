"""VMs that are paused and go on, that leave for another host or arrive from one."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.at_once import at_once
from tests.helpers.invariants import assert_invariants
from vcpu_env.base.jit import NIL
from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario, ScenarioError

MSEC = 1_000_000


def change(at_ms: float, life: str, vm: str = "a", **more) -> dict:
    return {"at_ns": round(at_ms * MSEC), "vm": vm, "life": life} | more


def host(*changes: dict, workload: str = "dbench", launched: bool = False, **kwargs) -> Scenario:
    """Two VMs of two vCPUs on two CPUs, of which `a` is stopped and goes on."""
    vms = [{"name": name, "vcpus": 2, "workload": workload, "boot_ns": 0} for name in "ab"]
    scenario = Scenario(name="lives", host={"cpus": 2} | kwargs, vms=vms, changes=list(changes))
    return scenario if launched else at_once(scenario)


def after(machine: Machine, end_ms: float) -> list[dict]:
    machine.run_until(round(end_ms * MSEC))
    return machine.counters()["vms"]


@pytest.mark.core
@pytest.mark.parametrize("workload", ["dbench", "dedup", "blackscholes"])
@pytest.mark.parametrize("kernel", ["6.19", "7.3"])
def test_a_paused_vm_does_nothing_and_uses_nothing(kernel, workload):
    machine = Machine(host(change(20, "suspend"), change(60, "resume"), workload=workload, kernel=kernel), "stock", 3)
    before = after(machine, 20)[0]
    assert before["run_ns"] > 10 * MSEC and before["paused_ns"] == 0
    stopped, other = after(machine, 35)  # whoever waited for a CPU has had one
    assert not machine.world["task_struct"]["on_rq"][:2].any() and machine.world["kvm_vcpu"]["stopped"][:2].all()
    late, alone = after(machine, 60)
    for name in ("run_ns", "cpu_ns", "ready_ns", "halted_ns", "steal_ns", "idle_ns", "work_units"):
        assert late[name] == stopped[name], name
    assert late["paused_ns"] == stopped["paused_ns"] + 2 * 25 * MSEC
    if workload == "blackscholes":
        assert alone["cpu_ns"] - other["cpu_ns"] > 0.999 * 2 * 25 * MSEC
    again, _ = after(machine, 90)
    assert again["paused_ns"] == late["paused_ns"] and again["run_ns"] - late["run_ns"] > 5 * MSEC
    assert workload == "dedup" or again["work_units"] > late["work_units"]


@pytest.mark.core
def test_time_adds_up_at_any_moment():
    changes = [change(8, "suspend"), change(14.5, "resume"), change(21, "suspend"), change(22, "suspend", "b")]
    machine = Machine(host(*changes, launched=True, noise="none"), "series-v2", 4)
    for end_ms in (3, 8, 8.01, 9, 14, 14.5, 14.500001, 16, 21.3, 23, 30):
        for vm in after(machine, end_ms):
            assert vm["cpu_ns"] + vm["ready_ns"] + vm["halted_ns"] + vm["paused_ns"] == 2 * vm["alive_ns"]
            assert vm["halted_ns"] >= 0
    assert all(vm["paused_ns"] > 2 * 7 * MSEC for vm in machine.counters()["vms"])


@pytest.mark.core
def test_the_guests_clock_stands_still():
    """Ticks of a guest that computes: at 250 Hz, late by the pause, with one at once for what was due meanwhile."""
    scenario = host(change(30, "suspend"), change(71, "resume"), workload="blackscholes", hz=1000)
    machine = Machine(scenario, "stock", 1)
    after(machine, 30)
    phase = int(machine.world["guest_vm"]["tick_phase_ns"][0])
    ticks = after(machine, 70.9)[0]["timer_interrupts"]
    after(machine, 80)
    assert (int(machine.world["guest_vm"]["tick_phase_ns"][0]) - phase) % (4 * MSEC) == 1 * MSEC
    assert ticks + 2 <= machine.counters()["vms"][0]["timer_interrupts"] <= ticks + 2 * 4
    assert all(when % (4 * MSEC) == (phase + MSEC) % (4 * MSEC) for when in timers(machine))


def timers(machine: Machine) -> list[int]:
    first = int(machine.world["event_slots"]["timer"][0])
    return [int(when) for when in machine.world["event"]["when_ns"][first : first + 2]]


@pytest.mark.core
def test_a_halted_vcpu_goes_back_into_its_halt():
    """A guest of four vCPUs with work for one: the others have slept before, and sleep on."""
    one = {"summary": "", "threads": [{"name": "t", "count": 1, "program": "user 1ms\nwork"}]}
    vm = {"name": "a", "vcpus": 4, "workload": "one", "boot_ns": 0}
    changes = [change(20, "suspend"), change(30, "resume")]
    scenario = Scenario(name="s", host={"cpus": 4}, workloads={"one": one}, vms=[vm], changes=changes)
    machine = Machine(at_once(scenario), "stock", 1)
    before = after(machine, 20)[0]
    counted = after(machine, 50)[0]
    assert counted["run_ns"] - before["run_ns"] == pytest.approx(20 * MSEC, rel=0.02)
    assert machine.world["kvm_vcpu"]["asleep"].sum() == 3


@pytest.mark.core
def test_one_that_leaves_and_one_that_arrives():
    """`a` runs until 20 ms and is gone at 25; `b` was created at 0 and runs from 35 on, without a boot."""
    changes = [
        change(20, "migrate-out", downtime_ns=5 * MSEC),
        change(30, "migrate-in", "b", downtime_ns=5 * MSEC),
    ]
    machine = Machine(host(*changes), "stock", 2)
    left, arrives = after(machine, 20)
    assert left["run_ns"] > 39 * MSEC and arrives["run_ns"] == arrives["work_units"] == 0
    after(machine, 40)
    left, arrives = machine.counters()["vms"]
    assert left["alive_ns"] == 25 * MSEC and left["paused_ns"] == pytest.approx(2 * 5 * MSEC, rel=0.01)
    assert left["cpu_ns"] + left["ready_ns"] + left["halted_ns"] + left["paused_ns"] == 2 * left["alive_ns"]
    assert arrives["run_ns"] > 9.5 * MSEC and arrives["halted_ns"] < 0.1 * MSEC
    waited_ns = arrives["ready_ns"]  # until its new threads have had a CPU, to sleep
    assert arrives["paused_ns"] + waited_ns == pytest.approx(2 * 35 * MSEC, rel=0.01) and waited_ns < 10 * MSEC
    late = after(machine, 60)
    assert late[0] == left and late[1]["work_units"] > arrives["work_units"]


def test_a_fork_in_the_middle_has_the_same_future():
    for launched, at_ms in ((False, 8.001), (True, 9), (False, 14.5)):
        scenario = host(change(8, "suspend"), change(14.5, "resume"), launched=launched, workload="dedup")
        machine = Machine(scenario, "series-v2", 3)
        after(machine, at_ms)
        others = (machine.fork(), pickle.loads(pickle.dumps(machine)))
        after(machine, 30)
        for other in others:
            after(other, 30)
            assert np.array_equal(machine.world.words, other.world.words)


@settings(max_examples=15, deadline=None)
@given(
    times=st.lists(st.integers(0, 25 * MSEC), min_size=2, max_size=6, unique=True).filter(lambda t: len(t) % 2 == 0),
    workload=st.sampled_from(["dbench", "dedup", "micro-ipi", "micro-lwp"]),
)
def test_anything_may_be_stopped_at_any_time(times, workload):
    """Short stops too: nobody is lost, all that must hold holds, and the VM works afterwards."""
    kinds = ["suspend", "resume"] * (len(times) // 2)
    changes = [{"at_ns": at, "vm": "a", "life": kind} for at, kind in zip(sorted(times), kinds, strict=True)]
    machine = Machine(host(*changes, workload=workload), "stock", 5)
    for end_ms in range(2, 28, 3):
        after(machine, end_ms)
        assert_invariants(machine)
    done = machine.counters()["vms"][0]
    late = after(machine, 60)[0]
    assert late["work_units"] > done["work_units"]
    assert not machine.world["kvm_vcpu"]["stopped"].any()
    assert machine.world["guest_vm"]["paused_since_ns"][0] == NIL


def refused(*changes: dict, **vm) -> str:
    with pytest.raises(ScenarioError) as error:
        Scenario(name="s", vms=[{"name": "a", "vcpus": 1, "workload": "dbench"} | vm], changes=list(changes))
    return str(error.value)


def test_refused():
    assert refused(change(1, "resume")) == "changes.0.life: value 'resume' (allowed: of a VM that is paused)"
    twice = refused(change(1, "suspend"), change(2, "suspend"))
    assert twice == "changes.1.life: value 'suspend' (allowed: of a VM that runs)"
    late = refused(change(1, "suspend"), change(2, "migrate-in"))
    assert (
        late == "changes.1.life: value 'migrate-in' (allowed: of a VM that has not been here yet, as its first change)"
    )
    gone = refused(change(1, "migrate-out"), change(2, "suspend"))
    assert gone == "changes.1.life: value 'suspend' (allowed: of a VM that runs)"
    early = refused(change(1, "suspend"), start_ns=2 * MSEC)
    assert early == "changes.0.at_ns: value 1000000 (allowed: from 2000000 on)"
    after_end = refused(change(5, "suspend"), stop_ns=2 * MSEC)
    assert after_end == "changes.0.at_ns: value 5000000 (allowed: from 0 on, before its stop_ns, 2000000)"
    ends = refused(change(1, "migrate-out"), stop_ns=2 * MSEC)
    assert ends == "changes.0.life: value 'migrate-out' (allowed: of a VM without stop_ns)"
    assert refused(change(1, "suspend", "x")) == "changes.0.vm: value 'x' (allowed: a)"
    more = refused(change(1, "suspend", weight=3))
    assert more == "changes.0.life: given (allowed: with vm, and nothing else but downtime_ns)"
    down = refused(change(1, "suspend", downtime_ns=5))
    assert down == "changes.0.downtime_ns: given with life 'suspend' (allowed: with migrate-in, migrate-out)"
    unknown = refused(change(1, "pause"))
    assert unknown == "changes.0.life: value 'pause' (allowed: suspend, resume, migrate-in, migrate-out)"


@pytest.mark.core
def test_a_name_with_a_number_is_no_copy():
    """`a-1` is a VM of its own beside `a`; of two equal VMs `b` both leave."""
    names = (("a", 1), ("a-1", 1), ("b", 2))
    vms = [{"name": name, "count": count, "vcpus": 1, "workload": "dbench"} for name, count in names]
    changes = [change(20, "migrate-out", vm) for vm in ("a", "b")]
    scenario = Scenario(name="names", host={"cpus": 2}, vms=vms, changes=changes)
    ends = {vm.name: vm.stop_ns for vm in scenario.expanded_vms}
    assert ends == {"a": 320 * MSEC, "a-1": None, "b-1": 320 * MSEC, "b-2": 320 * MSEC}
