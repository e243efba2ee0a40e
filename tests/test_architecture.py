"""The drawing of the architecture is of today's imports; what the pages for contributors name is there."""

import ast
import re
import runpy
from pathlib import Path

import pytest

from tests.test_layers import LADDER, SOURCES, ours

ROOT = Path(__file__).parent.parent
DRAW = runpy.run_path(str(ROOT / "docs" / "make_architecture.py"))
PAGES = [ROOT / name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "GLOSSARY.md", "README.md", "CHANGELOG.md")]
LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")


def room(module):
    parts = module.split(".")
    return parts[1] if parts[0] == "vcpu_env" else parts[0]


def test_the_drawing_is_of_today():
    assert (ROOT / "docs" / "architecture.svg").read_text() == DRAW["drawing"](), "python docs/make_architecture.py"


def test_every_room_is_drawn():
    rooms = {room(name) for name in LADDER if name != "vcpu_env"} - {"__main__"}
    assert rooms == set(DRAW["SAYS"]) == set(DRAW["arrows"]())
    svg = (ROOT / "docs" / "architecture.svg").read_text()
    assert all(f">{name}</text>" in svg for name in rooms)


def test_arrows_are_those_of_the_ladder():
    """Found by another reading of the same imports."""
    expected = {name: set() for name in DRAW["SAYS"]}
    for module in set(SOURCES) - {"vcpu_env", "vcpu_env.__main__"}:
        expected[room(module)] |= {room(target) for target in ours(module)} - {room(module)}
    assert DRAW["arrows"]() == expected


def test_floors_rise():
    height = {name: i for i, row in enumerate(DRAW["floors"](DRAW["arrows"]())) for name in row}
    assert all(height[name] > height[target] for name, targets in DRAW["arrows"]().items() for target in targets)


def test_arrows_that_follow_from_others_are_left_out():
    assert DRAW["needed"]({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == [("a", "b"), ("b", "c")]


def test_a_circle_is_refused():
    with pytest.raises(ValueError, match="circle among a, b"):
        DRAW["floors"]({"a": {"b"}, "b": {"a"}})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links(page):
    for text, target in LINK.findall(page.read_text()):
        if not target.startswith(("http", "#")):
            assert (page.parent / target.partition("#")[0]).exists(), f"{text}: {target}"


@pytest.mark.parametrize("page", PAGES[:3], ids=lambda page: page.stem)
def test_linked_names_are_defined_in_the_linked_files(page):
    """[`name`](file.py) or [`name()`](file.py): the file defines it."""
    for text, target in LINK.findall(page.read_text()):
        if target.endswith(".py") and text.startswith("`") and not text.strip("`").endswith(".py"):
            tree = ast.parse((page.parent / target).read_text())
            names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
            names |= {
                node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            }
            assert text.strip("`").removesuffix("()").split(".")[-1] in names, f"{text}: {target}"
