"""MaskablePPO on a batch of 16 machines; needs the extra `agents`. Some thousand steps show that it runs, no more."""

from pathlib import Path

from sb3_contrib import MaskablePPO

from vcpu_env import make_sb3

STEPS = 4096

env = make_sb3("vcpu_env:vcpu_env/CandidateChoice-v1", num_envs=16, scenario="dedup-2vm")
model = MaskablePPO("MlpPolicy", env, n_steps=128, batch_size=512, n_epochs=4, seed=0, device="cpu", verbose=1)
model.learn(STEPS)
Path("results").mkdir(exist_ok=True)
model.save("results/maskable_ppo.zip")

observations = env.reset()
actions, _ = model.predict(observations, action_masks=env.action_masks(), deterministic=True)
print("first decisions of the 16 machines:", actions)
