"""SBX, Stable-Baselines3 on JAX: SAC on PenaltyScale, on the same batch as Stable-Baselines3. Needs sbx-rl."""

import time

from sbx import SAC

from vcpu_env import make_sb3

STEPS = 1024

env = make_sb3("vcpu_env:vcpu_env/PenaltyScale-v2", 8, over_rule=True)  # glue
model = SAC("MlpPolicy", env, learning_starts=256, gradient_steps=2, gamma=0.9, seed=0)
began = time.process_time()
model.learn(STEPS)
print(f"sbx: {STEPS / (time.process_time() - began):,.0f} steps a CPU second")
