"""From the name of a policy to machines under it, whichever kind of policy it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vcpu_env.policy.in_file import policy_of


def machine_maker(name: str) -> Callable[[Any, int], Any]:
    """Check a policy; returns what makes a machine of a scenario and a seed under it.

    Raises:
        ValueError: there is no such policy, or it is wrong.
    """
    if name.endswith(".npz"):
        from vcpu_env.nets.learned import LearnedPolicy

        try:
            model = LearnedPolicy.of_bytes(Path(name).read_bytes(), name)
        except OSError as error:
            raise ValueError(f"policy: {name}: cannot be read ({error.strerror})") from None

        def learned(scenario: Any, seed: int) -> Any:
            from vcpu_env.nets.play import PolicyMachine  # compiles on import

            return PolicyMachine(scenario, model, seed)

        return learned
    policy = policy_of(name)

    def ruled(scenario: Any, seed: int) -> Any:
        from vcpu_env.machine import Machine  # compiles on import

        return Machine(scenario, policy, seed)

    return ruled
