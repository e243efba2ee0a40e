"""How policies are pickled: the simulator's own by their names, the rules of a user's file with the file's text.

Other rules are pickled as functions are: by module and name, or, by cloudpickle, as code.
"""

import copyreg
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any, NamedTuple

from vcpu_env.policy.in_file import RULES_MODULE, rules_module
from vcpu_env.policy.named import POLICIES, policy_named
from vcpu_env.policy.policy import Policy

POINTS = ("target_rule", "penalty_rule")


class OwnRule(NamedTuple):
    """A rule of the simulator's own: that of a policy."""

    policy: str
    point: str


class FileRule(NamedTuple):
    """A rule of a user's file."""

    path: str
    text: str
    name: str


def packed_rule(rule: Any) -> Any:
    """A rule as something that another process finds it by."""
    for policy in POLICIES.values():
        for point in POINTS:
            if rule is getattr(policy, point) and callable(rule):
                return OwnRule(policy.name, point)
    module = getattr(getattr(rule, "py_func", rule), "__module__", None) or ""
    if module.startswith(RULES_MODULE):
        return FileRule(sys.modules[module].__file__ or "", sys.modules[module].TEXT, rule.__name__)
    return rule


def found_rule(packed: Any) -> Any:
    """The rule that `packed_rule` made this of.

    Raises:
        ValueError: there is no such policy.
        PolicyError: its file does not run.
    """
    if isinstance(packed, OwnRule):
        return getattr(policy_named(packed.policy), packed.point)
    if isinstance(packed, FileRule):
        return getattr(rules_module(packed.path, packed.text), packed.name)
    return packed


def found_policy(values: dict[str, Any]) -> Policy:
    """The policy of these fields."""
    return Policy(**values | {point: found_rule(values[point]) for point in POINTS})


def packed_policy(policy: Policy) -> tuple[Callable[..., Policy], tuple[Any, ...]]:
    """For `copyreg`: how to find or make the policy again."""
    if POLICIES.get(policy.name) is policy:
        return policy_named, (policy.name,)
    values = {field.name: getattr(policy, field.name) for field in fields(policy)}
    return found_policy, (values | {point: packed_rule(values[point]) for point in POINTS},)


copyreg.pickle(Policy, packed_policy)  # type: ignore[arg-type]
