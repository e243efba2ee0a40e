"""Imports point one way: a module may import modules of its own rank or below, never above."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("vcpu_env", "baselines", "agents")

# Low to high. A module has the rank of its longest listed prefix.
LAYERS = [
    ["vcpu_env._jit", "vcpu_env.world"],
    ["vcpu_env.scenario"],
    ["vcpu_env.kernel"],  # EEVDF knows no policy
    ["vcpu_env.policy"],  # a rule is a function over EEVDF's and KVM's state
    ["vcpu_env.kernel.core"],  # yield_to() calls the chosen rule
    ["vcpu_env.kvm"],
    ["vcpu_env.guest"],
    ["vcpu_env.engine"],
    ["vcpu_env.machine"],
    ["vcpu_env.trace"],
    ["vcpu_env.envs"],
    ["vcpu_env", "vcpu_env.cli"],
    ["baselines"],
    ["agents"],
]
RANK = {prefix: rank for rank, layer in enumerate(LAYERS) for prefix in layer}
TOP_LEVEL = {"vcpu_env"}  # prefixes that stand for that one module, not for what is below it

MACHINE_RANK = RANK["vcpu_env.machine"]
EDGE_LIBRARIES = {"gymnasium", "pydantic", "rich", "typer"}
CORE_RANKS = range(RANK["vcpu_env.kernel"], RANK["vcpu_env.engine"] + 1)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def rank(module: str) -> int | None:
    """The rank of a module's longest listed prefix; None if no prefix lists it."""
    if module in RANK:
        return RANK[module]
    prefix = module
    while "." in prefix:
        prefix = prefix.rpartition(".")[0]
        if prefix in RANK and prefix not in TOP_LEVEL:
            return RANK[prefix]
    return None


def imports(module: str, path: Path):
    """Modules that `module` imports anywhere in its text, also inside functions."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join(parents + ([base] if base else []))
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield name if name in SOURCES else base


@pytest.mark.parametrize("module", SOURCES)
def test_imports_point_down(module):
    assert rank(module) is not None, f"{module} has no place in LAYERS"
    for target in imports(module, SOURCES[module]):
        if target in TOP_LEVEL or target.split(".")[0] not in PACKAGES:
            continue
        assert rank(target) is not None, f"{module} imports {target}, which has no place in LAYERS"
        assert rank(target) <= rank(module), f"{module} imports {target}, which lies above it"


@pytest.mark.parametrize("module", SOURCES)
def test_compiled_core_needs_no_edge_library(module):
    """Nothing below machine imports what belongs to the edge; of these, scenario alone validates (pydantic)."""
    if module == "vcpu_env" or rank(module) >= MACHINE_RANK:
        return
    allowed = {"pydantic"} if rank(module) == RANK["vcpu_env.scenario"] else set()
    found = {target.split(".")[0] for target in imports(module, SOURCES[module])} & EDGE_LIBRARIES
    assert found <= allowed


@pytest.mark.parametrize("module", SOURCES)
def test_scenario_is_data(module):
    """A scenario is a description: the core does not read it (machine does), and it does not know the core."""
    targets = [rank(target) for target in imports(module, SOURCES[module]) if rank(target) is not None]
    if rank(module) in CORE_RANKS:
        assert RANK["vcpu_env.scenario"] not in targets
    if module.startswith("vcpu_env.scenario"):
        assert not [target for target in targets if target in CORE_RANKS]


def test_no_unfinished_marks():
    marks = re.compile("TO" + "DO|FIX" + "ME|XX" + "X")
    found = []
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        if parts[0].startswith(".") and parts[0] != ".ci" or "__pycache__" in parts or parts[0] in ("build", "results"):
            continue
        if path.suffix in (".py", ".toml", ".md", ".yml", ".yaml", ".txt", "") and path.is_file():
            found += [f"{path}:{n}" for n, line in enumerate(path.read_text().splitlines(), 1) if marks.search(line)]
    assert not found
