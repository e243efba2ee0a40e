"""A trained policy as data: numpy weights, checked once, kept as .npz, packed for compiled code (`nets.packing`)."""

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Self

import numpy as np

from vcpu_env.base.errors import InputError
from vcpu_env.base.files import checksum, say_unchecked, write_whole
from vcpu_env.nets.network import ACTIVATIONS, HEADS

FORMAT_VERSION = 2
UNCHECKED_VERSION = 1
"""Files of this version have no checksum, and are equal otherwise."""
CHECKSUM = "checksum"
"""Name of the checksum among the arrays of the file."""
MAX_WIDTH = 1 << 20
LOG_STD_LIMIT = 20.0
LONGEST_SHOWN = 100


class Layer(NamedTuple):
    """An affine layer: inputs @ weight + bias."""

    weight: np.ndarray  # (inputs, outputs)
    bias: np.ndarray


class Normalisation(NamedTuple):
    """What VecNormalize does to observations: (x - mean) * inv_std, within -clip .. clip."""

    mean: np.ndarray
    inv_std: np.ndarray
    clip: float


def refuse(name: str, value: object, allowed: str) -> NoReturn:
    """Say in one line what is wrong with a policy."""
    raise InputError(f"{name}: value {str(value)[:LONGEST_SHOWN]} (allowed: {allowed})")


@dataclass(frozen=True, eq=False)
class PolicyWeights:
    """Actor, critic and action distribution of a policy. Arrays are float32, copied and made read-only.

    Attributes:
        actor: layers from observation to logits (categorical), means (gaussian), or means and then log stds
            (squashed_gaussian); one layer is a linear policy.
        head: distribution of actions: categorical, gaussian (diagonal, std independent of the observation) or
            squashed_gaussian (tanh of a Gaussian, as SAC's and TQC's actors).
        sizes: categorical: number of choices in each dimension of the action.
        log_std: gaussian: logarithms of the standard deviations.
        critic: layers from observation to one value; empty: the policy has none.
        activation: after each layer but a net's last: tanh, relu.
        normalisation: of observations, None: they are taken as they are.

    Raises:
        ValueError: the parts do not make a policy.
    """

    actor: tuple[Layer, ...]
    head: str
    sizes: tuple[int, ...] = ()
    log_std: np.ndarray | None = None
    critic: tuple[Layer, ...] = ()
    activation: str = "tanh"
    normalisation: Normalisation | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("activation", ACTIVATIONS), ("head", HEADS)):
            if getattr(self, name) not in allowed:
                refuse(name, repr(getattr(self, name)), ", ".join(allowed))
        object.__setattr__(self, "actor", checked_net("actor", self.actor, None))
        if self.critic:
            object.__setattr__(self, "critic", checked_net("critic", self.critic, self.nr_inputs))
            if self.critic[-1].bias.size != 1:
                refuse("critic", f"{self.critic[-1].bias.size} outputs", "1 output")
        else:
            object.__setattr__(self, "critic", ())
        self._check_head()
        if self.normalisation is not None:
            object.__setattr__(self, "normalisation", checked_normalisation(self.normalisation, self.nr_inputs))

    def _check_head(self) -> None:
        outputs = self.actor[-1].bias.size
        if self.head == "categorical":
            if not self.sizes or not all(isinstance(size, int | np.integer) and size >= 1 for size in self.sizes):
                refuse("sizes", self.sizes, "one integer >= 1 for each dimension of the action")
            object.__setattr__(self, "sizes", tuple(int(size) for size in self.sizes))
            if sum(self.sizes) != outputs:
                refuse("sizes", self.sizes, f"sum {outputs}, the outputs of the actor")
        elif self.sizes:
            refuse("sizes", self.sizes, "empty unless head is categorical")
        if self.head == "gaussian":
            log_std = checked_array("log_std", self.log_std, (outputs,))
            if np.abs(log_std).max() > LOG_STD_LIMIT:
                refuse("log_std", log_std[np.abs(log_std).argmax()], f"-{LOG_STD_LIMIT:g}..{LOG_STD_LIMIT:g}")
            object.__setattr__(self, "log_std", log_std)
        elif self.log_std is not None:
            refuse("log_std", "given", "only with head gaussian")
        if self.head == "squashed_gaussian" and outputs % 2:
            refuse("actor", f"{outputs} outputs", "an even number: means, log stds")

    @property
    def nr_inputs(self) -> int:
        """Length of an observation."""
        return self.actor[0].weight.shape[0]

    @property
    def nr_dims(self) -> int:
        """Dimensions of an action."""
        if self.head == "categorical":
            return len(self.sizes)
        return self.actor[-1].bias.size // (2 if self.head == "squashed_gaussian" else 1)

    def parts(self) -> dict[str, Any]:
        """The arrays that a file of this policy holds, by name."""
        parts: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "activation": self.activation,
            "head": self.head,
            "sizes": np.array(self.sizes, dtype=np.int64),
        }
        if self.log_std is not None:
            parts["log_std"] = self.log_std
        if self.normalisation is not None:
            parts |= {f"normalisation_{name}": value for name, value in self.normalisation._asdict().items()}
        for name, net in (("actor", self.actor), ("critic", self.critic)):
            for i, layer in enumerate(net):
                parts |= {f"{name}_{i}_weight": layer.weight, f"{name}_{i}_bias": layer.bias}
        return parts

    def save(self, path: Any) -> None:
        """Write an .npz file without pickled objects; all of it or nothing."""
        content = io.BytesIO()
        np.savez(content, **sealed(self.parts()))
        write_whole(Path(path), content.getvalue())

    @classmethod
    def load(cls, path: Any) -> Self:
        """Read a file that `save` wrote.

        Raises:
            ValueError: the file is damaged, of another version, or something else.
        """
        with open(path, "rb") as file:
            parts = parts_in_file(file.read(), path)
        try:
            return cls.of_parts(parts)
        except ValueError as error:
            raise InputError(f"{path}: {error}") from error

    @classmethod
    def of_parts(cls, parts: dict[str, np.ndarray]) -> Self:
        """The policy of a file's arrays.

        Raises:
            ValueError: they are of another version, or something else.
        """
        version = int(parts.pop("format_version"))
        if version not in (UNCHECKED_VERSION, FORMAT_VERSION):
            raise InputError(f"format_version: value {version} (allowed: {FORMAT_VERSION})")
        return cls(**fields_of_parts(parts))


