"""Draws docs/architecture.svg: the rooms of the package and the imports between them, as the sources have them now.

A room is a folder of ``vcpu_env/``, one of its doors (a file at its root), or a package beside it. It stands above
all that it imports; an arrow says that something in the upper room imports something in the lower one. Arrows that
follow from others (A imports B, B imports C: A, C) are left out of the drawing;
``python docs/make_architecture.py --all`` prints every one.
"""

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "architecture.svg"
PACKAGES = ("vcpu_env", "baselines", "agents", "experiments")

SAYS = {
    "base": "compiler, structs, time, randomness",
    "kernel": "Linux's scheduler and the series",
    "kvm": "PAUSE exits, candidates, halts",
    "guest": "what runs in the VMs",
    "policy": "rules for both decisions",
    "engine": "the running machine",
    "scenario": "what a user describes",
    "build": "from a scenario to a state",
    "counters": "what was counted",
    "machine": "the facade",
    "progress": "how far long work is",
    "precompile": "compile before use",
    "executors": "many runs",
    "trace": "recorded traces, again",
    "realism": "beside a real kernel",
    "fit": "programs from recordings",
    "libvirt": "hosts of libvirt",
    "validate": "held against reality",
    "envs": "Gymnasium",
    "nets": "networks inside the machine",
    "inspect": "what happened, and why",
    "bench": "how fast",
    "listed": "what there is, in a line each",
    "cli": "vcpu-env",
    "baselines": "evaluation, statistics, reports",
    "experiments": "studies",
    "agents": "training",
}
"""Every room, in one phrase."""

ASIDE = {"scenario": 1, "executors": 2}
"""Rooms that many floors look into: columns right of the middle."""

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 190, 44, 22, 46, 16

Arrows = dict[str, set[str]]
Point = tuple[float, float]


def room(module: str) -> str | None:
    """The room of a module; None: it is not ours, or the package itself, which only opens the doors."""
    package, _, rest = module.partition(".")
    if package not in PACKAGES:
        return None
    name = rest.partition(".")[0] if package == "vcpu_env" else package
    return None if name in ("", "__main__") else name


def imported(path: Path) -> Iterator[str]:
    """Modules that a file imports, anywhere in its text."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            if node.module == "vcpu_env":
                yield from (f"vcpu_env.{alias.name}" for alias in node.names if alias.name in SAYS)


def arrows() -> Arrows:
    """For every room those that it imports from."""
    found: Arrows = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            here = room(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
            if here:
                targets = {there for module in imported(path) if (there := room(module)) and there != here}
                found.setdefault(here, set()).update(targets)
    return found


def floors(graph: Arrows) -> list[list[str]]:
    """Rooms by height, the lowest first: each one step above the highest that it imports.

    Raises:
        ValueError: there is a circle.
    """
    height: dict[str, int] = {}
    waiting = dict(graph)
    while waiting:
        ready = [name for name, targets in waiting.items() if targets <= height.keys()]
        if not ready:
            raise ValueError(f"import graph: circle among {', '.join(sorted(waiting))} (allowed: none)")
        for name in ready:
            height[name] = 1 + max((height[target] for target in waiting.pop(name)), default=-1)
    return [sorted(name for name in height if height[name] == floor) for floor in range(1 + max(height.values()))]


def needed(graph: Arrows) -> list[tuple[str, str]]:
    """The arrows that do not follow from others."""

    def reached(name: str) -> set[str]:
        return graph[name].union(*(reached(target) for target in graph[name]))

    return [
        (name, target)
        for name in sorted(graph)
        for target in sorted(graph[name])
        if not any(target in reached(other) for other in graph[name] - {target})
    ]


def places(rows: list[list[str]]) -> dict[str, Point]:
    """The middle of each room's box; the ground is at the bottom, what stands aside in a column of its own."""
    at = {}
    for floor, row in enumerate(rows):
        y = (len(rows) - 1 - floor) * (HEIGHT + GAP_Y)
        stack = [name for name in row if name not in ASIDE]
        for i, name in enumerate(stack):
            at[name] = ((i - (len(stack) - 1) / 2) * (WIDTH + GAP_X), y)
        at |= {name: (ASIDE[name] * (WIDTH + GAP_X), y) for name in row if name in ASIDE}
    left, top = min(x for x, _ in at.values()) - WIDTH / 2 - MARGIN, -HEIGHT / 2 - MARGIN
    return {name: (x - left, y - top) for name, (x, y) in at.items()}


def arrow(start: Point, end: Point, boxes: Iterable[Point]) -> str:
    """From under one box to the top of another; past the boxes between, if it can, in the column of either end."""
    (x1, y1), (x2, y2) = (start[0], start[1] + HEIGHT / 2), (end[0], end[1] - HEIGHT / 2 - 5)
    between = [x for x, y in boxes if y1 < y < y2]
    lane = x1 if any(abs(x - x2) < WIDTH / 2 for x in between) else x2
    turn = y1 + GAP_Y - 10 if lane == x2 else y2 - GAP_Y + 10
    first = f"M{x1:g},{y1:g} C{x1:g},{y1 + 24:g} {lane:g},{turn - 24:g} {lane:g},{turn:g}"
    return f'<path d="{first} C{lane:g},{turn + 24:g} {x2:g},{y2 - 24:g} {x2:g},{y2:g}" marker-end="url(#tip)"/>'


def box(name: str, at: Point) -> str:
    """A room with its name and what it is for."""
    x, y = at
    corner = f'x="{x - WIDTH / 2:g}" y="{y - HEIGHT / 2:g}" width="{WIDTH}" height="{HEIGHT}" rx="6"'
    return (
        f'<rect {corner} fill="#eef3f8" stroke="#4a6785"/>'
        f'<text x="{x:g}" y="{y - 3:g}" font-size="13" font-weight="bold">{name}</text>'
        f'<text x="{x:g}" y="{y + 13:g}">{SAYS[name]}</text>'
    )


def drawing() -> str:
    """The picture as SVG."""
    graph = arrows()
    at = places(floors(graph))
    width = max(x for x, _ in at.values()) + WIDTH / 2 + MARGIN
    height = max(y for _, y in at.values()) + HEIGHT / 2 + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" font-family="sans-serif">',
        "<title>Rooms of the package and their imports; made by python docs/make_architecture.py</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="7" markerHeight="7" orient="auto">',
        '<path d="M0,0 L8,4 L0,8 z" fill="#8aa0b6"/></marker></defs>',
        f'<rect width="{width:g}" height="{height:g}" fill="#fff"/>',
        '<g fill="none" stroke="#8aa0b6" stroke-width="1.2">',
        *(arrow(at[name], at[target], at.values()) for name, target in needed(graph)),
        '</g><g font-size="10" text-anchor="middle">',
        *(box(name, at[name]) for name in SAYS if name in at),
        "</g></svg>",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the picture, or print every arrow."""
    if sys.argv[1:] == ["--all"]:
        for name, targets in arrows().items():
            print(f"{name:12} -> {', '.join(sorted(targets))}")
    elif sys.argv[1:]:
        sys.exit(f"error: arguments: value '{' '.join(sys.argv[1:])}' (allowed: --all, or none)")
    else:
        PICTURE.write_text(drawing())


if __name__ == "__main__":
    main()
