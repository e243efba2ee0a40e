"""Rules for the two decision points: how a user's Python function becomes a function pointer that the machine calls.

A rule takes one argument, the view of the decision (`policy.view`), and returns an int. It is compiled once; the
machine is not compiled again for it. Rules see what a host kernel could see, except the field `awaited`, which only
oracles may read.
"""

import inspect
from collections.abc import Callable

import numpy as np
from numba import carray, cfunc, from_dtype, njit, types
from numba.core import cgutils
from numba.core.errors import NumbaError
from numba.extending import intrinsic

from vcpu_env.base.jit import JIT

EXTERNAL = "external"
"""Instead of a rule: the machine stops at the decision and waits for an answer."""

RULE_KERNEL, RULE_POINTER, RULE_EXTERNAL = range(3)

Rule = Callable[..., int]

_compiled: dict[tuple[Rule, str], object] = {}
_python_rules: list[Rule] = []


class RuleError(ValueError):
    """A user's rule that cannot be compiled, or that gave an answer that is not allowed."""


def rule_address(rule: Rule | str, view: np.dtype) -> int:
    """Compile a rule; returns the address of its code (uncompiled: its number).

    Raises:
        RuleError: it is not a function of one argument, or does not compile.
    """
    name = getattr(rule, "__name__", repr(rule))
    if not inspect.isfunction(rule) or len(inspect.signature(rule).parameters) != 1:
        raise RuleError(f"rule {name}: not allowed; allowed: a plain function of one argument, the view")
    if not JIT:
        if rule not in _python_rules:
            _python_rules.append(rule)
        return _python_rules.index(rule)
    key = (rule, str(view))
    if key not in _compiled:
        compiled = njit(error_model="numpy")(rule)

        def entry(pointer):
            return np.int64(compiled(carray(pointer, (1,))[0]))

        try:
            _compiled[key] = cfunc(types.int64(types.CPointer(from_dtype(view))), error_model="numpy")(entry)
        except KeyError as error:
            allowed = ", ".join(view.names or ())
            raise RuleError(f"rule {name}: the view has no field {error} (allowed: {allowed})") from None
        except NumbaError as error:
            raise RuleError(f"rule {name}: does not compile: {error}") from None
    return _compiled[key].address  # type: ignore[attr-defined]


def call_python_rule(address, view):
    """Uncompiled: call the rule of this number."""
    return int(_python_rules[address](view))


@intrinsic
def call_pointer(typingctx, address, view):
    """Call the machine code at `address` with a reference to the view."""
    signature = types.int64(types.int64, view)

    def codegen(context, builder, signature, args):
        int64 = context.get_value_type(types.int64)
        function_type = cgutils.ir.FunctionType(int64, [args[1].type])
        function = builder.inttoptr(args[0], function_type.as_pointer())
        return builder.call(function, [args[1]])

    return signature, codegen


call_rule = call_pointer if JIT else call_python_rule
