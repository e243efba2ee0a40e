"""Policies of an evaluation: the named ones, and rules that a user wrote in a Python file.

``NAME`` is one of `vcpu_env.policy.named.POLICIES`. ``FILE.py:NAME`` is a `Policy`, or a function of the view that
chooses targets, in a file; ``FILE.py`` stands for the functions ``choose_target`` and ``choose_penalty`` in it.
``FILE.npz`` is a learned policy (`vcpu_env.nets.learned`), ``FILE.toml`` the series with other constants
(`baselines.constants`).
"""

import ast
import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baselines.constants import constants_in_text
from vcpu_env.base.errors import nearest
from vcpu_env.policy.fingerprint import fingerprint
from vcpu_env.policy.in_file import PolicyError, is_rule_file, policy_in_file, split, text_of
from vcpu_env.policy.named import Policy
from vcpu_env.policy.policy import KERNELS
from vcpu_env.policy.rules import EXTERNAL
from vcpu_env.scenario import Scenario

STOCK = "stock"
"""Name of the baseline: the unchanged kernel."""


@dataclass(frozen=True)
class PolicySource:
    """What a worker process needs in order to make a policy.

    Attributes:
        label: name in tables.
        summary: one line.
        digest: hash of what the policy is, as far as the simulator's own source does not tell.
        oracle: sees what no host can see.
        knobs: an oracle that turns the series' own knobs only.
        path: the user's file; empty for a named policy.
        text: that file's content: what runs is what was hashed, whatever becomes of the file meanwhile.
        member: name in the file; empty for choose_target and choose_penalty.
        content: likewise of a learned policy's file.
        kernels: the host kernels on which it has a meaning.
    """

    label: str
    summary: str = ""
    digest: str = ""
    oracle: bool = False
    knobs: bool = False
    path: str = ""
    text: str = ""
    member: str = ""
    content: bytes = b""
    kernels: frozenset[str] = KERNELS

    @property
    def kind(self) -> str:
        """What it came as: named, rule, constants or learned."""
        return {"": "named", ".toml": "constants", ".npz": "learned"}.get(Path(self.path).suffix, "rule")

    def load(self) -> Policy | str:
        """The policy, or the name under which the machine knows it."""
        if self.path.endswith(".toml"):
            return constants_in_file(self.path, self.text)
        return policy_in_file(self.path, self.text, self.member) if self.path else self.label

    def machine(self, scenario: Scenario, seed: int, build: Callable[..., Any]) -> Any:
        """A machine under this policy; `build` makes those whose policy is rules."""
        if not self.content:
            return build(scenario, self.load(), seed)
        from vcpu_env.nets.play import PolicyMachine  # compiles the environments, which no other policy needs

        return PolicyMachine(scenario, learned_in_file(self.path, self.content), seed)


PRIVILEGED = "awaited"
"""The field of a rule's view that no host could fill in."""

PICKLED = (".zip", ".pkl", ".pickle", ".pt", ".pth")


def is_file(name: str) -> bool:
    """Whether a policy's name means a file."""
    return is_rule_file(name) or name.endswith((".npz", ".toml", *PICKLED))


def choose_policies(names: Iterable[str], known: Mapping[str, Any]) -> list[PolicySource]:
    """Find policies; stock comes first, also if it is not named, since all else is compared with it.

    Args:
        known: the named policies.

    Raises:
        PolicyError: there is no such policy, or it is wrong.
    """
    chosen = [_choose(name, known) for name in dict.fromkeys([STOCK, *names])]
    for i, policy in enumerate(chosen):
        if policy.path and policy.label in [*known, *(other.label for other in chosen[:i])]:
            raise PolicyError(f"policy: {policy.path}: name '{policy.label}' is taken (allowed: names that differ)")
    return chosen


def _choose(name: str, known: Mapping[str, Any]) -> PolicySource:
    if not is_file(name):
        if name not in known:
            raise PolicyError(f"policy: value '{name}' ({nearest(name, known)}; or a file, as rules.py:NAME)")
        policy = known[name]
        _refuse_external(name, policy)
        oracle, knobs = bool(getattr(policy, "oracle", False)), bool(getattr(policy, "knobs", False))
        kernels = getattr(policy, "kernels", KERNELS)
        return PolicySource(name, getattr(policy, "summary", ""), fingerprint(policy), oracle, knobs, kernels=kernels)
    if name.endswith(PICKLED):
        raise PolicyError(f"policy: value '{name}' may hold pickled code (allowed: FILE.npz, FILE.py or a name)")
    if name.endswith(".npz"):
        return _choose_learned(name)
    path, member = (name, "") if name.endswith(".toml") else split(name)
    text = text_of(name, path)
    policy = constants_in_file(path, text) if path.endswith(".toml") else policy_in_file(path, text, member)
    _refuse_external(name, policy)
    digest = hashlib.sha256(f"{text}\0{fingerprint(policy)}".encode()).hexdigest()
    oracle = policy.oracle or (not path.endswith(".toml") and reads_privileged(text))
    return PolicySource(
        policy.name, policy.summary, digest, oracle, policy.knobs, path, text, member, kernels=policy.kernels
    )


def reads_privileged(text: str) -> bool:
    """Whether the rules in a file use what no host can see, by name or from the oracles: then they are oracles."""
    for node in ast.walk(ast.parse(text)):
        names = [node.attr] if isinstance(node, ast.Attribute) else []
        names += [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if any(name == PRIVILEGED or name.split(".")[-1] == "oracles" for name in names):
            return True
    return False


def _choose_learned(path: str) -> PolicySource:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise PolicyError(f"policy: value '{path}' (allowed: a file that can be read; {error.strerror})") from None
    learned = learned_in_file(path, content)
    return PolicySource(learned.name, learned.about.summary, learned.digest, path=path, content=content)


@functools.cache
def constants_in_file(path: str, text: str) -> Policy:
    """The series with the constants in a user's file.

    Raises:
        PolicyError: they are not allowed.
    """
    try:
        return constants_in_text(text).policy()
    except ValueError as error:  # of TOML, too
        raise PolicyError(f"policy: {path}: {error}") from None


@functools.cache
def learned_in_file(path: str, content: bytes) -> Any:
    """The learned policy that a file holds.

    Raises:
        PolicyError: it holds none, or one for other observations or actions.
    """
    from vcpu_env.nets.learned import LearnedPolicy

    try:
        return LearnedPolicy.of_bytes(content, path)
    except ValueError as error:
        raise PolicyError(f"policy: {error}") from None


def _refuse_external(name: str, policy: Any) -> None:
    if EXTERNAL in (getattr(policy, "target_rule", None), getattr(policy, "penalty_rule", None)):
        raise PolicyError(f"policy: value '{name}' is answered from outside (allowed: rules inside the machine)")
