"""A user's rule, sealed: its source is read, what could do harm is refused with its line, the rest is made checked.

A rule is a function of the view alone. So it may use its own names, numbers, tuples and arrays of its file (frozen
when it is sealed), functions of the same kind, and some of Python's, ``math``'s and NumPy's functions that depend on
their arguments only. It sets nothing but the view's outputs. In the sealed function operators are those of
`policy.checked`, and each round of a loop and each call is counted, on the view, which every function is given as its
first argument ``__view``. Lines stay those of the user's file, so tracebacks and the compiler's errors point there.
"""

import ast
import inspect
import linecache
import math
import types
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from vcpu_env.base.errors import InputError, nearest
from vcpu_env.base.random import mix64
from vcpu_env.policy import checked
from vcpu_env.policy.assigned import Assigned

Rule = Callable[..., int]

OPERATORS: dict[type, str] = {
    ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.FloorDiv: "floor_divide", ast.Mod: "modulo",
    ast.Div: "divide", ast.Pow: "power", ast.LShift: "left_shift", ast.RShift: "right_shift",
}  # fmt: skip
PLAIN_OPERATORS = (ast.BitAnd, ast.BitOr, ast.BitXor)
STATEMENTS = (
    ast.Return, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.For, ast.While, ast.If, ast.Break, ast.Continue,
    ast.Pass, ast.Expr, ast.Raise, ast.Assert,
)  # fmt: skip
EXPRESSIONS = (
    ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.IfExp, ast.Compare, ast.Call, ast.Constant, ast.Attribute, ast.Subscript,
    ast.Name, ast.List, ast.Tuple, ast.Slice,
)  # fmt: skip
CONVERSIONS = {"int": checked.integer, "round": checked.nearest, "abs": checked.magnitude}
BUILTINS = ("bool", "enumerate", "float", "len", "max", "min", "range", "reversed", "zip")
ERRORS = ("ArithmeticError", "AssertionError", "Exception", "IndexError", "RuntimeError", "TypeError", "ValueError")
MATH = ("copysign", "e", "exp", "fabs", "hypot", "inf", "isnan", "log", "log2", "pi", "sqrt")
NUMPY = (
    "abs", "all", "any", "argmax", "argmin", "ceil", "exp", "floor", "inf", "isnan", "log", "log2", "max", "maximum",
    "min", "minimum", "pi", "sign", "sqrt", "tanh",
)  # fmt: skip
METHODS = ("all", "any", "append", "argmax", "argmin", "max", "min")
VIEW = "__view"
RENAMED = {"penalty_scale": "penalty_scale_q16"}
"""Fields of the view whose names of version 0.1 are still understood, with a warning."""


class RuleError(InputError):
    """A user's rule that is refused, that failed, or that gave an answer that is not allowed."""


def remember_source(path: str, text: str) -> None:
    """Let the source of a file be found that runs from its text."""
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)


def definition(function: types.FunctionType) -> ast.FunctionDef:
    """The function's own piece of its file's syntax tree; a lambda as a ``def``.

    Raises:
        RuleError: its file cannot be read, or it is one of several lambdas in a line.
    """
    code = function.__code__
    try:
        tree = ast.parse("".join(linecache.getlines(code.co_filename, function.__globals__)))
    except SyntaxError:
        tree = ast.Module([], [])
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Lambda)]
    found = [node for node in nodes if first_line(node) == code.co_firstlineno]
    found = [node for node in found if getattr(node, "name", "<lambda>") == function.__name__]
    if len(found) != 1:
        raise RuleError(
            f"{code.co_filename}, line {code.co_firstlineno}: rule {function.__name__}: its source is not there "
            "(allowed: a def in a file, or the only lambda in a line)"
        )
    (node,) = found
    if isinstance(node, ast.FunctionDef):
        return node
    made: Any = ast.parse("def made(): pass").body[0]
    made.name, made.args = function.__name__, node.args
    made.body = [ast.copy_location(ast.Return(node.body), node.body)]
    return ast.copy_location(made, node)  # type: ignore[no-any-return]


