"""How far the simulated host scheduler is from a real kernel: the same probes on both, and what the scheduler did."""
