"""What must hold on a whole machine, many CPUs and guests running, looked at from outside after every event."""

import pytest

from tests.helpers.at_once import at_once
from tests.helpers.invariants import assert_invariants, next_event_ns
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
