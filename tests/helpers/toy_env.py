"""An environment for models that need one to be made."""

import gymnasium
import numpy as np
from gymnasium import spaces

INPUTS = 20


class Toy(gymnasium.Env):
    """An environment of the given spaces in which nothing happens."""

    def __init__(self, action_space, observation_space=None):
        self.action_space = action_space
        self.observation_space = observation_space or spaces.Box(-10, 10, (INPUTS,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, True, False, {}
