"""Policies with random weights, in all the shapes that tests are about."""

from itertools import pairwise

import numpy as np

from vcpu_env.nets.weights import Layer, Normalisation, PolicyWeights


def random_net(rng, widths):
    return tuple(
        Layer(rng.normal(0, 1, (i, o)).astype(np.float32), rng.normal(0, 1, o).astype(np.float32))
        for i, o in pairwise(widths)
    )


def random_policy(seed, inputs=9, actor=(7, 5), critic=(6,), head="categorical", sizes=(4, 3), **parts):
    """A policy with standard normal weights; `critic` None: it has none."""
    rng = np.random.default_rng(seed)
    outputs = {"categorical": sum(sizes), "gaussian": 3, "squashed_gaussian": 6}[head]
    return PolicyWeights(
        actor=random_net(rng, (inputs, *actor, outputs)),
        head=head,
        sizes=sizes if head == "categorical" else (),
        log_std=rng.normal(-0.5, 0.5, 3).astype(np.float32) if head == "gaussian" else None,
        critic=() if critic is None else random_net(rng, (inputs, *critic, 1)),
        **parts,
    )


def normalisation(inputs):
    rng = np.random.default_rng(99)
    mean, inv_std = rng.normal(0, 1, inputs), rng.uniform(0.1, 3, inputs)
    return Normalisation(mean.astype(np.float32), inv_std.astype(np.float32), 1.5)


POLICIES = {
    "mlp": random_policy(1),
    "relu": random_policy(2, activation="relu"),
    "linear": random_policy(3, actor=(), critic=()),
    "linear actor": random_policy(4, actor=(), critic=(18,)),
    "linear critic": random_policy(5, actor=(18,), critic=()),
    "no critic": random_policy(6, critic=None),
    "wide": random_policy(7, inputs=40, actor=(33, 16), critic=(17, 3, 2)),
    "normalised": random_policy(8, normalisation=normalisation(9)),
    "gaussian": random_policy(9, head="gaussian"),
    "squashed": random_policy(10, head="squashed_gaussian", activation="relu", critic=None),
}
