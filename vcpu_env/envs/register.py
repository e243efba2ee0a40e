"""The ids of the environments. Light: nothing here imports the simulator."""

import gymnasium

IDS = ("DirectedYield", "PenaltyScale", "CandidateChoice", "JointYield", "WideYield", "HostTuner")


def register_environments() -> None:
    """Register ``vcpu_env/NAME-v0`` for every name in `IDS`, unless that has been done."""
    for name in IDS:
        if f"vcpu_env/{name}-v0" not in gymnasium.registry:
            gymnasium.register(
                id=f"vcpu_env/{name}-v0",
                entry_point=f"vcpu_env.envs.host_env:{name}Env",
                vector_entry_point=f"vcpu_env.envs.batch:{name}VectorEnv",
            )
