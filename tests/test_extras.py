"""Every package that is imported is declared, and each extra brings what its modules import."""

import ast
import re
import subprocess
import sys
import tomllib
import venv
from importlib import metadata

import pytest

from tests.helpers.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
PACKAGES = ("vcpu_env", "baselines", "agents", "experiments")
WITH_NUMBA = {"llvmlite"}
WITH_JINJA2 = {"markupsafe"}
BY_HAND = {"simso"}  # compared with where it is there

USERS = {
    "agents": (
        "agents.train",
        "agents.evaluate",
        "agents.tune",
        "agents.tree",
        "agents.explain",
        "agents.imported",
        "agents.curves",
    ),
    "fit": ("vcpu_env.fit.command", "vcpu_env.fit.goodness"),
    "ray": ("vcpu_env.executors.ray",),
    "render": ("vcpu_env.envs.drawing.render",),
    "peers": ("vcpu_env.bench.peers", "envpool", "simpy"),
    "tenants": ("vcpu_env.envs.tenants",),
    "offline": ("minari",),
    "report": ("baselines.report.render", "baselines.report.figures", "baselines.power", "baselines.evaluate"),
    "study": ("experiments.calibration.effects", "experiments.sensitivity.sensitivity", "experiments.drawings"),
    "docs": ("sphinx", "furo", "myst_parser", "myst_nb"),
}
"""Modules that want an extra. `dev` is for those who change the project: its environment is that of the tests."""


def project_names(requirements):
    return {re.match(r"[\w.-]+", text)[0].lower().replace("_", "-") for text in requirements}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_what_is_imported_is_declared():
    """Of each top-level package from elsewhere: some project of `dependencies` or of an extra has it."""
    declared = project_names(PROJECT["dependencies"]).union(*map(project_names, EXTRAS.values()))
    names = {name for package in PACKAGES for path in (ROOT / package).rglob("*.py") for name in imported(path)}
    names -= {*sys.stdlib_module_names, *PACKAGES, *WITH_NUMBA, *WITH_JINJA2, *BY_HAND}
    projects = metadata.packages_distributions()
    unknown = {name for name in names if not project_names(projects.get(name, [name])) & declared}
    assert not unknown


def test_every_extra_has_users():
    assert set(USERS) | {"dev"} == set(EXTRAS)


@pytest.mark.slow
@pytest.mark.parametrize("extra", USERS)
def test_an_extra_alone_is_enough(extra, tmp_path):
    """In an environment of its own, away from this checkout; needs a package index."""
    venv.create(tmp_path / "venv", with_pip=True, symlinks=True)
    python = tmp_path / "venv/bin/python"
    install = [python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", f"{ROOT}[{extra}]"]
    subprocess.run(install, check=True, cwd=tmp_path, timeout=1800)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")  # not in the wheel
    modules = ", ".join(USERS[extra])
    subprocess.run([python, "-c", f"import {modules}"], check=True, cwd=tmp_path, timeout=300)
