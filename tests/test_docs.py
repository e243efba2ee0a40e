"""Pages that a command makes equal what the command prints now."""

import re

from typer.testing import CliRunner

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
