"""What must hold on a whole machine, many CPUs and guests running, looked at from outside after every event."""

import os
import time

import pytest

from tests.helpers.at_once import at_once
from tests.helpers.invariants import assert_invariants, next_event_ns
from tests.test_full_host import FULL
from vcpu_env.machine import Machine
from vcpu_env.scenario import Scenario, load_scenario

MSEC = 1_000_000
EVENTS = int(os.environ.get("VCPU_ENV_EVENTS", "1000000"))
"""Of the long run, all machines together."""
LOOKS = 100
"""Times that the long run looks at each machine."""
LONG = {
    "dedup, series-v2": (load_scenario("dedup-3vm"), "series-v2"),
    "dbench, stock": (load_scenario("dbench-4vm"), "stock"),
    "vips, a borrowing rule": (load_scenario("vips-3vm"), "strict-borrow"),
    "quotas, noise, VMs that come and go": (FULL, "series-v2"),
    "host tasks": (load_scenario("host-noise"), "debooster"),
}


def small_host(workload: str, cgroups: str, lock: str) -> Scenario:
    """Four CPUs, two VMs of four vCPUs."""
    return at_once(
        Scenario(
            name="small",
            host={"cpus": 4, "cgroups": cgroups},
            vms=[{"name": "vm", "count": 2, "vcpus": 4, "workload": workload, "lock": lock}],
        )
    )


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
        assert_invariants(machine)


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_invariants_of_a_long_run(name):
    """Looked at in between, at an event and the two after it; ``make invariants EVENTS=1000000000`` runs longer."""
    machine = Machine(*LONG[name], 11)
    share, looks, began = EVENTS // len(LONG), 0, time.monotonic()
    machine.run_until(20 * MSEC)
    while (events := count(machine)) < share:
        left = (share - events) / max(1, LOOKS - looks) / events
        machine.run_until(machine.now_ns + round(min(1, left) * machine.now_ns))
        for _ in range(3):
            assert_invariants(machine)
            machine.run_until(machine.next_event_ns)
        looks += 1
    whole = Machine(*LONG[name], 11)
    whole.run_until(machine.now_ns)
    assert (whole.world.words == machine.world.words).all(), "in one piece"
    seconds = time.monotonic() - began
    print(
        f"\n{name}: {events:,} events, {machine.now_ns / 1e9:.1f} s simulated, looked at {looks} times, {seconds:.0f} s"
    )


def count(machine: Machine) -> int:
    """Events so far."""
    return int(machine.world["machine_clock"]["events"][0])
