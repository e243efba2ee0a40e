"""The pages of the environments: tables equal the code, headings are complete, links and examples work."""

import importlib.util
import re

import pytest

from tests.helpers.paths import DOCS
from vcpu_env.base.jit import JIT
from vcpu_env.envs import host_env
from vcpu_env.envs.register import IDS

PAGES = sorted((DOCS / "environments").glob("*.md"))
SPEC = importlib.util.spec_from_file_location("make_environment_tables", DOCS / "make_environment_tables.py")
tables = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tables)

HEADINGS = [
    "Description", "Action Space", "Observation Space", "Rewards", "Reference Returns", "Starting State",
    "Episode End", "Arguments", "Info", "Vectorized environment", "Version History", "References",
]  # fmt: skip
OF_CLASS = ["Action Space", "Observation Space", "Rewards", "Starting State", "Episode End", "Arguments"]


def headings(text):
    return re.findall(r"^ *## (.*)$", text, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tables_are_up_to_date(page):
    assert tables.filled(page, tables.BLOCKS) == page.read_text(), "python docs/make_environment_tables.py"


def test_every_table_is_on_some_page():
    used = {name for page in PAGES for _, name, _ in tables.BLOCK.findall(page.read_text())}
    assert used == {*tables.BLOCKS, "rates"}


@pytest.mark.parametrize("name", IDS)
def test_page_of_an_environment(name):
    text = (DOCS / "environments" / tables.page_name(name)).read_text()
    assert text.startswith(f"# {name}\n")
    assert headings(text) == HEADINGS
    assert f"`{name}VectorEnv`" in text


@pytest.mark.parametrize("name", IDS)
def test_docstring_of_an_environment(name):
    doc = getattr(host_env, f"{name}Env").__doc__
    assert headings(doc) == OF_CLASS
    assert f"docs/environments/{tables.page_name(name)}" in doc


def anchor(heading):
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        file, _, section = target.partition("#")
        linked = page.parent / file if file else page
        assert linked.exists(), target
        if section:
            found = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            assert section in map(anchor, found), target


@pytest.mark.skipif(not JIT, reason="whole episodes")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_on_the_pages_runs(page):
    for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        exec(compile("import gymnasium\nimport vcpu_env\n" + code, page.name, "exec"), {})


@pytest.mark.slow
def test_rates():
    row = "| " + " | ".join(tables.rates_row("vips-2vm")) + " |"
    assert row in (DOCS / "environments" / "README.md").read_text(), "python docs/make_environment_tables.py --rates"
