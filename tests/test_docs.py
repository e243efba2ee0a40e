"""Pages that a command makes equal what the command prints now."""

from typer.testing import CliRunner

from tests.helpers.paths import DOCS
from vcpu_env.cli import app


def test_workloads_page():
    printed = CliRunner().invoke(app, ["list", "workloads", "--parameters"]).output
    assert (DOCS / "workloads.md").read_text() == printed, "vcpu-env list workloads --parameters > docs/workloads.md"