def sealed(parts: dict[str, Any]) -> dict[str, Any]:
    """The arrays of a file with their checksum among them."""
    return parts | {CHECKSUM: checksum_of_parts(parts)}


def checksum_of_parts(parts: dict[str, Any]) -> str:
    """The checksum of a file's arrays: of their names, types, shapes and bytes."""
    found = []
    for name in sorted(parts):
        array = np.ascontiguousarray(parts[name])
        found += [f"{name} {array.dtype.str} {np.shape(parts[name])}".encode(), array.tobytes()]
    return checksum(*found)


def parts_in_file(content: bytes, path: Any) -> dict[str, np.ndarray]:
    """The arrays in an .npz file of a policy. One of an older version has no checksum, which is said.

    Raises:
        ValueError: it is damaged, or holds pickled objects, or something else.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            parts = {name: archive[name] for name in archive.files}
        version = int(parts["format_version"])
        whole = version != FORMAT_VERSION or str(parts.pop(CHECKSUM)) == checksum_of_parts(parts)
    except Exception as error:  # damaged bytes surface as anything: of zipfile, zlib, numpy or the archive's keys
        raise InputError(f"{path}: damaged, or not a policy (allowed: a file of PolicyWeights.save)") from error
    if not whole:
        raise InputError(f"{path}: damaged: its checksum is of another content (allowed: a file of PolicyWeights.save)")
    if version == UNCHECKED_VERSION:
        say_unchecked(path)
    return parts


def checked_array(name: str, array: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A read-only copy of a float32 array of this shape (-1: any length)."""
    if not isinstance(array, np.ndarray):
        refuse(name, type(array).__name__, "numpy array")
    if array.dtype != np.float32:
        refuse(name, f"of dtype {array.dtype}", "dtype float32")
    wrong = array.ndim != len(shape) or any(
        want not in (-1, length) for want, length in zip(shape, array.shape, strict=True)
    )
    if wrong or not array.size:
        refuse(name, f"of shape {array.shape}", "shape " + str(shape).replace("-1", "any"))
    if max(array.shape) > MAX_WIDTH:
        refuse(name, f"of shape {array.shape}", f"at most {MAX_WIDTH} wide")
    if not np.isfinite(array).all():
        refuse(name, array[~np.isfinite(array)][0], "finite numbers")
    copy = array.copy(order="C")
    copy.flags.writeable = False
    return copy


def checked_net(name: str, net: Any, inputs: int | None) -> tuple[Layer, ...]:
    """A net whose layers fit each other."""
    if not net:
        refuse(name, "no layers", "at least one (weight, bias)")
    layers: list[Layer] = []
    for i, layer in enumerate(net):
        if len(layer) != 2:
            refuse(f"{name}[{i}]", f"of length {len(layer)}", "(weight, bias)")
        weight, bias = layer
        weight = checked_array(f"{name}[{i}].weight", weight, (-1 if inputs is None else inputs, -1))
        inputs = weight.shape[1]
        layers.append(Layer(weight, checked_array(f"{name}[{i}].bias", bias, (inputs,))))
    return tuple(layers)


def checked_normalisation(given: Normalisation, inputs: int) -> Normalisation:
    """A normalisation of observations of this length."""
    mean, inv_std, clip = given
    if np.ndim(clip) or not 0 < clip < math.inf:
        refuse("normalisation.clip", clip, "finite number > 0")
    return Normalisation(
        checked_array("normalisation.mean", mean, (inputs,)),
        checked_array("normalisation.inv_std", inv_std, (inputs,)),
        float(np.float32(clip)),
    )


def fields_of_parts(parts: dict[str, np.ndarray]) -> dict[str, Any]:
    """The arguments of `PolicyWeights` from the arrays in a file; takes every part it knows and refuses the others."""

    def take(name: str) -> np.ndarray:
        if name not in parts:
            raise InputError(f"{name}: missing (allowed: the parts that PolicyWeights.save writes)")
        return parts.pop(name)

    fields: dict[str, Any] = {"activation": str(take("activation")), "head": str(take("head"))}
    fields["sizes"] = tuple(np.atleast_1d(take("sizes")).tolist())
    fields["log_std"] = parts.pop("log_std", None)
    if "normalisation_clip" in parts:
        mean, inv_std, clip = (take(f"normalisation_{name}") for name in Normalisation._fields)
        fields["normalisation"] = Normalisation(mean, inv_std, clip.item())
    for net in ("actor", "critic"):
        layers: list[Layer] = []
        while f"{net}_{len(layers)}_weight" in parts:
            i = len(layers)
            layers.append(Layer(take(f"{net}_{i}_weight"), take(f"{net}_{i}_bias")))
        fields[net] = tuple(layers)
    if parts:
        refuse("part", repr(next(iter(parts))), "the parts that PolicyWeights.save writes")
    return fields
