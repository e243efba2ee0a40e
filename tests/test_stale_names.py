"""Modules and files that texts name in backticks are there."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = sorted(path.name for path in (ROOT / "vcpu_env").iterdir() if path.is_dir() and any(path.glob("*.py")))
PACKAGES = ("vcpu_env", "baselines", "agents", "experiments")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SOURCES = sorted(
    path for package in (*PACKAGES, "tests", "examples", "docs") for path in (ROOT / package).rglob("*.py")
)
MODULE = re.compile(rf"(?<!`)`((?:{'|'.join([*PACKAGES, *FOLDERS])})(?:\.(?!py`)\w+)+)`(?!`)")
FILE = re.compile(r"(?<!`)`((?:[a-z_0-9]+/)+[a-z_0-9]+\.(?:py|toml))`(?!`)")


@cache
def is_there(name: str) -> bool:
    """A module, or a name in one; names in the package may leave out ``vcpu_env``."""
    parts = (name if name.split(".")[0] in PACKAGES else f"vcpu_env.{name}").split(".")
    for length in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:length])
        if path.with_suffix(".py").exists():
            text, rest = path.with_suffix(".py").read_text(), parts[length:]
        elif path.is_dir():
            text, rest = (path / "__init__.py").read_text() if (path / "__init__.py").exists() else "", parts[length:]
        else:
            continue
        return all(re.search(rf"\b{word}\b", text) for word in rest)
    return False


def stale(text: str) -> list[str]:
    """What a text names and is not there."""
    files = (name for name in FILE.findall(text) if not (ROOT / name).exists())
    missing = [name for name in files if not (ROOT / "vcpu_env" / name).exists()]
    return missing + [name for name in MODULE.findall(text) if not is_there(name)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages(path):
    assert not stale(path.read_text())


def test_sources():
    texts = [path for path in SOURCES if path != Path(__file__)]
    found = {str(path.relative_to(ROOT)): names for path in texts if (names := stale(path.read_text()))}
    assert not found


def test_what_has_gone_is_found():
    assert stale("`policy.boost`, `vcpu_env.warm` and `kernel/timeline.py`") == [
        "kernel/timeline.py", "policy.boost", "vcpu_env.warm",
    ]  # fmt: skip
    assert not stale("`kernel.v6_19.fair.pick_task_fair` of `kernel/v6_19/fair.py`")
