"""Many agents: each VM answers for its own spinning vCPUs and is paid for its own work (PettingZoo's AEC interface).

What if tenants chose? On a real host one policy of the host's answers all spins. Here every VM has one of its own, and
its own interest. A turn comes with each PAUSE-loop exit that the filter passes on: that VM's agent says whom its vCPU
yields to. Needs PettingZoo: ``pip install vcpu_env[tenants]``.
"""

from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv

from vcpu_env.envs.config import USUAL
from vcpu_env.envs.host_env import CandidateChoiceEnv

OBSERVATION, MASK = "observation", "action_mask"
MS = 1e-6


class TenantsEnv(AECEnv[str, dict[str, np.ndarray], Any]):
    """CandidateChoice with an agent for every VM.

    Agents are called as the scenario's VMs. The turns go by the machine's events: the agent whose turn it is
    (`agent_selection`) is the VM whose vCPU spins, so that some come often and others not at all.

    Observation: a dict, as PettingZoo's classic games have it: ``observation``, that of CandidateChoice, float32, as
    of the agent's last turn (zeros before the first); ``action_mask``, int8, the legal candidates now, all zero for
    agents whose turn it is not.

    Actions: those of CandidateChoice, `Discrete`: 0 as the host's rule, 1 nobody, 2 .. the candidates.

    Rewards: of an agent, its own VM's completed work since the last step of anybody, in ms: one unit counts the time
    that the host's rule needed for one in the warm-up, so that a VM that does as well as under the rule earns 1 a ms.

    Episodes end by time (truncated, for all at once), as those of CandidateChoice.

    Args:
        scenario: one scenario, as of the environments; not a list: the agents are its VMs.
        rule, render_mode, **arguments: as of CandidateChoice.

    Raises:
        EnvConfigError: an argument that is not allowed.
        ValueError: a list of scenarios.
    """

    metadata: dict[str, Any] = {
        "name": "vcpu_env_tenants_v0",
        "render_modes": ["ansi", "rgb_array", "human"],
        "render_fps": 25,
        "is_parallelizable": False,
    }

    def __init__(
        self, scenario: Any = USUAL, rule: Any = USUAL, render_mode: str | None = None, **arguments: Any
    ) -> None:
        super().__init__()
        self.host = CandidateChoiceEnv(scenario, rule, render_mode, **arguments)
        if len(self.host.mix.scenarios) != 1:
            raise ValueError(f"scenario: {len(self.host.mix.scenarios)} of them (allowed: one; its VMs are the agents)")
        self.render_mode = render_mode
        self.possible_agents = [vm.name for vm in self.host.mix.scenarios[0].expanded_vms]
        self.agents: list[str] = []
        self.agent_selection = self.possible_agents[0]
        length = self.host.actions.mask_length
        seen = spaces.Dict({OBSERVATION: self.host.observation_space, MASK: spaces.Box(0, 1, (length,), np.int8)})
        self.observation_spaces = {agent: seen for agent in self.possible_agents}
        self.action_spaces = {agent: self.host.action_space for agent in self.possible_agents}

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """Of an agent; all have the same."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """Of an agent; all have the same."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Begin an episode. There are no options; any are passed over, as PettingZoo's own tests want it."""
        observation, info = self.host.reset(seed=seed)
        self.agents = list(self.possible_agents)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos = {agent: {"time_ns": info["time_ns"]} for agent in self.agents}
        self._seen = {agent: np.zeros_like(observation) for agent in self.agents}
        self._work_ms = self._work()
        self._next(observation)

    def step(self, action: Any) -> None:
        """Answer for the agent whose turn it is; go on to the next turn, of whomever it is.

        Raises:
            InvalidAction, ResetNeeded: as of CandidateChoice.
        """
        agent = self.agent_selection
        if self.truncations[agent]:
            self._was_dead_step(action)
            return
        observation, _, _, truncated, info = self.host.step(action)
        self._cumulative_rewards[agent] = 0.0
        work_ms = self._work()
        gains = (work_ms - self._work_ms).tolist()
        self._work_ms, self.rewards = work_ms, dict(zip(self.agents, gains, strict=True))
        self._accumulate_rewards()
        for name in self.agents:
            self.truncations[name], self.infos[name] = truncated, {"time_ns": info["time_ns"]}
        if truncated:
            self._seen = {name: observation for name in self.agents}
            self.agent_selection = self.agents[0]
        else:
            self._next(observation)

    def _next(self, observation: np.ndarray) -> None:
        """The turn goes to the VM whose vCPU spins now; without one (the episode begins with none) to the first."""
        vcpu = int(self.host.machine.world["yield_view"]["vcpu"][0])
        self.agent_selection = self.possible_agents[int(self.host.machine.world["kvm_vcpu"]["vm"][vcpu])]
        self._seen[self.agent_selection] = observation

    def _work(self) -> np.ndarray:
        """Of every VM, the work that it has done so far, in ms of the rule's time."""
        world = self.host.machine.world
        return world["guest_vm"]["work"] * world["vm_account"]["unit_ns"] * MS

    def observe(self, agent: str) -> dict[str, np.ndarray]:
        """What an agent sees."""
        mask = self.host.action_masks().astype(np.int8)
        if agent != self.agent_selection or self.truncations[agent]:
            mask[:] = 0
        return {OBSERVATION: self._seen[agent].copy(), MASK: mask}

    def render(self) -> Any:
        """As of CandidateChoice."""
        return self.host.render()

    def close(self) -> None:
        """As of CandidateChoice."""
        self.host.close()
