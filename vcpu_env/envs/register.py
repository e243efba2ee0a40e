"""The ids of the environments. Light: nothing here imports the simulator."""

from typing import Any

import gymnasium

IDS = ("DirectedYield", "PenaltyScale", "CandidateChoice", "JointYield", "WideYield", "HostTuner")

LENIENT = ("DirectedYield", "CandidateChoice", "JointYield", "WideYield")
"""Registered a second time, as ``NAMELenient``: a candidate that is not there means nobody."""


def register_environments() -> None:
    """Register every name in `IDS`, and those in `LENIENT` leniently, unless that has been done."""
    for name in IDS:
        register(name, f"vcpu_env/{name}-v0", {})
    for name in LENIENT:
        register(name, f"vcpu_env/{name}Lenient-v0", {"strict": False})


def register(name: str, env_id: str, arguments: dict[str, Any]) -> None:
    """Register one id, with arguments that it sets."""
    if env_id not in gymnasium.registry:
        gymnasium.register(
            id=env_id,
            entry_point=f"vcpu_env.envs.host_env:{name}Env",
            vector_entry_point=f"vcpu_env.envs.batch:{name}VectorEnv",
            kwargs=arguments,
        )
