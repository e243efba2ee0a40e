"""PPO whose rollouts are collected inside the machines: one call in place of a Python step a decision.

Only `collect_rollouts` is replaced; networks, losses and updates are Stable-Baselines3's and sb3-contrib's own. The
network acts in compiled code, and the buffer is filled at once. Steps are discounted by their simulated time.

Advantages are divided by their standard deviation within each scenario: on a busy host a decision comes every few
microseconds and matters that much less, and without this the quiet hosts' would drown it.
"""

from typing import Any

import numpy as np
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecNormalize

from agents.candidates import CandidatesPolicy
from vcpu_env.nets.discount import advantages, discounts
from vcpu_env.nets.from_sb3 import from_sb3
from vcpu_env.nets.rollout import Rollout, RolloutCollector
from vcpu_env.nets.weights import PolicyWeights

LEAST_SPREAD = 1e-12


class InsideRollouts:
    """Mixed into an on-policy algorithm of Stable-Baselines3.

    Attributes:
        half_life_ns: discount by simulated time; None: by `gamma` a step.
        trace_half_life_ns: the same for the advantages' trace; None: `gae_lambda` a step.
        masked: illegal actions are never taken.
        collector: None until the first rollout.
    """

    half_life_ns: float | None = None
    trace_half_life_ns: float | None = None
    masked = False
    collector: RolloutCollector | None = None

    def collect_rollouts(
        self: Any, env: Any, callback: Any, rollout_buffer: Any, n_rollout_steps: int, *_: Any
    ) -> bool:
        """Fill the buffer with what the present network does in `n_rollout_steps` steps of every machine."""
        self.policy.set_training_mode(False)
        callback.on_rollout_start()
        batch = env.unwrapped.environment
        if self.collector is None or self.collector.environment is not batch:
            counts = None if self.collector is None else self.collector.counts
            self.collector = RolloutCollector(batch, self.seed or 0)
            if counts is not None:
                self.collector.counts = counts  # a new stage goes on in the same streams
        rollout = self.collector.collect(weights_of(self), n_rollout_steps, masked=self.masked)
        self._fill(rollout_buffer, rollout, self.get_vec_normalize_env())
        self._last_obs, self._last_episode_starts = rollout.last_observations, rollout.dones[-1]
        self.num_timesteps += rollout.rewards.size
        self.logger.record("rollout/reward_per_ms", 1e6 * rollout.rewards.sum() / max(rollout.elapsed_ns.sum(), 1))
        self.logger.record("rollout/simulated_ms", rollout.elapsed_ns.sum() / 1e6)
        callback.update_locals(locals())
        if not callback.on_step():
            return False
        callback.on_rollout_end()
        return True

    def _fill(self: Any, buffer: Any, rollout: Rollout, statistics: VecNormalize | None) -> None:
        """Put a rollout in the buffer, observations as the network saw them; then bring the statistics up to date."""
        buffer.reset()
        buffer.observations[:] = rollout.observations
        if statistics is not None:
            buffer.observations[:] = statistics.normalize_obs(rollout.observations)
            statistics.obs_rms.update(rollout.observations.reshape(-1, rollout.observations.shape[-1]))
        buffer.actions[:], buffer.rewards[:] = rollout.actions, rollout.rewards
        buffer.episode_starts[0], buffer.episode_starts[1:] = self._last_episode_starts, rollout.dones[:-1]
        buffer.values[:], buffer.log_probs[:] = rollout.values, rollout.log_probs
        if self.masked:
            buffer.action_masks[:] = rollout.masks
        gammas = np.full(rollout.rewards.shape, self.gamma)
        if self.half_life_ns is not None:
            gammas = discounts(rollout.elapsed_ns, self.half_life_ns)
        lams = self.gae_lambda
        if self.trace_half_life_ns is not None:
            lams = discounts(rollout.elapsed_ns, self.trace_half_life_ns)
        estimates = advantages(
            rollout.rewards, rollout.values, rollout.dones, rollout.final_values, rollout.last_values, gammas, lams
        )
        buffer.returns[:] = estimates + rollout.values
        buffer.advantages[:] = estimates / spread(estimates, rollout.scenarios)
        buffer.pos, buffer.full = buffer.buffer_size, True


def weights_of(model: Any) -> PolicyWeights:
    """The model's present network."""
    return model.policy.written_out() if isinstance(model.policy, CandidatesPolicy) else from_sb3(model)


def spread(estimates: np.ndarray, scenarios: np.ndarray) -> np.ndarray:
    """The standard deviation of the estimates of the same scenario, at each of them."""
    scale = np.ones_like(estimates)
    for scenario in np.unique(scenarios):
        steps = scenarios == scenario
        scale[steps] = max(float(estimates[steps].std()), LEAST_SPREAD)
    return scale


class InsidePPO(InsideRollouts, PPO):
    """PPO with rollouts inside the machines; without masks."""


class InsideMaskablePPO(InsideRollouts, MaskablePPO):
    """MaskablePPO with rollouts inside the machines."""

    masked = True
