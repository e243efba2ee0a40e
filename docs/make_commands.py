"""Write docs/commands.md: every command with its arguments and options, by typer's own generator.

python docs/make_commands.py
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "commands.md"
COMMANDS = {
    "vcpu-env": "vcpu_env.cli",
    "python -m baselines.evaluate": "baselines.evaluate",
    "python -m baselines.score": "baselines.score",
    "python -m baselines.hidden": "baselines.hidden",
    "python -m baselines.leaderboard": "baselines.leaderboard",
    "python -m baselines.overcommit": "baselines.overcommit.__main__",
    "python -m baselines.fleet": "baselines.fleet.__main__",
    "python -m baselines.report": "baselines.report.__main__",
    "python -m vcpu_env.bench": "vcpu_env.bench.__main__",
    "python -m agents.train": "agents.train",
    "python -m agents.dataset": "agents.dataset",
    "python -m agents.evaluate": "agents.evaluate",
    "python -m agents.explain": "agents.explain",
    "python -m agents.export": "agents.export",
    "python -m agents.import": "agents.imported",
    "python -m agents.tune": "agents.tune",
    "python -m agents.publish": "agents.publish",
    "python -m agents.reference": "agents.reference",
    "python -m experiments": "experiments.__main__",
    "python -m experiments.calibration": "experiments.calibration.__main__",
}
"""How each command is called, and the module that its typer application lies in."""

HEAD = """# Commands

Every command, its arguments and options, made from the commands themselves by `python docs/make_commands.py`. A wrong
value ends a command with exit code 2 and one line that names the field, the value and what is allowed.

"""


def page() -> str:
    """The page's text."""
    return HEAD + "\n".join(section(name, module) for name, module in COMMANDS.items())


def section(name: str, module: str) -> str:
    """One command in Markdown, its headings one level down."""
    generator = [sys.executable, "-m", "typer", module, "utils", "docs", "--name", name]
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)}
    text = subprocess.run(generator, check=True, capture_output=True, text=True, env=environment, cwd=ROOT).stdout
    text = text.replace(f"{ROOT}/", "")  # defaults that lie in the checkout
    return "".join(f"#{line}" if line.startswith("#") else line for line in text.splitlines(keepends=True))


if __name__ == "__main__":
    PAGE.write_text(page())
