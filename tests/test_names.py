"""Ids and references of the machine's functions are told apart by their names (ARCHITECTURE.md, the rules)."""

import ast

import pytest

from tests.helpers.paths import ROOT
from vcpu_env.base.header import STRUCTS

IDS = {"v", "p", "q", "t", "h", "cpu", "tg", "se_id", "sd_id", "vm_id", "lock", "me"}
REFERENCES = {"se", "cfs", "rq", "sd", "vcpu", "vm", "task", "pc", "th", "lk"}
ACCESSORS = {*STRUCTS, "cpu_rq"}
ROOMS = ("kernel", "kvm", "guest", "policy", "engine", "envs/compiled", "trace", "nets")
FILES = [path for room in ROOMS for path in sorted((ROOT / "vcpu_env" / room).rglob("*.py"))]


def accesses(tree):
    """Calls of accessors with an index: ``sched_entity(w, se_id)``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ACCESSORS:
            if len(node.args) == 2:
                yield node


def assignments(tree):
    """(name, value) of each assignment, also of several in one statement."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
            several = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
            pairs = zip(target.elts, value.elts, strict=True) if several else [(target, value)]
            yield from ((name.id, given) for name, given in pairs if isinstance(name, ast.Name))


def test_the_accessors_are_found():
    assert sum(len(list(accesses(ast.parse(path.read_text())))) for path in FILES) > 1000


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_an_id_is_no_reference(path):
    tree = ast.parse(path.read_text())
    indices = {call.args[1].id for call in accesses(tree) if isinstance(call.args[1], ast.Name)}
    assert not indices & REFERENCES
    calls = set(map(ast.dump, accesses(tree)))
    assert not {name for name, value in assignments(tree) if ast.dump(value) in calls} & IDS
