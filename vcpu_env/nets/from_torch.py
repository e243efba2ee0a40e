"""Takes a policy out of torch modules of one's own: layers in a row. Needs torch only through what it is given."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from vcpu_env.nets.weights import Layer, Normalisation, PolicyWeights, refuse

ACTIVATIONS = ("Tanh", "ReLU")


def from_torch(
    actor: Iterable[Any],
    critic: Iterable[Any] = (),
    *,
    head: str = "categorical",
    sizes: tuple[int, ...] = (),
    log_std: Any = None,
    normalisation: Normalisation | None = None,
) -> PolicyWeights:
    """A policy of modules, as ``torch.nn.Sequential(Linear, Tanh, Linear)`` holds them.

    Args:
        actor: `Linear` and one kind of activation (`Tanh` or `ReLU`) in turn, `Linear` last.
        critic: likewise, with one output; empty: none.
        head, sizes, log_std, normalisation: as of `PolicyWeights`.

    Raises:
        ValueError: another module, activations of two kinds, or parts that do not make a policy.
    """
    nets, kinds = {}, set()
    for name, modules in (("actor", actor), ("critic", critic)):
        nets[name], found = layers_of(name, list(modules))
        kinds |= found
    if len(kinds) > 1:
        refuse("activation", ", ".join(sorted(kinds)), "one kind")
    std = None if log_std is None else as_array(log_std)
    activation = kinds.pop().lower() if kinds else "tanh"
    return PolicyWeights(
        head=head, sizes=sizes, log_std=std, activation=activation, normalisation=normalisation, **nets
    )


def as_array(tensor: Any) -> np.ndarray:
    """A tensor's numbers."""
    return tensor.detach().cpu().numpy() if hasattr(tensor, "detach") else np.asarray(tensor)


def layers_of(name: str, modules: list[Any]) -> tuple[tuple[Layer, ...], set[str]]:
    """The affine layers, and the kinds of activation between them."""
    kinds = [type(module).__name__ for module in modules]
    for i, kind in enumerate(kinds):
        allowed = ("Linear",) if i % 2 == 0 else ACTIVATIONS
        if kind not in allowed or (i == len(kinds) - 1 and kind != "Linear"):
            refuse(f"{name}[{i}]", kind, "Linear and Tanh or ReLU in turn, Linear last")
    layers = []
    for module in modules[::2]:
        weight = as_array(module.weight).T
        bias = np.zeros(weight.shape[1], np.float32) if module.bias is None else as_array(module.bias)
        layers.append(Layer(np.ascontiguousarray(weight), bias))
    return tuple(layers), set(kinds[1::2])
