"""Policies in a user's Python file, wherever a policy is named: ``FILE.py``, or ``FILE.py:NAME``.

NAME is a `Policy` in it, or a function of the view that chooses targets (one called ``choose_penalty`` penalties);
without it the functions ``choose_target`` and ``choose_penalty`` are meant. What a file does has to be the same every
time it is run, so it imports nothing that could do otherwise.
"""

import ast
import functools
import hashlib
import inspect
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

from vcpu_env.base.errors import InputError, nearest
from vcpu_env.policy.fingerprint import TEXT
from vcpu_env.policy.named import policy_named
from vcpu_env.policy.policy import Policy
from vcpu_env.policy.rules import EXTERNAL, RuleError, rule_address
from vcpu_env.policy.sealed import remember_source
from vcpu_env.policy.view import YIELD_VIEW

PENALTY_PATCHES = frozenset(range(1, 6))
"""Patches of the series that a penalty rule needs: those that compute and charge penalties."""

RULES_MODULE = "rules_"
"""What the names of modules made of users' files begin with."""

IMPORTS = ("__future__", "collections.abc", "dataclasses", "math", "numba", "numpy", "typing", "vcpu_env")
IMPURE = (
    "__builtins__", "__import__", "breakpoint", "compile", "delattr", "eval", "exec", "globals", "id", "input",
    "locals", "open", "print", "setattr", "vars",
)  # fmt: skip


class PolicyError(InputError):
    """A policy that does not exist or cannot be used."""


def is_rule_file(name: str) -> bool:
    """Whether a policy's name means a Python file."""
    return name.endswith(".py") or ".py:" in name


def policy_of(name: str) -> Policy:
    """The policy of this name, or in this file.

    Raises:
        ValueError: there is none, or it is wrong.
    """
    if not is_rule_file(name):
        return policy_named(name)
    path, member = split(name)
    policy = policy_in_file(path, text_of(name, path), member)
    if EXTERNAL in (policy.target_rule, policy.penalty_rule):
        raise PolicyError(f"policy: value '{name}' is answered from outside (allowed: rules inside the machine)")
    return policy


def split(name: str) -> tuple[str, str]:
    """A name as file and member."""
    path, _, member = (name, "", "") if name.endswith(".py") else name.rpartition(":")
    return path, member


def text_of(name: str, path: str) -> str:
    """The text of the file that a policy's name means.

    Raises:
        PolicyError: it cannot be read.
    """
    try:
        return Path(path).read_text("utf-8")
    except OSError as error:
        raise PolicyError(f"policy: value '{name}' (allowed: a file that can be read; {error.strerror})") from None
    except UnicodeDecodeError:
        raise PolicyError(f"policy: value '{name}' (allowed: a text file in UTF-8)") from None


@functools.cache
def policy_in_file(path: str, text: str, member: str) -> Policy:
    """The policy that a member of a user's file is, or that its functions make; its rules are compiled.

    Raises:
        PolicyError: the file does not run, or holds no such policy, or what it holds is not allowed.
    """
    module = rules_module(path, text)
    try:
        policy = _policy_in_module(path, module, member)
    except PolicyError:
        raise
    except ValueError as error:  # of its name
        raise PolicyError(f"policy: {path}: {error}") from None
    for point, rule in (("target", policy.target_rule), ("penalty", policy.penalty_rule)):
        if rule is not None and rule != EXTERNAL:
            try:
                rule_address(rule, YIELD_VIEW, point)
            except RuleError as error:
                raise PolicyError(f"policy: {error}") from None
    return policy


def _policy_in_module(path: str, module: types.ModuleType, member: str) -> Policy:
    if not member:
        return _policy_of_functions(path, module)
    if not hasattr(module, member):
        names = [name for name in vars(module) if not name.startswith("_")]
        raise PolicyError(f"policy: {path} has no '{member}' ({nearest(member, names)})")
    found = getattr(module, member)
    if isinstance(found, Policy):
        return found
    if not inspect.isfunction(getattr(found, "py_func", found)):
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


@functools.cache
def rules_module(path: str, text: str) -> types.ModuleType:
    """A user's file as a module; ``TEXT`` in it is the text that it was made of.

    Raises:
        PolicyError: the file does not run, or does what is not allowed.
    """
    name = RULES_MODULE + hashlib.sha256(f"{path}\0{text}".encode()).hexdigest()[:16]
    module: Any = types.ModuleType(name)
    module.__file__ = path
    setattr(module, TEXT, text)
    sys.modules[name] = module
    remember_source(path, text)
    try:
        refuse_impure(path, ast.parse(text, path))
        exec(compile(text, path, "exec"), module.__dict__)
    except PolicyError:
        raise
    except (Exception, SystemExit) as error:
        line = error.lineno if isinstance(error, SyntaxError) else _last_line(error, path)
        kind = type(error).__name__
        detail = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())[:400]
        raise PolicyError(f"policy: {path}, line {line}: {kind}: {detail}") from None
    module.TEXT = text
    return module  # type: ignore[no-any-return]


def refuse_impure(path: str, tree: ast.AST) -> None:
    """Raise PolicyError for what could make a file's rules do something else the next time."""
    for node in ast.walk(tree):
        where = f"policy: {path}, line {getattr(node, 'lineno', 0)}"
        for name in imported(node):
            if "random" in name.split(".") or not any(name == root or name.startswith(root + ".") for root in IMPORTS):
                raise PolicyError(f"{where}: imports '{name}' (allowed: {', '.join(IMPORTS)})")
        if (isinstance(node, ast.Name) and node.id in IMPURE) or (
            isinstance(node, ast.Attribute) and node.attr == "random"
        ):
            raise PolicyError(f"{where}: uses '{ast.unparse(node)}' (allowed: what is the same every time)")


def imported(node: ast.AST) -> list[str]:
    """The modules that a statement imports, and what is called random in them."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        module = "." * node.level + (node.module or "")
        return [module, *(f"{module}.{alias.name}" for alias in node.names if alias.name == "random")]
    return []


def _last_line(error: BaseException, path: str) -> int:
    """The line of the user's file at which an error left it."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
