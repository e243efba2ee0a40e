"""PPO in one file, in the structure of CleanRL's ppo_continuous_action.py: nothing in it knows about this package.

Written for PenaltyScale with many penalties: one VM of 16 vCPUs on 4 CPUs, the limiter off. Needs torch.
"""

import time
from dataclasses import dataclass, replace

import gymnasium as gym
import numpy as np
import torch
from torch import nn, optim
from torch.distributions import Normal

from vcpu_env import POLICIES, apply_overrides, load_scenario


@dataclass
class Args:
    """CleanRL's names; the totals are small so that the example is short."""

    env_id: str = "vcpu_env:vcpu_env/PenaltyScale-v2"
    seed: int = 1
    total_timesteps: int = 4096
    learning_rate: float = 3e-4
    num_envs: int = 4
    num_steps: int = 256
    gamma: float = 0.99
    gae_lambda: float = 0.95
    num_minibatches: int = 8
    update_epochs: int = 4
    clip_coef: float = 0.2
    ent_coef: float = 0.0
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5


def make_env(args):
    """One environment with the usual wrappers."""

    def thunk():
        scenario = apply_overrides(load_scenario("dedup-1vm-16vcpu"), ["host.cpus=4", "host.placement=one_to_one"])
        rule = replace(POLICIES["series-v2"], name="unlimited", settings={("deboost_params", "rate_limit_ns"): 0})
        env = gym.make(args.env_id, scenario=scenario, rule=rule, horizon_ns=10_000_000, warm_starts=1)
        env = gym.wrappers.RecordEpisodeStatistics(gym.wrappers.ClipAction(env))
        return gym.wrappers.NormalizeReward(env, gamma=args.gamma)

    return thunk


def layer_init(layer, std=2**0.5, bias_const=0.0):
    """Orthogonal weights."""
    nn.init.orthogonal_(layer.weight, std)
    nn.init.constant_(layer.bias, bias_const)
    return layer


class Agent(nn.Module):
    """Actor and critic, 64x64 each."""

    def __init__(self, envs):
        super().__init__()
        features = int(np.prod(envs.single_observation_space.shape))
        actions = int(np.prod(envs.single_action_space.shape))
        self.critic = self.net(features, 1, 1.0)
        self.actor_mean = self.net(features, actions, 0.01)
        self.actor_logstd = nn.Parameter(torch.zeros(1, actions))

    @staticmethod
    def net(inputs, outputs, std):
        """Two hidden layers."""
        hidden = [layer_init(nn.Linear(inputs, 64)), nn.Tanh(), layer_init(nn.Linear(64, 64)), nn.Tanh()]
        return nn.Sequential(*hidden, layer_init(nn.Linear(64, outputs), std=std))

    def get_value(self, x):
        """The critic's value."""
        return self.critic(x).flatten()

    def get_action_and_value(self, x, action=None):
        """An action (sampled unless given), its log-probability, the entropy and the value."""
        mean = self.actor_mean(x)
        probs = Normal(mean, torch.exp(self.actor_logstd.expand_as(mean)))
        action = probs.sample() if action is None else action
        return action, probs.log_prob(action).sum(1), probs.entropy().sum(1), self.get_value(x)


class Storage:
    """The rollout's tensors."""

    def __init__(self, args, envs):
        shape = (args.num_steps, args.num_envs)
        self.obs = torch.zeros(shape + envs.single_observation_space.shape)
        self.actions = torch.zeros(shape + envs.single_action_space.shape)
        self.logprobs, self.rewards, self.dones, self.values = (torch.zeros(shape) for _ in range(4))

    def flat(self, *more):
        """Everything that a minibatch needs, with (step, environment) as one dimension."""
        return [x.flatten(0, 1) for x in (self.obs, self.actions, self.logprobs, *more)]


