"""The machines of a batch looked at one by one, as Gymnasium's ``call``, ``get_attr`` and ``set_attr`` do."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium.vector import VectorEnv

from vcpu_env.envs.config import EnvConfig, ScenarioMix
from vcpu_env.envs.drawing.gantt import Gantt
from vcpu_env.envs.host_env import HostEnv
from vcpu_env.envs.lane import Lane
from vcpu_env.policy.named import Policy

STEPPING = ("step", "reset", "restore", "close")
"""Methods of the single environment that a batch doesn't call."""


ROWS = ("action_masks", "sample_masks")
"""Methods that a batch has itself, with an entry for each machine."""


class VectorOfSingles(VectorEnv[np.ndarray, Any, np.ndarray]):
    """A batch that shows each of its machines as a single environment."""

    single: ClassVar[type[HostEnv]]
    config: EnvConfig
    mix: ScenarioMix
    rule: Policy
    lanes: list[Lane]
    randoms: list[np.random.Generator]
    _gantts: list[Gantt]

    def __init__(self) -> None:
        super().__init__()
        self._singles: list[HostEnv] = []
        self._own: set[str] = set()

    def singles(self) -> list[HostEnv]:
        """A single environment for each machine, to look at: it shows what the machine is now."""
        if not self._singles:
            mix = list(zip(self.mix.scenarios, self.mix.probabilities, strict=True))
            arguments = {name: getattr(self.config, name) for name in self.config.model_fields_set}
            self._singles = [self.single(mix, self.rule, self.render_mode, **arguments) for _ in range(self.num_envs)]
        for i, env in enumerate(self._singles):
            env.lane, env.spec = self.lanes[i], self.spec
            if self.randoms:
                env.np_random = self.randoms[i]
            if self._gantts:
                env._gantt = self._gantts[i]
        return self._singles

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """An attribute of every single environment, or what a method of theirs returns.

        Raises:
            ValueError: a method that would leave the others behind.
            AttributeError: there is none of this name.
        """
        return tuple(self.call_some(range(self.num_envs), name, *args, **kwargs))

    def call_some(self, which: Sequence[int], name: str, *args: Any, **kwargs: Any) -> list[Any]:
        """`call` on these machines."""
        if name in ROWS:
            rows = getattr(self, name)()
            return [rows[i] for i in which]
        if name in STEPPING:
            raise ValueError(f"call: value '{name}' (allowed: what steps no machine; the batch steps them together)")
        singles = self.singles()
        found = [getattr(singles[i], name) for i in which]
        return [each(*args, **kwargs) if callable(each) else each for each in found]

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute of every single environment."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute of every single environment: to one value, or each to its own of a list.

        Raises:
            ValueError: too few values, or an attribute that the environments have by themselves.
        """
        given = list(values) if isinstance(values, list | tuple) else [values] * self.num_envs
        if len(given) != self.num_envs:
            raise ValueError(f"set_attr: {len(given)} values (allowed: one, or {self.num_envs})")
        for i, value in enumerate(given):
            self.set_some([i], name, value)

    def set_some(self, which: Sequence[int], name: str, value: Any) -> None:
        """Set an attribute of these machines' single environments.

        Raises:
            ValueError: an attribute that the environments have by themselves.
        """
        singles = self.singles()
        if name not in self._own and hasattr(singles[0], name):
            raise ValueError(f"set_attr: value '{name}' (allowed: names of your own; the rest is fixed when made)")
        self._own.add(name)
        for i in which:
            setattr(singles[i], name, value)
