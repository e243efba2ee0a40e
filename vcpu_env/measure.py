"""One measurement: run a machine through warm-up and measured time, and return what it counted in between."""

from collections.abc import Mapping
from typing import Any

from vcpu_env.machine import Machine
from vcpu_env.policy.named import Policy
from vcpu_env.scenario.model import Scenario


def difference(after: Any, before: Any) -> Any:
    """`after` - `before` in every number of two equally shaped trees of counters; text stays."""
    if isinstance(after, Mapping):
        return {name: difference(value, before[name]) for name, value in after.items()}
    if isinstance(after, list | tuple):
        return [difference(*pair) for pair in zip(after, before, strict=True)]
    return after if isinstance(after, str) else after - before


def measure(scenario: Scenario, policy: Policy | str, seed: int) -> dict[str, Any]:
    """Counters of the measured time of a scenario (`Machine.counters`).

    Raises:
        ValueError: what `Machine` refuses.
    """
    machine = Machine(scenario, policy, seed)
    run = scenario.run
    machine.run_until(run.warmup_ns)
    before = machine.counters()
    machine.run_until(run.warmup_ns + run.duration_ns)
    counted = difference(machine.counters(), before)
    for vm, spec in zip(counted["vms"], scenario.expanded_vms, strict=True):
        vm["vcpus"] = spec.vcpus
    return counted
