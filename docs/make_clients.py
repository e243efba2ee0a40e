"""What libraries run the environments: ``python docs/make_clients.py [NAME]...`` runs the example of each.

Keeps version, steps a CPU second and lines of glue in docs/environments/clients.json; the table is put on the page by
``python docs/make_environment_tables.py``. Lines of glue are those that an example marks so: what one writes because of
this package, the line that makes the environment not counted where it says nothing else. What is not installed is left
out, and said.
"""

import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from vcpu_env.base.files import write_whole

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "docs" / "environments" / "clients.json"
RATE = re.compile(r"([\d,.]+) steps a CPU second")


@dataclass(frozen=True)
class Client:
    """A library.

    Attributes:
        distribution: its name at the package index.
        runs: what the example shows, in words.
        command: of the example, after the interpreter.
    """

    distribution: str
    runs: str
    command: tuple[str, ...]


CLIENTS = {
    "Gymnasium": Client("gymnasium", "the plain loop, masks in `info`", ("examples/random_agent.py",)),
    "Stable-Baselines3": Client("stable-baselines3", "PPO, SAC", ("examples/sb3.py", "ppo", "0.2")),
    "sb3-contrib": Client(
        "sb3-contrib", "MaskablePPO, QR-DQN, RecurrentPPO", ("examples/sb3.py", "maskable_ppo", "0.2")
    ),
    "CleanRL": Client("torch", "PPO in one file, in its structure", ("examples/cleanrl_style_ppo.py",)),
    "TorchRL": Client("torchrl", "`check_env_specs`, A2C with masks", ("examples/with_torchrl.py",)),
    "Tianshou": Client("tianshou", "DQN with masks", ("examples/with_tianshou.py",)),
    "SBX": Client("sbx-rl", "SAC", ("examples/with_sbx.py",)),
    "RLlib": Client("ray", "PPO with masks, new API stack", ("examples/with_rllib.py",)),
    "PettingZoo": Client("pettingzoo", "an agent for every VM", ("examples/tenants.py", "1")),
    "Minari": Client("minari", "recorded decisions, two learners", ("examples/offline.py",)),
}


def version_of(distribution: str) -> str | None:
    """What is installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def measured(client: Client) -> dict[str, Any]:
    """Version, steps a CPU second if the example prints them, seconds in all, lines of glue."""
    version = version_of(client.distribution)
    if version is None:
        return {"version": None}
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *client.command], cwd=ROOT, capture_output=True, text=True, check=True)
    rates = RATE.findall(done.stdout)
    text = (ROOT / client.command[0]).read_text("utf-8")
    return {
        "version": version,
        "steps_per_s": float(rates[-1].replace(",", "")) if rates else None,
        "seconds": round(time.perf_counter() - began),
        "glue": sum("# glue" in line for line in text.splitlines()),
    }


def main() -> None:
    """Measure the clients that are named, or all."""
    kept = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}
    for name in sys.argv[1:] or CLIENTS:
        if name not in CLIENTS:
            sys.exit(f"error: NAME: value '{name}' (allowed: {', '.join(CLIENTS)})")
        print(name, flush=True)
        client = CLIENTS[name]
        kept[name] = {"runs": client.runs, "command": " ".join(("python", *client.command)), **measured(client)}
        ordered = {each: kept[each] for each in CLIENTS if each in kept}
        write_whole(KEPT, (json.dumps(ordered, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
