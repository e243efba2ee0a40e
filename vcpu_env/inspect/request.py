"""What a command is asked to run: scenario, seed, policies, moments; checked."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vcpu_env.policy.in_file import policy_of
from vcpu_env.policy.policy import Policy
from vcpu_env.precompile import ensure_compiled
from vcpu_env.scenario import Scenario, apply_overrides, load_scenario
from vcpu_env.scenario.errors import InputError

if TYPE_CHECKING:
    from vcpu_env.machine import Machine
    from vcpu_env.nets.learned import LearnedPolicy

MSEC = 1_000_000


class RunRequest:
    """A scenario with its overrides, and a seed.

    Attributes:
        asked: scenario, overrides and seed as on a command line.

    Raises:
        ValueError: naming the field.
    """

    def __init__(self, scenario: str, overrides: Sequence[str], seed: int):
        self.scenario: Scenario = apply_overrides(load_scenario(scenario), overrides)
        if not 0 <= seed < 2**31:
            raise InputError(f"seed: value {seed} (allowed: 0..{2**31 - 1})")
        self.seed = seed
        changes = [part for change in overrides for part in ("--set", change)]
        self.asked = [scenario, *changes, "--seed", str(seed)]

    @property
    def end_ns(self) -> int:
        """When the run ends."""
        return self.scenario.run.warmup_ns + self.scenario.run.duration_ns

    def machine(self, policy: "Policy | LearnedPolicy") -> "Machine":
        """The machine at time 0; the simulator is compiled first, if it has to be."""
        ensure_compiled()
        from vcpu_env.machine import Machine
        from vcpu_env.nets.play import PolicyMachine

        if not isinstance(policy, Policy):
            return PolicyMachine(self.scenario, policy, self.seed)
        return Machine(self.scenario, policy, self.seed)

    def vcpu(self, text: str) -> int:
        """The vCPU that ``VM:INDEX`` names.

        Raises:
            InputError: there is none.
        """
        name, _, index = text.rpartition(":")
        first = 0
        for vm in self.scenario.expanded_vms:
            if vm.name == name:
                if index.isascii() and index.isdigit() and int(index[:9]) < vm.vcpus:
                    return first + int(index)
                raise InputError(f"--vcpu: value '{text}' (allowed: {name}:0..{name}:{vm.vcpus - 1})")
            first += vm.vcpus
        names = ", ".join(vm.name for vm in self.scenario.expanded_vms)
        raise InputError(f"--vcpu: value '{text}' (allowed: VM:INDEX, of the VMs {names})")


def moment(name: str, value_ms: float, last_ns: int) -> int:
    """A time on the command line, as ns.

    Raises:
        InputError: it is none, or later than `last_ns`.
    """
    if not 0 <= value_ms <= last_ns / MSEC:
        raise InputError(f"{name}: value {value_ms:g} (allowed: 0..{last_ns / MSEC:g} ms, within the run)")
    return round(value_ms * MSEC)


def one_by_one(name: str, field: str) -> "Policy | LearnedPolicy":
    """A policy whose decisions can be looked at one by one.

    Raises:
        ValueError: there is none of that name, or it is not of that kind.
    """
    if name.endswith(".npz"):
        from vcpu_env.envs.compiled.types import PENALTY_SCALE
        from vcpu_env.nets.maker import learned_of

        learned = learned_of(name)
        if learned.kind == PENALTY_SCALE:
            raise InputError(
                f"{field}: value '{name}' chooses penalties only (allowed: networks that choose a candidate)"
            )
        return learned
    policy = policy_of(name)
    if policy.search is not None:
        raise InputError(f"{field}: value '{name}' searches (allowed: policies whose rule answers by itself)")
    if policy.keep_apart:
        raise InputError(f"{field}: value '{name}' places vCPUs from time 0 on (allowed: policies that begin later)")
    return policy
