"""What must hold on a whole machine, many CPUs and guests running, looked at from outside after every event."""

import pytest

from tests.helpers.at_once import at_once
from tests.kernel.test_invariants import State, check_average, check_tree
from vcpu_env.base.jit import NIL
from vcpu_env.kvm.pcpu import GUEST, IDLE
from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario


def small_host(workload: str, cgroups: str, lock: str) -> Scenario:
    """Four CPUs, two VMs of four vCPUs."""
    return at_once(
        Scenario(
            name="small",
            host={"cpus": 4, "cgroups": cgroups},
            vms=[{"name": "vm", "count": 2, "vcpus": 4, "workload": workload, "lock": lock}],
        )
    )


def next_event_ns(machine: Machine) -> int:
    return int(machine.world["event"]["when_ns"].min())


def check_run_queues(state: State, world):
    """I6 on every CPU: a CPU counts the tasks below its root queue, and runs one of them."""
    for cpu, rq in enumerate(world["rq"]):
        below = state.tasks_below(cpu)
        assert rq["nr_running"] == len(below) == state.queues[cpu]["h_nr_queued"]
        delayed = sum(state.entities[i]["sched_delayed"] for i in below)
        assert state.queues[cpu]["h_nr_runnable"] == len(below) - delayed
        assert all(world["task_struct"]["cpu"][i] == cpu for i in below)
        if rq["curr"] != NIL:
            assert rq["curr"] in below


def check_cpus(world):
    """A CPU is idle if and only if it has no vCPU; a vCPU is in guest mode on one CPU at most, its own."""
    for cpu, pc in enumerate(world["pcpu"]):
        assert (pc["mode"] == IDLE) == (pc["vcpu"] == NIL)
        assert pc["vcpu"] == world["rq"]["curr"][cpu]
        in_guest = [v for v, g in enumerate(world["guest_vcpu"]) if g["cpu"] == cpu]
        assert in_guest == ([int(pc["vcpu"])] if pc["mode"] == GUEST else [])


def check_flags(world):
    """The flags of kvm_vcpu_on_spin(): who has a CPU is neither preempted nor ready; who is blocked is not queued."""
    for v, vcpu in enumerate(world["kvm_vcpu"]):
        loaded = world["lapic"]["cpu"][v] != NIL
        assert loaded == (v in world["pcpu"]["vcpu"])
        if loaded:
            assert not vcpu["preempted"] and not vcpu["ready"] and not vcpu["blocking"]
        if vcpu["asleep"]:
            assert vcpu["blocking"] and world["task_struct"]["state"][v] != 0
        if vcpu["parked"]:
            assert vcpu["in_spin_loop"] and vcpu["preempted"]


@pytest.mark.parametrize(
    ("workload", "cgroups", "lock"),
    [
        ("dbench", "per_vm", "pvqspinlock"),
        ("dedup", "libvirt", "fifo"),
        ("vips", "flat", "tas"),
        ("dbench", "libvirt", "tas"),
    ],
)
def test_invariants_after_every_event(workload, cgroups, lock):
    machine = Machine(small_host(workload, cgroups, lock), "series-v2", 5)
    machine.run_until(12_000_000)
    for _ in range(150):
        machine.run_until(next_event_ns(machine))
        state = State(machine.world)
        check_average(state, machine.world)
        check_tree(state)
        check_run_queues(state, machine.world)
        check_cpus(machine.world)
        check_flags(machine.world)
