"""Imports point one way: a module may import modules of its own rank or below, never above."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("vcpu_env", "baselines", "agents", "experiments")

# Low to high. A module has the rank of its longest listed prefix; the kernel's modules are listed one by one.
LAYERS = [
    ["vcpu_env.base"],
    ["vcpu_env.kernel.domain_types"],
    ["vcpu_env.kernel.types", "vcpu_env.kernel.weights"],
    ["vcpu_env.scenario"],
    [
        "vcpu_env.kernel.rbtree",
        "vcpu_env.kernel.bandwidth",
        "vcpu_env.kernel.sched_trace",
        "vcpu_env.kernel.clock",
        "vcpu_env.kernel.cfs_tasks",
        "vcpu_env.kernel.pelt",
        "vcpu_env.kernel.util_est",
    ],
    ["vcpu_env.kernel.shares"],
    ["vcpu_env.kernel.load_avg"],
    ["vcpu_env.kernel.entity"],
    ["vcpu_env.kernel.group"],
    ["vcpu_env.kernel.queue"],
    ["vcpu_env.kernel.fair"],  # EEVDF knows no policy
    ["vcpu_env.kernel.group_stats"],
    ["vcpu_env.kernel.runqueue", "vcpu_env.kernel.select_idlest"],
    ["vcpu_env.kernel.select_cpu", "vcpu_env.kernel.find_busiest"],
    ["vcpu_env.kernel.balance", "vcpu_env.kernel.throttle", "vcpu_env.kernel.sched_change"],
    [
        "vcpu_env.kernel.balance_trigger",
        "vcpu_env.kernel.nohz",
        "vcpu_env.kernel.ttwu",
        "vcpu_env.kernel.topology",
        "vcpu_env.kernel.cgroup",
        "vcpu_env.kernel.exit",
        "vcpu_env.kernel.affinity",
    ],
    ["vcpu_env.kernel.build"],
    ["vcpu_env.policy"],  # a rule is a function over EEVDF's state
    ["vcpu_env.kernel", "vcpu_env.kernel.core", "vcpu_env.kernel.entry_points"],  # yield_to() calls the chosen rule
    ["vcpu_env.kernel.bench_ticks"],
    ["vcpu_env.kvm"],
    ["vcpu_env.policy.view"],  # what a rule sees of kernel and KVM
    [
        "vcpu_env.guest",
        "vcpu_env.policy.network",  # a network as a policy: it draws from the guests' random streams
        "vcpu_env.policy.packing",
        "vcpu_env.policy.weights",
        "vcpu_env.policy.sb3",
    ],
    ["vcpu_env.host.types", "vcpu_env.host.program"],  # what host tasks do, as data
    ["vcpu_env.engine_state"],
    ["vcpu_env.coscheduling", "vcpu_env.smt", "vcpu_env.caches", "vcpu_env.alignment"],
    [
        "vcpu_env.policy.policy",
        "vcpu_env.policy.series",
        "vcpu_env.policy.rivals",
        "vcpu_env.policy.distilled",
        "vcpu_env.policy.oracles",
    ],
    ["vcpu_env.policy.named"],  # the rules and switches of both decision points by name
    ["vcpu_env.vcpu_run"],
    ["vcpu_env.host"],  # tasks that are no vCPUs
    ["vcpu_env.directed_yield", "vcpu_env.vm_life"],
    ["vcpu_env.engine"],
    ["vcpu_env.search"],
    ["vcpu_env.build_cgroups", "vcpu_env.build_host_tasks"],
    ["vcpu_env.build"],
    ["vcpu_env.machine"],
    [
        "vcpu_env.sched_trace",
        "vcpu_env.fit",
        "vcpu_env.trace",
        "vcpu_env.measure",
        "vcpu_env.calibration",
        "vcpu_env.bench",
        "vcpu_env.warm",
        "vcpu_env.executor",
        "vcpu_env.executor_ray",
    ],
    ["vcpu_env.realism"],  # beside a real kernel
    ["vcpu_env.validate"],
    ["vcpu_env.envs"],
    ["vcpu_env", "vcpu_env.cli", "vcpu_env.__main__"],
    ["baselines"],
    ["experiments"],
    ["agents"],
]
RANK = {prefix: rank for rank, layer in enumerate(LAYERS) for prefix in layer}
SINGLE = {"vcpu_env", "vcpu_env.kernel"}  # these stand for that one module, not for what is below it

MACHINE_RANK = RANK["vcpu_env.machine"]
EDGE_LIBRARIES = {"gymnasium", "pydantic", "rich", "typer"}
SCENARIO = "vcpu_env.scenario"


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
        if prefix in RANK and prefix not in SINGLE:
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
        if target == "vcpu_env" or target.split(".")[0] not in PACKAGES:
            continue
        assert rank(target) is not None, f"{module} imports {target}, which has no place in LAYERS"
        assert rank(target) <= rank(module), f"{module} imports {target}, which lies above it"


def below_machine(module: str) -> bool:
    return rank(module) is not None and rank(module) < MACHINE_RANK


BELOW_MACHINE = [module for module in SOURCES if below_machine(module)]


@pytest.mark.parametrize("module", BELOW_MACHINE)
def test_below_the_machine_no_edge_library(module):
    """What belongs to the edge stays there; of what lies below, scenario alone validates (pydantic)."""
    found = {target.split(".")[0] for target in imports(module, SOURCES[module])} & EDGE_LIBRARIES
    assert found <= ({"pydantic"} if module.startswith(SCENARIO) else set())


@pytest.mark.parametrize("module", BELOW_MACHINE)
def test_scenario_is_data(module):
    """A scenario is a description: only what builds machines reads it; of the core it knows constants only."""
    targets = [target for target in imports(module, SOURCES[module]) if target.startswith("vcpu_env.")]
    if module.startswith(SCENARIO):
        assert all(target.startswith(SCENARIO) or target == "vcpu_env.kernel.types" for target in targets)
    elif not module.startswith("vcpu_env.build"):
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
