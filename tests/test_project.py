"""What the project says about itself in several files agrees."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

import vcpu_env

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


@pytest.mark.parametrize("extra", ["dependencies", "dev", "agents"])
def test_the_development_environment_is_pinned(extra):
    requirements = pytest.importorskip("packaging.requirements")
    wanted = PROJECT["dependencies"] if extra == "dependencies" else PROJECT["optional-dependencies"][extra]
    pinned = {normal(name): version for name, version in pins().items()}
    for requirement in map(requirements.Requirement, wanted):
        assert requirement.specifier.contains(pinned[normal(requirement.name)]), requirement


def test_pythons():
    """Classifiers, the bounds, the matrix and the check of `make` name the same versions."""
    versions = [text.rpartition(" ")[2] for text in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", text)]
    minors = [int(version.partition(".")[2]) for version in versions]
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert PROJECT["requires-python"] == f">=3.{minors[0]},<3.{minors[-1] + 1}"
    makefile = (ROOT / "Makefile").read_text()
    assert "PYTHONS ?= " + " ".join(f"python{version}" for version in versions) in makefile
    assert f"(3, {minors[0]}) <= sys.version_info[:2] <= (3, {minors[-1]})" in makefile


def test_citation():
    text = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {vcpu_env.__version__}\n" in text
    assert f"\nlicense: {PROJECT['license']}\n" in text
    assert f'- name: "{PROJECT["authors"][0]["name"]}"' in text and PROJECT["authors"][0]["name"] in (
        (ROOT / "LICENSE").read_text()
    )


def test_hooks_are_what_make_test_runs():
    yaml = pytest.importorskip("yaml")
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    tools = {tuple(hook["entry"].split()[:2]) for hook in repository["hooks"]}
    makefile = (ROOT / "Makefile").read_text()
    assert repository["repo"] == "local"
    assert tools == {(".venv/bin/ruff", "format"), (".venv/bin/ruff", "check"), (".venv/bin/mypy", ".")}
    assert all(" ".join(tool).replace(".venv/bin", "$(BIN)") in makefile for tool in tools)


def test_types_are_shipped():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["vcpu_env"]
    assert "py.typed" in data and (ROOT / "vcpu_env" / "py.typed").exists()


def zips(path):
    """The calls of zip() in a file."""
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    return [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "zip"]


def test_zip_drops_nothing():
    """Lists of unequal length are an error: everywhere `strict=True`, which the linter's B905 alone does not say.

    Only comparisons of two traces go on to the end of the shorter one: they find the first difference.
    """
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert "B" in lint["select"] and not any(rule.startswith("B905") for rule in lint["ignore"])
    unequal = {"replay_kvm.py", "sched_compare.py"}
    found = 0
    for folder in ("vcpu_env", "baselines", "agents", "experiments", "examples", "docs"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for call in zips(path):
                strict = [word.value for word in call.keywords if word.arg == "strict"]
                assert len(strict) == 1 and isinstance(strict[0], ast.Constant), f"{path}:{call.lineno}"
                assert strict[0].value is True or path.name in unequal, f"{path}:{call.lineno}"
                found += 1
    assert found > 100


def test_the_container_runs_what_there_is():
    text = (ROOT / "Containerfile").read_text()
    (python,) = re.findall(r"^FROM .*/python:([\d.]+)-slim$", text, re.M)
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]
    makefile = (ROOT / "Makefile").read_text().replace("$(VENV)", ".venv")
    targets = re.findall(r'^RUN make (\S+)$|^CMD \["make", "(\S+)"\]$', text, re.M)
    assert len(targets) == 2
    for target in map("".join, targets):
        assert re.search(rf"^{re.escape(target)}:", makefile, re.M), target
    assert set((ROOT / ".dockerignore").read_text().split("\n")) >= {".git", ".venv*", "results", "build"}


MODULES = sorted(
    path
    for folder in ("vcpu_env", "agents", "baselines", "experiments", "docs", "examples", "tests")
    for path in (ROOT / folder).rglob("*.py")
)


def test_nothing_is_too_long_to_read():
    """A file has at most 400 lines, a function 60."""
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in MODULES}
    long = {name: lines for name, text in texts.items() if (lines := text.count("\n")) > 400}
    for name, text in texts.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and (lines := node.end_lineno - node.lineno + 1) > 60:
                long[f"{name}: {node.name}"] = lines
    assert not long
