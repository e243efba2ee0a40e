"""A random agent that keeps to the mask: the plain loop of Gymnasium."""

import time

import gymnasium

env = gymnasium.make("vcpu_env:vcpu_env/CandidateChoice-v2")
env.action_space.seed(0)
env.reset(seed=0)  # the first one warms the host up

began, decisions = time.process_time(), 0
for episode in range(3):
    observation, info = env.reset(seed=episode)
    total, truncated = 0.0, False
    while not truncated:
        action = env.action_space.sample(mask=info["action_mask"])
        observation, reward, terminated, truncated, info = env.step(action)
        total += float(reward)
    totals = info["episode_totals"]
    decisions += totals["decisions"]
    print(f"episode {episode}: return {total:.3f}, {totals['decisions']} decisions, {totals['spin']:.2f} ms spinning")
print(f"{decisions / (time.process_time() - began):,.0f} steps a CPU second")
