"""The ladder: a folder (or a door) may import those before it, never one after it."""

import ast
import re
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

LADDER = [
    "vcpu_env.base",  # compiled functions, structs, the timeline, random streams, errors; no kernel
    "vcpu_env.kernel",  # Linux's scheduler, with the series' functions where the series put them
    "vcpu_env.kvm",  # PAUSE exits, the choice of a candidate, halt polling, APICs
    "vcpu_env.guest",  # what runs in the VMs
    "vcpu_env.policy",  # the rules of both decisions: the series, rivals, oracles
    "vcpu_env.engine",  # the running machine
    "vcpu_env.scenario",  # what a user describes, as data
    "vcpu_env.build",  # from a scenario to a machine's state
    "vcpu_env.counters",
    "vcpu_env.machine",  # the facade
    "vcpu_env.progress",
    "vcpu_env.precompile",
    "vcpu_env.executors",  # processes and clusters that run many
    "vcpu_env.trace",  # recorded traces, played again
    "vcpu_env.realism",  # beside a real kernel
    "vcpu_env.fit",  # programs from recordings
    "vcpu_env.libvirt",  # hosts as libvirt describes them
    "vcpu_env.validate",  # all of it held against reality
    "vcpu_env.envs",  # Gymnasium
    "vcpu_env.nets",  # networks that decide within the machine
    "vcpu_env.inspect",  # what happened in a run, and why
    "vcpu_env.bench",  # how fast
    "vcpu_env.listed",  # what there is, in a line each
    "vcpu_env.cli",
    "vcpu_env",  # the package registers its environments
    "vcpu_env.__main__",
    "baselines",
    "experiments",
    "agents",
]
PACKAGES = ("vcpu_env", "baselines", "agents", "experiments")
FLOOR = {name: floor for floor, name in enumerate(LADDER)}
DOORS = {"__init__", "__main__", "cli", "counters", "machine", "precompile", "progress"}
EDGE_LIBRARIES = {"gymnasium", "pydantic", "rich", "typer"}
SCENARIO = "vcpu_env.scenario"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def floor(module: str) -> int:
    """How high a module stands: by its folder, or by itself where it is a door."""
    parts = module.split(".")
    return FLOOR[".".join(parts[:2] if parts[0] == "vcpu_env" else parts[:1])]


def imports(module: str):
    """Modules of ours and others that a module imports anywhere in its text, also inside functions."""
    for node in ast.walk(ast.parse(SOURCES[module].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            base = node.module or ""
            for alias in node.names:
                yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in SOURCES else base


def ours(module: str) -> set[str]:
    return {target for target in imports(module) if target.split(".")[0] in PACKAGES} - {"vcpu_env"}


@pytest.mark.parametrize("module", SOURCES)
def test_imports_go_down(module):
    climbs = {target for target in ours(module) if floor(target) > floor(module)}
    assert not climbs, f"{module} imports what stands above it: {climbs}"


def test_no_circle_of_modules():
    """Within a folder, too, modules can be read in an order."""
    waiting = {module: {t for t in ours(module) if t in SOURCES and t != module} for module in SOURCES}
    while free := [module for module, targets in waiting.items() if not targets & waiting.keys()]:
        for module in free:
            del waiting[module]
    assert not waiting, f"circles among {sorted(waiting)}"


def test_the_root_holds_only_doors():
    assert {path.stem for path in (ROOT / "vcpu_env").glob("*.py")} == DOORS


BELOW_MACHINE = [module for module in SOURCES if floor(module) < FLOOR["vcpu_env.machine"]]


@pytest.mark.parametrize("module", BELOW_MACHINE)
def test_below_the_machine_no_edge_library(module):
    """What belongs to the edge stays there; of what lies below, scenario alone validates (pydantic)."""
    found = {target.split(".")[0] for target in imports(module)} & EDGE_LIBRARIES
    assert found <= ({"pydantic"} if module.startswith(SCENARIO) else set())


@pytest.mark.parametrize("module", BELOW_MACHINE)
def test_scenario_is_data(module):
    """A scenario is a description: only what builds machines reads it; of the core it knows constants and errors."""
    targets = {target for target in ours(module) if target.startswith("vcpu_env.")}
    if module.startswith(SCENARIO):
        others = {target for target in targets if not target.startswith(SCENARIO)}
        assert others <= {"vcpu_env.kernel.features", "vcpu_env.base.errors"}
    elif floor(module) < FLOOR["vcpu_env.build"]:
        assert not any(target.startswith(SCENARIO) for target in targets)


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