def first_line(node: ast.FunctionDef | ast.Lambda) -> int:
    """The line that Python says a function begins at: that of its first decorator."""
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def names_of(function: types.FunctionType) -> dict[str, Any]:
    """What the names from outside a function stand for; those of its closure first."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return function.__globals__ | {name: cell.cell_contents for name, cell in cells}


class Seal:
    """Seals a rule and the functions that it calls.

    Args:
        fields: of the view.
        outputs: those of them that the rule may set.
        finish: makes a callable of each sealed function (compiles it).
    """

    def __init__(self, fields: Iterable[str], outputs: tuple[str, ...], finish: Callable[[Any], Any]):
        self.fields, self.outputs, self.finish = tuple(fields), outputs, finish
        self._done: dict[types.FunctionType, Any] = {}
        self._open: list[types.FunctionType] = []

    def rule(self, function: types.FunctionType) -> Any:
        """The sealed rule: a function of the view, twice.

        Raises:
            RuleError: it is not allowed.
        """
        return self._sealed(function, True)

    def called(self, function: types.FunctionType) -> Any:
        """A sealed function that the rule calls.

        Raises:
            RuleError: it is not allowed, or it calls itself.
        """
        if function not in self._done:
            self._done[function] = self._sealed(function, False)
        return self._done[function]

    def _sealed(self, function: types.FunctionType, is_rule: bool) -> Any:
        code = function.__code__
        if function in self._open:
            where = f"{code.co_filename}, line {code.co_firstlineno}"
            raise RuleError(f"{where}: rule {function.__name__}: it calls itself (allowed: loops)")
        self._open.append(function)
        sealing = Sealing(self, function, is_rule)
        body = ast.fix_missing_locations(ast.Module([sealing.function(definition(function))], []))
        exec(compile(body, code.co_filename, "exec"), sealing.names)
        self._open.pop()
        sealed = sealing.names[function.__name__]
        sealed.__defaults__ = function.__defaults__
        return self.finish(sealed)


class Sealing(ast.NodeTransformer):
    """Checks one function's syntax tree and makes the sealed one's.

    Attributes:
        names: what the sealed function's names stand for.
    """

    def __init__(self, seal: Seal, function: types.FunctionType, is_rule: bool):
        self.seal, self.of, self.is_rule = seal, function, is_rule
        self.outside = names_of(function)
        self.local = set(function.__code__.co_varnames)
        self.names: dict[str, Any] = {"__name__": function.__module__, "__step": checked.step}
        self.names |= {f"__{name}": getattr(checked, name) for name in (*OPERATORS.values(), "negate", "whole")}

    def refuse(self, node: Any, what: str, allowed: str) -> RuleError:
        """The error that a piece of the source is not allowed."""
        where = f"{self.of.__code__.co_filename}, line {node.lineno}"
        return RuleError(f"{where}: rule {self.of.__name__}: {what} ({allowed})")

    def function(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """The sealed definition."""
        given = node.args
        if given.vararg or given.kwarg or given.kwonlyargs or given.posonlyargs:
            raise self.refuse(node, "its arguments", "allowed: plain ones")
        unset = Assigned(node).unset
        made: Any = ast.parse("def made(): pass").body[0]
        made.name = node.name
        made.args.args = [ast.arg(argument.arg) for argument in (ast.arg(VIEW), *given.args)]
        made.args.defaults = [ast.Constant(0) for _ in given.defaults]  # the values are the given function's
        made.body = [self._step(node), *map(self.visit, node.body)]
        if unset is not None:
            raise self.refuse(unset, f"name '{unset.id}' may be unset", "allowed: names set on every way before")
        return ast.copy_location(made, node)  # type: ignore[no-any-return]

    def _step(self, at: Any) -> ast.stmt:
        return ast.copy_location(ast.Expr(self._call("__step", at, ast.Name(VIEW, ast.Load()))), at)

    def _call(self, name: str, at: Any, *arguments: ast.expr) -> ast.expr:
        call = ast.copy_location(ast.Call(ast.Name(name, ast.Load()), list(arguments), []), at)
        return ast.fix_missing_locations(call)

    def _field(self, node: ast.Attribute) -> str:
        """The name today of a field of the view."""
        name = RENAMED.get(node.attr, node.attr)
        if name != node.attr:
            said = f"{ast.unparse(node)}: the field is called {name} since version 0.2"
            warnings.warn_explicit(said, FutureWarning, self.of.__code__.co_filename, node.lineno)
        return name

    def visit(self, node: ast.AST) -> Any:
        """The sealed form of a piece of the tree."""
        return getattr(self, f"on_{type(node).__name__.lower()}", self.generic_visit)(node)

    def generic_visit(self, node: ast.AST) -> Any:
        """Refuse what is not on the lists; go on below what is."""
        if isinstance(node, ast.stmt | ast.expr) and not isinstance(node, STATEMENTS + EXPRESSIONS):
            what = ast.unparse(node).partition("\n")[0]
            raise self.refuse(node, f"'{what}'", "allowed: assignments, if, for, while, return, raise, assert")
        return super().generic_visit(node)

    def on_constant(self, node: ast.Constant) -> ast.expr:
        if isinstance(node.value, int) and not checked.LEAST <= node.value <= checked.MOST:
            raise self.refuse(node, f"value {node.value}", "allowed: integers of 64 bits")
        if not isinstance(node.value, int | float | str | None):
            raise self.refuse(node, f"value {node.value!r}", "allowed: integers, floats")
        return node

    def on_expr(self, node: ast.Expr) -> Any:
        return ast.copy_location(ast.Pass(), node) if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def on_annassign(self, node: ast.AnnAssign) -> Any:
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return self.visit(ast.copy_location(ast.Assign([node.target], node.value), node))

    def on_return(self, node: ast.Return) -> ast.stmt:
        value = self.visit(node.value) if node.value else ast.copy_location(ast.Constant(None), node)
        return ast.copy_location(ast.Return(self._call("__whole", node, value) if self.is_rule else value), node)

    def on_for(self, node: Any) -> Any:
        made = self.generic_visit(node)
        made.body.insert(0, self._step(node))
        return made

    on_while = on_for

    def on_raise(self, node: ast.Raise) -> ast.Raise:
        kind = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        if not isinstance(kind, ast.Name) or kind.id not in ERRORS or node.cause:
            raise self.refuse(node, "raise", f"allowed: {', '.join(ERRORS)}")
        return node

    def on_binop(self, node: ast.BinOp) -> ast.expr:
        left, right = self.visit(node.left), self.visit(node.right)
        if isinstance(node.op, PLAIN_OPERATORS):
            return ast.copy_location(ast.BinOp(left, node.op, right), node)
        if type(node.op) not in OPERATORS:
            raise self.refuse(node, f"operator {type(node.op).__name__}", "allowed: those of numbers")
        return self._call(f"__{OPERATORS[type(node.op)]}", node, left, right)

    def on_unaryop(self, node: ast.UnaryOp) -> Any:
        if isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
            return self._call("__negate", node, self.visit(node.operand))
        return self.generic_visit(node)

    def on_augassign(self, node: ast.AugAssign) -> Any:
        read = ast.parse(ast.unparse(node.target), mode="eval").body
        for inner in ast.walk(read):
            ast.copy_location(inner, node.target)
        operation = ast.copy_location(ast.BinOp(read, node.op, node.value), node)
        return self.visit(ast.copy_location(ast.Assign([node.target], operation), node))

    def on_assign(self, node: ast.Assign) -> ast.stmt:
        value = self.visit(node.value)
        if any(isinstance(target, ast.Attribute) for target in node.targets):
            value = self._call("__whole", node, value)
        targets = [self._target(target) for target in node.targets]
        return ast.copy_location(ast.Assign(targets, value), node)

    def _target(self, node: Any) -> Any:
        """What is assigned to: a name of the function, an entry of its lists, or an output."""
        outputs = " and ".join(self.seal.outputs)
        allowed = f"allowed: the view's {outputs}" if outputs else "allowed: no field of the view"
        if isinstance(node, ast.Attribute):
            field = self._field(node)
            if field not in self.seal.outputs:
                raise self.refuse(node, f"it sets {ast.unparse(node)}", allowed)
            return ast.copy_location(ast.Attribute(self.visit(node.value), field, ast.Store()), node)
        if isinstance(node, ast.Subscript):
            if not isinstance(node.value, ast.Name) or node.value.id not in self.local:
                raise self.refuse(node, f"it sets {ast.unparse(node)}", f"{allowed}, and lists of its own")
            return self.generic_visit(node)
        if isinstance(node, ast.Tuple) and all(isinstance(part, ast.Name) for part in node.elts):
            return node
        if not isinstance(node, ast.Name):
            raise self.refuse(node, f"it sets {ast.unparse(node)}", "allowed: names")
        return node

    def on_name(self, node: ast.Name) -> ast.expr:
        if node.id.startswith("__"):
            raise self.refuse(node, f"name '{node.id}'", "allowed: names that do not begin with __")
        if not isinstance(node.ctx, ast.Load) and node.id not in self.local:
            raise self.refuse(node, f"it sets the global '{node.id}'", "allowed: names of its own")
        if node.id not in self.local:
            if node.id not in self.outside:
                known = [*sorted(self.local), *BUILTINS, *CONVERSIONS]
                raise self.refuse(node, f"name '{node.id}'", nearest(node.id, known))
            self.names[node.id] = self.constant(node, node.id, self.outside[node.id])
        return node

    def on_attribute(self, node: ast.Attribute) -> ast.expr:
        found, text = self.module_member(node)
        if text:
            name = text.replace(".", "__")
            self.names[name] = self.constant(node, text, found)
            return ast.copy_location(ast.Name(name, ast.Load()), node)
        of = self.visit(node.value)
        field = self._field(node)
        if field not in self.seal.fields:
            raise self.refuse(node, f"the view has no field '{field}'", nearest(field, self.seal.fields))
        return ast.copy_location(ast.Attribute(of, field, ast.Load()), node)

    def module_member(self, node: ast.expr) -> tuple[Any, str]:
        """What ``module.name`` stands for and its text; an empty one if it is no member of a module."""
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            return None, ""
        module, text = self.outside.get(node.value.id), f"{node.value.id}.{node.attr}"
        if node.value.id in self.local or not isinstance(module, types.ModuleType):
            return None, ""
        pure = {np: NUMPY, math: MATH}.get(module, () if module.__name__.split(".")[0] != "vcpu_env" else dir(module))
        if node.attr not in pure:
            raise self.refuse(node, f"'{text}'", nearest(node.attr, pure) if pure else "allowed: math, numpy, vcpu_env")
        return getattr(module, node.attr), text

    def constant(self, node: ast.expr, name: str, value: Any) -> Any:
        """A value from outside the function, so that nothing can change it."""
        if isinstance(value, tuple):
            return tuple(self.constant(node, name, part) for part in value)
        if isinstance(value, np.ndarray) and value.dtype.kind in "iufb":
            frozen = value.astype(np.float64 if value.dtype.kind == "f" else np.int64)
            frozen.flags.writeable = False
            return frozen
        if isinstance(value, int | float | np.integer | np.floating | np.bool_):
            value = checked.plain(value)
            if isinstance(value, float) or checked.LEAST <= value <= checked.MOST:
                return float(value) if isinstance(value, float) else bool(value) if value is True else int(value)
        kind = type(value).__name__
        raise self.refuse(node, f"'{name}' is of type {kind}", "allowed: integers, floats, tuples and arrays of them")

    def on_call(self, node: ast.Call) -> ast.expr:
        arguments = [self.visit(argument) for argument in node.args]
        keywords = [ast.keyword(word.arg, self.visit(word.value)) for word in node.keywords if word.arg]
        if len(keywords) < len(node.keywords):
            raise self.refuse(node, "**", "allowed: arguments by name")
        callee, needs_view = self._callee(node)
        view = [ast.Name(VIEW, ast.Load())] if needs_view else []
        made = ast.Call(callee, [*view, *arguments], keywords)
        return ast.fix_missing_locations(ast.copy_location(made, node))

    def _callee(self, call: ast.Call) -> tuple[ast.expr, bool]:
        """What is called, and whether it is given the view."""
        node = call.func
        found, text = self.module_member(node)
        if not text and isinstance(node, ast.Attribute):
            if node.attr not in METHODS:
                raise self.refuse(node, f"method '{node.attr}'", nearest(node.attr, METHODS))
            return ast.copy_location(ast.Attribute(self.visit(node.value), node.attr, ast.Load()), node), False
        if not text and isinstance(node, ast.Name) and node.id not in self.local:
            text = node.id
            found = self.outside.get(text)
        if not text:
            raise self.refuse(node, f"it calls {ast.unparse(node)}", "allowed: functions by their names")
        name = text.replace(".", "__")
        callee = ast.copy_location(ast.Name(name, ast.Load()), node)
        if found is None and name in CONVERSIONS:
            self.names[name] = CONVERSIONS[name]
            return callee, False
        if found is None and name in BUILTINS:
            return callee, False
        function = getattr(found, "py_func", found)
        if found is mix64 or (isinstance(node, ast.Attribute) and self.outside[node.value.id] in (np, math)):  # type: ignore[attr-defined]
            self.names[name] = found
            return callee, False
        if inspect.isfunction(function):
            try:
                inspect.signature(function).bind(*call.args, **{str(word.arg): word for word in call.keywords})
            except TypeError as error:
                raise self.refuse(node, f"{text}(): {error}", f"allowed: {inspect.signature(function)}") from None
            self.names[name] = self.seal.called(function)
            return callee, True
        raise self.refuse(node, f"it calls '{text}'", nearest(text, [*BUILTINS, *CONVERSIONS, "functions like itself"]))
