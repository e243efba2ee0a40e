"""The steal governor: vCPUs given up and taken back, threads that keep to the preferred ones."""

import pytest

from vcpu_env.base.jit import NIL
from vcpu_env.guest.steal_governor import govern
from vcpu_env.machine import Machine
from vcpu_env.scenario import apply_overrides, load_scenario

INTERVAL_NS = 100_000_000


def machine(policy: str = "steal-governor-100ms") -> Machine:
    small = ["host.cpus=2", "vms.0.count=2", "vms.*.vcpus=4", "vms.*.boot_ns=0", "run.policy_from_ns=0"]
    return Machine(apply_overrides(load_scenario("dedup-2vm"), [*small, "host.launch_gap_ns=0"]), policy, seed=1)


@pytest.mark.core
@pytest.mark.parametrize(
    ("steal_ns", "before", "after"),
    [
        (20_040_000, 4, 3),  # 5.01 % of four vCPUs' 100 ms: a vCPU goes
        (20_039_999, 4, 4),
        (8_040_000, 3, 3),  # above 2 % none comes back
        (8_039_999, 3, 4),
        (0, 4, 4),
        (400_000_000, 1, 1),
    ],
)
def test_thresholds(steal_ns, before, after):
    world = machine().world
    vm, vcpus = world["guest_vm"][:1], world["guest_vcpu"]
    govern(world.handle, 0, INTERVAL_NS)  # the first look only remembers
    assert vm["nr_preferred"][0] == 4
    vm["nr_preferred"] = before
    vcpus["steal_ns"][1] += steal_ns
    govern(world.handle, 0, 2 * INTERVAL_NS - 1)
    assert vm["nr_preferred"][0] == before
    govern(world.handle, 0, 2 * INTERVAL_NS)
    assert vm["nr_preferred"][0] == after


def test_threads_leave_and_come_back():
    """With two of four vCPUs preferred everything is on these two soon; with all of them it spreads again."""
    host = machine("stock")
    host.run_until(20_000_000)
    world = host.world
    world["guest_vm"]["governor_interval_ns"], world["guest_vm"]["governor_next_ns"] = INTERVAL_NS, 1 << 60
    world["guest_vm"]["nr_preferred"] = 2
    host.run_until(60_000_000)
    vcpus = world["guest_vcpu"]
    for first in (0, 4):
        assert (vcpus["current"][first + 2 : first + 4] == NIL).all()
        assert (vcpus["nr_queued"][first + 2 : first + 4] == 0).all()
    ran = vcpus["run_ns"].copy()
    host.run_until(80_000_000)
    later = vcpus["run_ns"] - ran
    assert later[[2, 3, 6, 7]].sum() < later[[0, 1, 4, 5]].sum() // 10
    world["guest_vm"]["nr_preferred"] = 4
    ran = vcpus["run_ns"].copy()
    host.run_until(120_000_000)
    assert ((vcpus["run_ns"] - ran)[[2, 3, 6, 7]] > 1_000_000).all()
