"""The stable names of the package: there, described, loaded late; the examples in their docstrings; what has moved."""

import ast
import doctest
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import vcpu_env

ROOT = Path(__file__).parent.parent
TEXTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.*")), *sorted(ROOT.glob("examples/*.py"))]
WITH_EXAMPLES = [
    "vcpu_env", "vcpu_env.machine", "vcpu_env.counters", "vcpu_env.scenario.load", "vcpu_env.policy.named",
]  # fmt: skip


def run(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", vcpu_env.PUBLIC)
def test_name(name):
    if name == "make_sb3":
        pytest.importorskip("stable_baselines3")
    value = getattr(vcpu_env, name)
    assert value is getattr(import_module(vcpu_env.PUBLIC[name]), name)
    assert name in dir(vcpu_env)
    assert name == "POLICIES" or inspect.getdoc(value)


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(vcpu_env.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    assert {node.names[0].asname: node.module for node in block.body} == vcpu_env.PUBLIC


def test_no_other_name():
    with pytest.raises(AttributeError, match="'measured'.*measure"):
        vcpu_env.measured  # noqa: B018


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples(module):
    failed, tried = doctest.testmod(import_module(module))
    assert tried and not failed


def test_importing_is_light():
    """Only what an import or a list of scenarios needs is loaded: no compiler."""
    code = (
        "import sys, vcpu_env; heavy = {'numba', 'pydantic', 'pyarrow', 'torch'} & set(sys.modules)\n"
        "vcpu_env.load_scenario('dedup-2vm'); import gymnasium\n"
        "print(heavy, 'numba' in sys.modules, sum(name.startswith('vcpu_env/') for name in gymnasium.registry))"
    )
    assert run("-c", code).stdout == "set() False 10\n"  # six, four of them leniently, too


def test_texts_import_public_names_from_the_package():
    deep = [
        f"{path.name}: {line}"
        for path in TEXTS
        if path.suffix in (".md", ".py")
        for line in path.read_text().splitlines()
        if line.strip().startswith("from vcpu_env.")
        if {word.strip(" ,()") for word in line.partition(" import ")[2].split()} & vcpu_env.PUBLIC.keys()
    ]
    assert not deep


@pytest.mark.parametrize("module", ["vcpu_env.envs.bench", "vcpu_env.bench"])
def test_what_has_moved_says_so(module):
    ran = run("-m", module)
    assert ran.returncode == 2 and not ran.stdout
    assert ran.stderr.startswith(f"error: {module}: ") and "python -m vcpu_env.bench.envs" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_rules_get_boosts_from_the_policy_package():
    from vcpu_env import policy
    from vcpu_env.kernel import yield_types

    boosts = {name: value for name, value in vars(yield_types).items() if name.startswith("BOOST_")}
    assert {name: getattr(policy, name) for name in policy.__all__} == boosts
