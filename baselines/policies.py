"""Policies of an evaluation: the named ones, and rules that a user wrote in a Python file.

``NAME`` is one of `vcpu_env.policy.named.POLICIES`. ``FILE.py:NAME`` is a `Policy`, or a function of the view that
chooses targets, in a file; ``FILE.py`` stands for the functions ``choose_target`` and ``choose_penalty`` in it.
``FILE.npz`` is a learned policy (`vcpu_env.nets.learned`), ``FILE.toml`` the series with other constants
(`baselines.constants`).
"""

import functools
import hashlib
import inspect
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from baselines.constants import constants_in_text
from vcpu_env.policy.named import Policy
from vcpu_env.policy.rules import EXTERNAL, RuleError, rule_address
from vcpu_env.policy.view import YIELD_VIEW
from vcpu_env.scenario import Scenario
from vcpu_env.scenario.errors import nearest

STOCK = "stock"
"""Name of the baseline: the unchanged kernel."""

PENALTY_PATCHES = frozenset(range(1, 6))
"""Patches of the series that a penalty rule needs: those that compute and charge penalties."""


class PolicyError(ValueError):
    """A policy that does not exist or cannot be used."""


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


PICKLED = (".zip", ".pkl", ".pickle", ".pt", ".pth")


def is_file(name: str) -> bool:
    """Whether a policy's name means a file."""
    return name.endswith((".py", ".npz", ".toml", *PICKLED)) or ".py:" in name


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
        return PolicySource(name, getattr(policy, "summary", ""), fingerprint(policy), oracle, knobs)
    if name.endswith(PICKLED):
        raise PolicyError(f"policy: value '{name}' may hold pickled code (allowed: FILE.npz, FILE.py or a name)")
    if name.endswith(".npz"):
        return _choose_learned(name)
    path, _, member = (name, "", "") if name.endswith((".py", ".toml")) else name.rpartition(":")
    try:
        text = Path(path).read_text("utf-8")
    except OSError as error:
        raise PolicyError(f"policy: value '{name}' (allowed: a file that can be read; {error.strerror})") from None
    except UnicodeDecodeError:
        raise PolicyError(f"policy: value '{name}' (allowed: a text file in UTF-8)") from None
    policy = constants_in_file(path, text) if path.endswith(".toml") else policy_in_file(path, text, member)
    _refuse_external(name, policy)
    for rule in (policy.target_rule, policy.penalty_rule):
        if rule is not None:
            try:
                rule_address(rule, YIELD_VIEW)
            except RuleError as error:
                raise PolicyError(f"policy: {path}: {_one_line(error)}") from None
    digest = hashlib.sha256(f"{text}\0{fingerprint(policy)}".encode()).hexdigest()
    return PolicySource(policy.name, policy.summary, digest, policy.oracle, policy.knobs, path, text, member)


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


@functools.cache
def policy_in_file(path: str, text: str, member: str) -> Policy:
    """The policy that a member of a user's file is, or that its functions make.

    Raises:
        PolicyError: the file does not run, or holds no such policy.
    """
    module = _run_file(path, text)
    if not member:
        return _policy_of_functions(path, module)
    if not hasattr(module, member):
        names = [name for name in vars(module) if not name.startswith("_")]
        raise PolicyError(f"policy: {path} has no '{member}' ({nearest(member, names)})")
    found = getattr(module, member)
    if isinstance(found, Policy):
        return found
    if not inspect.isfunction(found):
        kind = type(found).__name__
        raise PolicyError(f"policy: {path}:{member} is of type {kind} (allowed: a Policy, a function of the view)")
    if member == "choose_penalty":
        return Policy(member, _summary(found), PENALTY_PATCHES, penalty_rule=found)
    return Policy(member, _summary(found), target_rule=found)


def _policy_of_functions(path: str, module: types.ModuleType) -> Policy:
    target, penalty = (getattr(module, f"choose_{point}", None) for point in ("target", "penalty"))
    if target is None and penalty is None:
        raise PolicyError(f"policy: {path} has neither choose_target nor choose_penalty (allowed: one, or {path}:NAME)")
    policy = Policy(Path(path).stem, (module.__doc__ or "").partition("\n")[0].rstrip("."), target_rule=target)
    return policy if penalty is None else replace(policy, patches=PENALTY_PATCHES, penalty_rule=penalty)


def _summary(function: Any) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0].rstrip(".")


def _run_file(path: str, text: str) -> types.ModuleType:
    name = "rules_" + hashlib.sha256(f"{path}\0{text}".encode()).hexdigest()[:16]
    module = types.ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module
    try:
        exec(compile(text, path, "exec"), module.__dict__)
    except Exception as error:
        line = error.lineno if isinstance(error, SyntaxError) else _last_line(error, path)
        kind = type(error).__name__
        detail = error.msg if isinstance(error, SyntaxError) else _one_line(error)
        raise PolicyError(f"policy: {path}, line {line}: {kind}: {detail}") from None
    return module


def _last_line(error: Exception, path: str) -> int:
    """The line of the user's file at which an error left it."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _one_line(error: Exception) -> str:
    """An error's text without the compiler's hints on how to report it."""
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(line for line in lines if line and not line.startswith("During: "))[:400]


def fingerprint(value: Any) -> str:
    """Text that changes with the content of a policy: its fields, arrays in full, functions by name and closure."""
    if is_dataclass(value) and not isinstance(value, type):
        return fingerprint({field.name: getattr(value, field.name) for field in fields(value)})
    if isinstance(value, Mapping):
        return "{" + ",".join(sorted(f"{fingerprint(key)}:{fingerprint(item)}" for key, item in value.items())) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(fingerprint, value)) + "]"
    if isinstance(value, set | frozenset):
        return "(" + ",".join(sorted(map(fingerprint, value))) + ")"
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
    value = getattr(value, "py_func", value)  # compiled: its repr holds an address
    if inspect.isfunction(value):
        captured = [cell.cell_contents for cell in value.__closure__ or ()]
        return f"{value.__qualname__}{fingerprint([*captured, value.__defaults__])}"
    return repr(value)
