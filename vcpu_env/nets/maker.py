"""From the name of a policy to machines under it, whichever kind of policy it is."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vcpu_env.policy.in_file import policy_of

if TYPE_CHECKING:
    from vcpu_env.nets.learned import LearnedPolicy


def learned_of(path: str) -> "LearnedPolicy":
    """The network in a file.

    Raises:
        ValueError: it cannot be read, or is none.
    """
    from vcpu_env.nets.learned import LearnedPolicy

    try:
        return LearnedPolicy.of_bytes(Path(path).read_bytes(), path)
    except OSError as error:
        raise ValueError(f"policy: {path}: cannot be read ({error.strerror})") from None


def machine_maker(name: str) -> Callable[[Any, int], Any]:
    """Check a policy; returns what makes a machine of a scenario and a seed under it.

    Raises:
        ValueError: there is no such policy, or it is wrong.
    """
    if name.endswith(".npz"):
        model = learned_of(name)

        def learned(scenario: Any, seed: int) -> Any:
            from vcpu_env.nets.play import PolicyMachine  # compiles on import

            return PolicyMachine(scenario, model, seed)

        return learned
    policy = policy_of(name)

    def ruled(scenario: Any, seed: int) -> Any:
        from vcpu_env.machine import Machine  # compiles on import

        return Machine(scenario, policy, seed)

    return ruled
