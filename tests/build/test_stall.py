"""Whose event it is at which time stands still: each range of slots has its name."""

from vcpu_env.build.stall import whose_event
from vcpu_env.machine import Machine
from vcpu_env.scenario import apply_overrides, load_scenario


def test_hosts_that_have_every_kind_of_event():
    fifo = 'vms.0.vcpusched=[{scheduler="fifo", priority=5}]'
    scenario = apply_overrides(load_scenario("dedup-2vm"), ["host.kernel=7.3", fifo])
    world = Machine(scenario).world
    slots = world["event_slots"][0]
    named = {name: whose_event(world, scenario, int(slots[name])) for name in ("vm", "hrtick", "fair_server")}
    assert named == {
        "vm": "a VM's begin or end",
        "hrtick": "the timer of CPU 0's slices",
        "fair_server": "the deadline server of CPU 0",
    }
    assert whose_event(world, scenario, int(slots["fair_server"]) - 1) == "the timer of CPU 15's slices"
