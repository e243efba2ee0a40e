"""A network's compiled decision, and masks drawn at random."""

import numpy as np

from vcpu_env.nets import network
from vcpu_env.nets.packing import pack

NO_MASK = np.zeros(0, np.int8)


def compiled(policy, observation, mask=NO_MASK, key=1, count=0, deterministic=False):
    """(outputs, action, log-probability, value) of the compiled code; scratch memory begins as NaN."""
    layout, weights = pack(policy)
    scratch = np.full(network.scratch_size(layout), np.nan, np.float32)
    action = np.full(policy.nr_dims, np.nan, np.float32)
    log_prob, value = network.act(layout, weights, observation, mask, key, count, deterministic, scratch, action)
    at = layout[network.OUTPUTS_AT]
    return scratch[at : at + policy.actor[-1].bias.size], action, log_prob, value


def random_mask(rng, sizes):
    """A flat mask with at least one legal entry in each dimension."""
    parts = [rng.random(size) < rng.random() for size in sizes]
    for part in parts:
        part[rng.integers(len(part))] = True
    return np.concatenate(parts).astype(np.int8)
