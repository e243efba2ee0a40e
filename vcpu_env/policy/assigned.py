"""Whether a function sets its names before it uses them, on every way through it.

Python finds out when it gets there; compiled code would read a zero.
"""

import ast
from collections.abc import Sequence
from typing import Any

Names = frozenset[str]
UNREACHED: Any = None
"""In place of the names that are set: no way leads here."""


def joined(*ways: Names | None) -> Names | None:
    """What is set where ways come together."""
    reached = [way for way in ways if way is not None]
    return frozenset.intersection(*reached) if reached else UNREACHED


class Assigned:
    """Follows the ways through a function's body.

    Attributes:
        unset: the first use of one of its names that may be unset there; None if there is none.
    """

    def __init__(self, node: ast.FunctionDef):
        self.unset: ast.Name | None = None
        arguments = frozenset(argument.arg for argument in node.args.args)
        stores = (n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
        self._own = arguments | frozenset(stores)
        self._breaks: list[Names | None] = []
        self._block(node.body, arguments)

    def _block(self, body: Sequence[ast.stmt], names: Names | None) -> Names | None:
        for statement in body:
            if names is None:
                break
            names = self._statement(statement, names)
        return names

    def _statement(self, node: ast.stmt, names: Names) -> Names | None:
        if isinstance(node, ast.If):
            self._reads(node.test, names)
            return joined(self._block(node.body, names), self._block(node.orelse, names))
        if isinstance(node, ast.For | ast.While):
            return self._loop(node, names)
        if isinstance(node, ast.AugAssign):  # reads its target
            self._reads(ast.copy_location(ast.Name(ast.unparse(node.target), ast.Load()), node), names)
        self._reads(node, names)
        if isinstance(node, ast.Return | ast.Raise | ast.Continue):
            return UNREACHED
        if isinstance(node, ast.Break):
            self._breaks[-1] = joined(self._breaks[-1], names)
            return UNREACHED
        return names | stored(node)

    def _loop(self, node: Any, names: Names) -> Names | None:
        forever = isinstance(node, ast.While) and isinstance(node.test, ast.Constant) and bool(node.test.value)
        self._reads(node.iter if isinstance(node, ast.For) else node.test, names)
        self._breaks.append(UNREACHED)
        self._block(node.body, names | stored(node.target) if isinstance(node, ast.For) else names)
        broken = self._breaks.pop()
        return joined(broken, UNREACHED if forever else self._block(node.orelse, names))

    def _reads(self, node: ast.AST, names: Names) -> None:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load):
                if self.unset is None and inner.id in self._own - names:
                    self.unset = inner


def stored(node: ast.AST) -> Names:
    """The names that a statement sets."""
    return frozenset(n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
