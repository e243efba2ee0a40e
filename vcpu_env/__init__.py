"""Directed yield on an oversubscribed KVM host, simulated.

The host's scheduler (Linux v6.19) is reproduced exactly; on it run KVM's directed yield, the patch series that changes
it, guests that spin, and the policies to be compared or learned. Importing the package registers its Gymnasium
environments: ``gymnasium.make("vcpu_env/CandidateChoice-v2")``.

What is listed in `PUBLIC` is stable: it keeps its name and meaning from one minor version to the next. Each name is
loaded when it is first used, so that importing the package is cheap and compiles nothing.

Example:
    >>> import vcpu_env
    >>> scenario = vcpu_env.apply_overrides(vcpu_env.load_scenario("dedup-1vm-2vcpu"), ["host.hz=250"])
    >>> machine = vcpu_env.Machine(scenario, "series-v2", seed=1)
    >>> machine.run_until(2_000_000)  # simulated nanoseconds
    True
    >>> machine.now_ns
    2000000
    >>> [vm["name"] for vm in machine.counters()["vms"]]
    ['vm']
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vcpu_env.envs.register import register_environments

if TYPE_CHECKING:
    from vcpu_env.counters import measure as measure
    from vcpu_env.envs.gain import Gain as Gain
    from vcpu_env.envs.gain import gain_over_rule as gain_over_rule
    from vcpu_env.envs.sb3 import make_sb3 as make_sb3
    from vcpu_env.envs.wrappers import MaskInObservation as MaskInObservation
    from vcpu_env.machine import Machine as Machine
    from vcpu_env.policy.named import POLICIES as POLICIES
    from vcpu_env.policy.named import policy_named as policy_named
    from vcpu_env.policy.policy import Policy as Policy
    from vcpu_env.policy.rules import RuleError as RuleError
    from vcpu_env.precompile import ensure_compiled as ensure_compiled
    from vcpu_env.scenario.errors import ScenarioError as ScenarioError
    from vcpu_env.scenario.load import apply_overrides as apply_overrides
    from vcpu_env.scenario.load import list_scenarios as list_scenarios
    from vcpu_env.scenario.load import load_scenario as load_scenario
    from vcpu_env.scenario.model import Scenario as Scenario

__version__ = "0.2.0"

PUBLIC = {
    "Gain": "vcpu_env.envs.gain",
    "Machine": "vcpu_env.machine",
    "MaskInObservation": "vcpu_env.envs.wrappers",
    "POLICIES": "vcpu_env.policy.named",
    "Policy": "vcpu_env.policy.policy",
    "RuleError": "vcpu_env.policy.rules",
    "Scenario": "vcpu_env.scenario.model",
    "ScenarioError": "vcpu_env.scenario.errors",
    "apply_overrides": "vcpu_env.scenario.load",
    "ensure_compiled": "vcpu_env.precompile",
    "gain_over_rule": "vcpu_env.envs.gain",
    "list_scenarios": "vcpu_env.scenario.load",
    "load_scenario": "vcpu_env.scenario.load",
    "make_sb3": "vcpu_env.envs.sb3",
    "measure": "vcpu_env.counters",
    "policy_named": "vcpu_env.policy.named",
}
"""The stable names, and the module that each is loaded from."""

register_environments()


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used (PEP 562)."""
    if name not in PUBLIC:
        raise AttributeError(f"module 'vcpu_env' has no attribute '{name}' (public: {', '.join(PUBLIC)})")
    value = globals()[name] = getattr(import_module(PUBLIC[name]), name)
    return value


def __dir__() -> list[str]:
    """What there is, loaded or not."""
    return sorted({*globals(), *PUBLIC})
