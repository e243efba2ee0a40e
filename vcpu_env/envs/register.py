"""The ids of the environments. Light: nothing here imports the simulator."""

from typing import Any

import gymnasium

IDS = ("DirectedYield", "PenaltyScale", "CandidateChoice", "JointYield", "WideYield", "HostTuner")

VERSIONS = {
    "DirectedYield": 1,
    "PenaltyScale": 2,
    "CandidateChoice": 2,
    "JointYield": 1,
    "WideYield": 0,
    "HostTuner": 1,
}
"""The version of each: it rises when what an id means without arguments changes."""

LENIENT = ("DirectedYield", "CandidateChoice", "JointYield", "WideYield")
"""Registered a second time, as ``NAMELenient``: a candidate that is not there means nobody."""


def id_of(name: str, variant: str = "") -> str:
    """The id of an environment: its version of today."""
    return f"vcpu_env/{name}{variant}-v{VERSIONS[name]}"


def register_environments() -> None:
    """Register every name in `IDS`, and those in `LENIENT` leniently, unless that has been done."""
    for name in IDS:
        register(name, id_of(name), {})
    for name in LENIENT:
        register(name, id_of(name, "Lenient"), {"strict": False})


def register(name: str, env_id: str, arguments: dict[str, Any]) -> None:
    """Register one id, with arguments that it sets."""
    if env_id not in gymnasium.registry:
        gymnasium.register(
            id=env_id,
            entry_point=f"vcpu_env.envs.host_env:{name}Env",
            vector_entry_point=f"vcpu_env.envs.batch:{name}VectorEnv",
            kwargs=arguments,
        )
