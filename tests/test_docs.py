"""Pages that a command makes equal what the command prints now; the site has all of them."""

import re
import runpy
import shlex
import subprocess
import sys
from importlib import import_module

import pytest
import typer
from typer.exceptions import TyperException
from typer.testing import CliRunner

import vcpu_env
from tests.helpers.paths import DOCS
from vcpu_env.cli import app
from vcpu_env.scenario import fields_page, parse_scenario


def test_fields_page():
    printed = CliRunner().invoke(app, ["list", "fields"]).output
    assert (DOCS / "scenario-fields.md").read_text() == printed, "vcpu-env list fields > docs/scenario-fields.md"
    models = {model for _, model, _ in fields_page.TABLES}
    assert all(name in printed for model in models for name in model.model_fields)
    fields = {table + name for table, model, _ in fields_page.TABLES for name in model.model_fields}
    assert set(fields_page.ELSEWHERE) <= fields


def test_changes_of_the_tutorial():
    """They are a scenario's, with a host for them."""
    text = re.search(r"```toml\n(.*?)```", (DOCS / "overcommit.md").read_text(), re.DOTALL)[1]
    host = '[host]\ncpus = 8\n[[vms]]\nname = "db"\nvcpus = 2\nworkload = "dedup"\n'
    assert len(parse_scenario(host + text, "tutorial").changes) == 4


def test_workloads_page():
    printed = CliRunner().invoke(app, ["list", "workloads", "--parameters"]).output
    assert (DOCS / "workloads.md").read_text() == printed, "vcpu-env list workloads --parameters > docs/workloads.md"


def test_the_home_page_leads_to_every_page():
    home = (DOCS / "index.md").read_text()
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.rglob("*.md")} - {"index"}
    assert not {page for page in pages if f"\n{page}\n" not in home}, "add it to a toctree of docs/index.md"


def test_reference_has_every_public_name():
    reference = (DOCS / "reference.md").read_text()
    assert not {name for name in vcpu_env.PUBLIC if f":: {name}\n" not in reference}


@pytest.mark.slow
def test_commands_page():
    made = runpy.run_path(str(DOCS / "make_commands.py"))["page"]()
    assert (DOCS / "commands.md").read_text() == made, "python docs/make_commands.py"


@pytest.mark.slow
def test_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("sphinx")
    pytest.importorskip("myst_nb")
    build = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--quiet", "-c", "docs", ".", str(tmp_path)]
    made = subprocess.run(build, cwd=DOCS.parent, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert "docs/index.html" in (tmp_path / "index.html").read_text()


def test_pages_that_print_results_are_there():
    pages = runpy.run_path(str(DOCS / "pages.py"))
    for name, page in pages["PAGES"].items():
        assert all((DOCS.parent / file).exists() for file in page.files), name
    assert set(pages["record"]()) <= set(pages["PAGES"])


def test_a_page_that_is_none_is_refused_in_one_line():
    made = subprocess.run([sys.executable, DOCS / "pages.py", "make", "none"], capture_output=True, text=True)
    assert made.returncode == 2
    assert made.stderr.startswith("error: NAME: value 'none' (allowed: commands, ")


def commands_of(page):
    """Commands in a page's code blocks, one each; what follows ``#`` is for the reader."""
    text = page.read_text().replace("\\\n", " ")
    return re.findall(r"^    (vcpu-env [^#|>\n]+|python -m [^#|>\n]+)", text, re.MULTILINE)


def parsed(command):
    """Read a command's arguments as it would, and run nothing; of several commands, those of the named one."""
    words = shlex.split(command.replace("NAME-HASH", "name"))
    program = "vcpu-env" if words[0] == "vcpu-env" else " ".join(words[:3])
    module = import_module(runpy.run_path(str(DOCS / "make_commands.py"))["COMMANDS"][program])
    taken, words = typer.main.get_command(module.app), words[1 if program == "vcpu-env" else 3 :]
    while words and words[0] in getattr(taken, "commands", {}):
        taken, words = taken.commands[words[0]], words[1:]
    taken.make_context(program, words)


PAGES = ("README.md", "docs/why.md", "docs/overcommit.md", "docs/tutorials/rule.md", "docs/benchmark.md", "AGENTS.md")


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_pages_are_understood(page):
    found = commands_of(DOCS.parent / page)
    assert found
    for command in found:
        parsed(command)


def test_a_command_that_is_not_understood():
    with pytest.raises(TyperException, match="unexpected extra argument"):
        parsed("python -m baselines.evaluate --policy series-v2 vee21")
