"""Rules for the two decision points: how a user's Python function becomes a function pointer that the machine calls.

A rule takes one argument, the view of the decision (`policy.view`), and returns an int. It is compiled once; the
machine is not compiled again for it. Rules see what a host kernel could see, except the field `awaited`, which only
oracles may read. The simulator's own rules are compiled as they are. Any other rule is sealed (`policy.sealed`): it
cannot reach beyond its view, and when it fails the machine stops, and its Python source says where and why.
"""

import inspect
import re
from typing import Any

import numpy as np
from numba import carray, cfunc, from_dtype, njit, types
from numba.core import cgutils
from numba.core.errors import NumbaError
from numba.extending import intrinsic

from vcpu_env.base.jit import JIT
from vcpu_env.kernel.yield_types import BOOST_RULE, SCALE_ONE_Q16
from vcpu_env.policy.checked import NOT_WHOLE
from vcpu_env.policy.decision import Decision, DecisionType, decision_at
from vcpu_env.policy.sealed import Rule, RuleError, Seal

EXTERNAL = "external"
"""Instead of a rule: the machine stops at the decision and waits for an answer."""

RULE_KERNEL, RULE_POINTER, RULE_EXTERNAL = range(3)

RULE_FAILED = -(1 << 63)
"""What the machine is answered by a rule that raised an exception."""

OUTPUTS = {"target": ("boost", "penalty_scale_q16"), "penalty": ()}
"""The fields of the view that a rule of each decision point may set."""

MAX_PENALTY_NS = 1 << 40
"""The largest penalty that may be answered, 18 min of virtual time: sums of weighted vruntimes stay within 64 bits."""

MAX_SCALE = 1024
"""The largest factor of a penalty."""

_compiled: dict[tuple[Rule, str], Any] = {}
_python_rules: list[Rule] = []


def rule_address(rule: Rule | str, view: np.dtype, point: str = "target") -> int:
    """Compile a rule; returns the address of its code (uncompiled: its number).

    Args:
        view: what the rule is given.
        point: the decision, "target" or "penalty".

    Raises:
        RuleError: it is not a function of one argument, is not allowed, or does not compile.
    """
    name = getattr(rule, "__name__", repr(rule))
    rule = getattr(rule, "py_func", rule)
    if not inspect.isfunction(rule) or len(inspect.signature(rule).parameters) != 1:
        code = getattr(rule, "__code__", None)
        where = f"{code.co_filename}, line {code.co_firstlineno}: " if code else ""
        raise RuleError(f"{where}rule {name}: not allowed; allowed: a plain function of one argument, the view")
    key = (rule, point)
    if key not in _compiled:
        if not JIT:
            _python_rules.append(rule if is_own(rule) else guarded(python_rule(rule, view, point)))
            _compiled[key] = len(_python_rules) - 1
        else:
            _compiled[key] = compile_own(rule, view) if is_own(rule) else compile_sealed(rule, view, point)
    return int(_compiled[key].address if JIT else _compiled[key])


def is_own(function: Any) -> bool:
    """Whether a rule is the simulator's own, with all that it is composed of."""
    parts = [getattr(cell.cell_contents, "py_func", cell.cell_contents) for cell in function.__closure__ or ()]
    return function.__module__.startswith("vcpu_env.") and all(map(is_own, filter(inspect.isfunction, parts)))


def compile_own(rule: Rule, view: np.dtype) -> Any:
    """One of the simulator's own rules as machine code."""
    compiled = njit(error_model="numpy")(rule)

    def entry(pointer):
        return np.int64(compiled(carray(pointer, (1,))[0]))

    return cfunc(types.int64(types.CPointer(from_dtype(view))), error_model="numpy")(entry)


def compile_sealed(rule: Any, view: np.dtype, point: str) -> Any:
    """A user's rule, sealed, as machine code.

    Raises:
        RuleError: it is not allowed, or does not compile.
    """
    python_rule(rule, view, point)
    kind = DecisionType(view)
    decision = decision_at(kind)
    finish = njit(error_model="python", boundscheck=True, nogil=True)
    compiled = Seal(view.names or (), OUTPUTS[point], finish).rule(rule)

    def entry(pointer):
        answer = RULE_FAILED
        try:
            seen = decision(pointer)
            answer = compiled(seen, seen)
        except Exception:
            answer = RULE_FAILED
        return np.int64(answer)

    try:
        compiled.compile((kind, kind))
        answer = compiled.nopython_signatures[0].return_type
    except NumbaError as error:
        raise RuleError(compiler_error(rule, error)) from None
    if not isinstance(answer, types.Integer):
        code = rule.__code__
        raise RuleError(
            f"{code.co_filename}, line {code.co_firstlineno}: rule {rule.__name__}: some way through it has no end, or "
            "no answer (allowed: an int)"
        )
    return cfunc(types.int64(types.voidptr), error_model="python")(entry)


def compiler_error(rule: Any, error: NumbaError) -> str:
    """What the compiler has against a rule, in a line that points into the user's file."""
    code, text = rule.__code__, str(error)
    lines = re.findall(rf"at {re.escape(code.co_filename)} \((\d+)\)", text)
    calls = re.findall(r">>> (.+)", text)
    said = [line for line in text.splitlines() if not line.startswith("Failed in")]
    what = f"does not compile: {calls[-1] if calls else said[0]}"
    if found := re.search(f"{NOT_WHOLE}: .+", text):
        what = found[0]
    elif "Cannot modify readonly array" in text:
        what = "it sets an entry of a list of the view or of the file (allowed: lists of its own)"
    where = f"{code.co_filename}, line {lines[-1] if lines else code.co_firstlineno}"
    return f"{where}: rule {rule.__name__}: {what[:200]}"


def python_rule(rule: Any, view: np.dtype, point: str) -> Rule:
    """A user's rule, sealed, in Python: a function of a struct of the layout of the view.

    Raises:
        RuleError: it is not allowed.
    """
    sealed = Seal(view.names or (), OUTPUTS[point], lambda function: function).rule(rule)

    def answer(record: np.void) -> int:
        seen = Decision(record)
        with np.errstate(all="ignore"):
            found = sealed(seen, seen)
        if not isinstance(found, int):
            raise TypeError(f"its answer is {found} (allowed: an int)")
        return found

    return answer


def guarded(rule: Rule) -> Rule:
    """Uncompiled: a sealed rule as a function of a reference to the view, which answers RULE_FAILED if it raises."""

    def answer(view):
        try:
            return rule(view._array[view._index])
        except Exception:
            return RULE_FAILED

    return answer


def failure(rule: Any, record: np.void, point: str) -> str:
    """Where and why a user's rule fails at a decision: the exception that its Python source raises; empty if none."""
    if is_own(rule):
        return ""
    path, line = rule.__code__.co_filename, rule.__code__.co_firstlineno
    seen = record.copy()
    seen["boost"], seen["penalty_scale_q16"] = BOOST_RULE, SCALE_ONE_Q16
    try:
        python_rule(rule, record.dtype, point)(seen)
    except Exception as error:
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == path:
                line = trace.tb_lineno
            trace = trace.tb_next
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return f"{path}, line {line}: rule {rule.__name__}: {what}"
    return ""


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
