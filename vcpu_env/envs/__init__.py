"""Gymnasium environments on the simulated host: decisions as steps, and pictures of what the host did."""
