"""Guest kernel costs: fields of a scenario that reach the machine, and cost time there."""

import pytest

from tests.helpers.at_once import at_once
from vcpu_env.guest.types import guest_costs
from vcpu_env.machine import Machine
from vcpu_env.scenario import GuestCosts, ScenarioError, apply_overrides, load_scenario

MSEC = 1_000_000
OTHERS = {"icr_write_ns", "pv_ipi_ns", "spin_iteration_ns", "spin_threshold_ns", "spin_retry_ns"}
"""Costs that follow from those of host and KVM."""


@pytest.mark.core
def test_every_cost_of_the_guest_is_a_field():
    assert GuestCosts.model_fields.keys() | OTHERS == set(guest_costs.fields)
    changes = [f"guest_costs.{name}={100 + i}" for i, name in enumerate(GuestCosts.model_fields)]
    machine = Machine(apply_overrides(load_scenario("dbench-1vm-2vcpu"), changes))
    costs = machine.world["guest_costs"][0]
    assert [int(costs[name]) for name in GuestCosts.model_fields] == [100 + i for i in range(len(changes))]


@pytest.mark.core
def test_a_dearer_tick_costs_time():
    def work(tick_ns: int) -> float:
        changes = ["host.cpus=2", f"guest_costs.timer_ns={tick_ns}"]
        machine = Machine(apply_overrides(at_once(load_scenario("blackscholes-1vm-2vcpu")), changes))
        machine.run_until(30 * MSEC)
        return machine.counters()["vms"][0]["irq_ns"]

    assert work(400_000) > 20 * work(2500) > 0


@pytest.mark.core
def test_mistakes():
    for change, message in [
        ("guest_costs.timer=5", "guest_costs.timer: unknown field (did you mean 'timer_ns'?)"),
        ("guest_costs.timer_ns=-5", "guest_costs.timer_ns: value -5 (allowed: integer 0..10000000)"),
    ]:
        with pytest.raises(ScenarioError) as error:
            apply_overrides(load_scenario("dbench-2vm"), [change])
        assert str(error.value) == message