def collect(args, envs, agent, storage, next_obs, next_done, returns):
    """Step all environments `num_steps` times."""
    for step in range(args.num_steps):
        storage.obs[step], storage.dones[step] = next_obs, next_done
        with torch.no_grad():
            action, storage.logprobs[step], _, storage.values[step] = agent.get_action_and_value(next_obs)
        storage.actions[step] = action
        obs, reward, terminations, truncations, infos = envs.step(action.numpy())
        storage.rewards[step] = torch.as_tensor(reward, dtype=torch.float32)
        done = np.logical_or(terminations, truncations)
        next_obs, next_done = torch.as_tensor(obs), torch.as_tensor(done, dtype=torch.float32)
        if "final_info" in infos:  # an episode's last value counts on, since it was only truncated
            finished = infos["final_info"]["_episode"]
            returns.extend(infos["final_info"]["episode"]["r"][finished])
            final = torch.as_tensor(np.stack(infos["final_obs"][done]))
            with torch.no_grad():
                storage.rewards[step, torch.as_tensor(done)] += args.gamma * agent.get_value(final)
    return next_obs, next_done


def estimate(args, agent, storage, next_obs, next_done):
    """Generalised advantages and the value's targets."""
    advantages, lastgaelam = torch.zeros_like(storage.rewards), torch.zeros(args.num_envs)
    with torch.no_grad():
        nextvalues, nextnonterminal = agent.get_value(next_obs), 1.0 - next_done
    for t in reversed(range(args.num_steps)):
        delta = storage.rewards[t] + args.gamma * nextvalues * nextnonterminal - storage.values[t]
        advantages[t] = lastgaelam = delta + args.gamma * args.gae_lambda * nextnonterminal * lastgaelam
        nextvalues, nextnonterminal = storage.values[t], 1.0 - storage.dones[t]
    return advantages, advantages + storage.values


def update(args, agent, optimizer, storage, advantages, targets):
    """The epochs of minibatches on one rollout."""
    obs, actions, logprobs, advantages, targets = storage.flat(advantages, targets)
    for _ in range(args.update_epochs):
        for batch in torch.randperm(len(obs)).chunk(args.num_minibatches):
            _, newlogprob, entropy, newvalue = agent.get_action_and_value(obs[batch], actions[batch])
            ratio = (newlogprob - logprobs[batch]).exp()
            advantage = (advantages[batch] - advantages[batch].mean()) / (advantages[batch].std() + 1e-8)
            clipped = torch.clamp(ratio, 1 - args.clip_coef, 1 + args.clip_coef)
            pg_loss = torch.max(-advantage * ratio, -advantage * clipped).mean()
            v_loss = 0.5 * (newvalue - targets[batch]).square().mean()
            loss = pg_loss - args.ent_coef * entropy.mean() + args.vf_coef * v_loss
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
            optimizer.step()


def main(args):
    """Train, and print the mean return of each iteration's episodes."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    mode = {"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}
    envs = gym.vector.SyncVectorEnv([make_env(args) for _ in range(args.num_envs)], **mode)
    agent = Agent(envs)
    optimizer = optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)
    storage = Storage(args, envs)
    obs, _ = envs.reset(seed=args.seed)
    next_obs, next_done = torch.as_tensor(obs), torch.zeros(args.num_envs)
    began = time.process_time()
    for iteration in range(args.total_timesteps // (args.num_envs * args.num_steps)):
        returns = []
        next_obs, next_done = collect(args, envs, agent, storage, next_obs, next_done, returns)
        update(args, agent, optimizer, storage, *estimate(args, agent, storage, next_obs, next_done))
        mean = f"{np.mean(returns):.3f}" if returns else "none ended"
        steps = (iteration + 1) * args.num_envs * args.num_steps
        print(f"{steps} steps: {len(returns)} episodes, mean return {mean}", flush=True)
    print(f"{args.total_timesteps / (time.process_time() - began):,.0f} steps a CPU second")
    envs.close()


if __name__ == "__main__":
    main(Args())
