"""The compiled part of an environment: decisions, observations, rewards."""
