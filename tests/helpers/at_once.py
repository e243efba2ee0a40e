"""Hosts on which everything happens at once and nothing else does: the start that is easiest to reason about."""

from vcpu_env.scenario import Scenario, apply_overrides

AT_ONCE = {"placement": "one_per_cpu", "noise": "none"}
"""All VMs begin at time 0, their vCPUs one on each CPU; no kernel threads beside them."""


def at_once(scenario: Scenario) -> Scenario:
    """The scenario on such a host."""
    return apply_overrides(scenario, [f"host.{name}={value}" for name, value in AT_ONCE.items()])
