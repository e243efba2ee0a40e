"""Pages that a command makes equal what the command prints now."""

from pathlib import Path

from typer.testing import CliRunner

from vcpu_env.cli import app

DOCS = Path(__file__).parent.parent / "docs"


def test_workloads_page():
    printed = CliRunner().invoke(app, ["list", "workloads", "--parameters"]).output
    assert (DOCS / "workloads.md").read_text() == printed, "vcpu-env list workloads --parameters > docs/workloads.md"
