"""Pages that a command makes equal what the command prints now."""

from typer.testing import CliRunner

from tests.helpers.paths import DOCS
from vcpu_env.cli import app
from vcpu_env.scenario import fields_page


def test_fields_page():
    printed = CliRunner().invoke(app, ["list", "fields"]).output
    assert (DOCS / "scenario-fields.md").read_text() == printed, "vcpu-env list fields > docs/scenario-fields.md"
    models = {model for _, model, _ in fields_page.TABLES}
    assert all(name in printed for model in models for name in model.model_fields)
    fields = {table + name for table, model, _ in fields_page.TABLES for name in model.model_fields}
    assert set(fields_page.ELSEWHERE) <= fields


def test_workloads_page():
    printed = CliRunner().invoke(app, ["list", "workloads", "--parameters"]).output
    assert (DOCS / "workloads.md").read_text() == printed, "vcpu-env list workloads --parameters > docs/workloads.md"
