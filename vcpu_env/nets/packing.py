"""Lays a policy's weights out in the two flat arrays that `nets.network` works on."""

from typing import TYPE_CHECKING, Any

import numpy as np

from vcpu_env.base.jit import NIL
from vcpu_env.nets import network

if TYPE_CHECKING:
    from vcpu_env.nets.weights import Layer, PolicyWeights


def pack(policy: "PolicyWeights") -> tuple[np.ndarray, np.ndarray]:
    """The arrays (layout, weights) of a policy."""
    return Packing(policy).arrays()


class Packing:
    """Lays a policy out in the two arrays of `nets.network`."""

    def __init__(self, policy: "PolicyWeights"):
        self.policy = policy
        self.layout = np.zeros(network.HEADER_WORDS, dtype=np.int64)
        self.stages: list[list[int]] = []
        self.weights: list[np.ndarray] = []
        self.weights_end = 0
        self.scratch_end = 0

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        policy, layout = self.policy, self.layout
        observation = self.reserve(policy.nr_inputs)
        spans = self.first_stage(observation)
        outputs = self.further_stages(policy.actor, spans[0])
        layout[network.VALUE_AT] = self.further_stages(policy.critic, spans[1]) if policy.critic else NIL
        entries = sum(policy.sizes)
        layout[network.NR_INPUTS] = policy.nr_inputs
        layout[network.HEAD] = network.HEADS[policy.head]
        layout[network.NR_DIMS] = policy.nr_dims
        layout[network.NR_DRAWS] = entries or 2 * policy.nr_dims
        layout[network.OUTPUTS_AT] = outputs
        layout[network.NORMALISE_AT] = layout[network.LOG_STD_AT] = NIL
        if policy.normalisation is not None:
            layout[network.NORMALISE_AT] = self.append(*policy.normalisation)
        if policy.log_std is not None:
            layout[network.LOG_STD_AT] = self.append(policy.log_std)
        layout[network.ROWS_AT] = self.reserve(1 + max(stage[network.INPUTS] for stage in self.stages))
        layout[network.SCRATCH_SIZE] = self.scratch_end
        layout[network.NR_STAGES] = len(self.stages)
        words = np.array(self.stages, dtype=np.int64).ravel()
        layout[network.SIZES_AT] = network.HEADER_WORDS + words.size
        packed = np.concatenate([layout, words, np.array(policy.sizes, dtype=np.int64)])
        return packed, aligned(np.concatenate(self.weights))

    def first_stage(self, observation: int) -> list[int]:
        """The first layers of actor and critic side by side; returns where each one's outputs start."""
        nets = [net for net in (self.policy.actor, self.policy.critic) if net]
        matrix = np.concatenate([padded(net[0]) for net in nets], axis=1)
        starts = [0, padded(nets[0][0]).shape[1]]
        stops = [starts[1], matrix.shape[1]]
        active = [i for i, net in enumerate(nets) if len(net) > 1]
        span = (starts[active[0]], stops[active[-1]]) if active else (0, 0)
        target = self.stage(observation, matrix, *span)
        return [target + start for start in starts]

    def further_stages(self, net: "tuple[Layer, ...]", source: int) -> int:
        """The layers of a net after its first; returns where its outputs start."""
        for i, layer in enumerate(net[1:], 1):
            last = i == len(net) - 1
            source = self.stage(source, padded(layer), 0, 0 if last else layer.bias.size)
        return source

    def stage(self, source: int, matrix: np.ndarray, active_from: int, active_to: int) -> int:
        inputs, width = matrix.shape[0] - 1, matrix.shape[1]
        target, matrix_at = self.reserve(width), self.append(matrix)
        activation = network.ACTIVATIONS[self.policy.activation] if active_to else network.LINEAR
        self.stages.append([source, inputs, target, width, matrix_at, activation, active_from, active_to])
        return target

    def reserve(self, size: int) -> int:
        """Take scratch memory; returns where it starts."""
        start = self.scratch_end
        self.scratch_end += round_up(size)
        return start

    def append(self, *arrays: Any) -> int:
        """Add numbers to the weights; returns where they start."""
        start = self.weights_end
        flat = np.concatenate([np.ravel(array) for array in arrays]).astype(np.float32)
        flat = np.concatenate([flat, np.zeros(round_up(flat.size) - flat.size, dtype=np.float32)])
        self.weights.append(flat)
        self.weights_end += flat.size
        return start


def round_up(size: int) -> int:
    """The next multiple of the length of a cache line."""
    return -(-size // network.ALIGN) * network.ALIGN


def aligned(array: np.ndarray) -> np.ndarray:
    """A copy that starts with a cache line."""
    memory = np.empty(array.size + network.ALIGN, dtype=array.dtype)
    start = -(memory.ctypes.data // array.itemsize) % network.ALIGN
    memory[start : start + array.size] = array
    return memory[start : start + array.size]


def padded(layer: "Layer") -> np.ndarray:
    """A layer as one matrix, its bias first, with as many columns as whole cache lines take."""
    inputs, outputs = layer.weight.shape
    matrix = np.zeros((1 + inputs, round_up(outputs)), dtype=np.float32)
    matrix[0, :outputs], matrix[1:, :outputs] = layer.bias, layer.weight
    return matrix
