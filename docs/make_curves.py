"""Learning curves of the examples that learn: ``python docs/make_curves.py [NAME]...``

Runs each example, one process after the other, half a minute to a minute each, and keeps what it prints in
docs/environments/curves.json: the gain over the rule on episodes that it has not learned on, with its standard error.
Then draws a picture for each environment, docs/environments/curves/NAME.svg. The tables are put on the pages by
``python docs/make_environment_tables.py``. Seconds are CPU seconds of one thread, without what evaluating takes.
Needs the extra ``agents``.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib.figure import Figure

from vcpu_env.base.files import write_whole
from vcpu_env.envs.register import IDS, id_of

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "docs" / "environments" / "curves.json"
PICTURES = ROOT / "docs" / "environments" / "curves"
LINE = re.compile(r"(\d+) s, ([\d,]+) decisions: ([+-][\d.]+) over the rule, standard error ([\d.]+), (\d+) episodes")

LEARNERS = {
    "REINFORCE": ("CandidateChoice", ("examples/reinforce.py",)),
    "MaskablePPO": ("CandidateChoice", ("examples/sb3.py", "maskable_ppo")),
    "QR-DQN": ("CandidateChoice", ("examples/sb3.py", "qr_dqn")),
    "RecurrentPPO": ("CandidateChoice", ("examples/sb3.py", "recurrent_ppo")),
    "SAC": ("PenaltyScale", ("examples/sb3.py", "sac")),
    "PPO": ("PenaltyScale", ("examples/sb3.py", "ppo")),
    **{
        f"cross-entropy, {name}": (name, ("examples/cross_entropy.py", name))
        for name in ("DirectedYield", "PenaltyScale", "JointYield", "WideYield", "HostTuner")
    },
}
"""The environment of each learner, and its command."""


def points_in(text: str) -> list[dict[str, Any]]:
    """The lines of an example that say what it gains."""
    return [
        {
            "seconds": int(seconds),
            "decisions": int(decisions.replace(",", "")),
            "gain": float(gain),
            "error": float(error),
            "episodes": int(episodes),
        }
        for seconds, decisions, gain, error, episodes in LINE.findall(text)
    ]


def run(name: str) -> dict[str, Any]:
    """What a learner prints, as it is kept.

    Raises:
        RuntimeError: it prints no gain.
    """
    environment, command = LEARNERS[name]
    one_thread = os.environ | {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=one_thread, capture_output=True, text=True, check=True
    )
    points = points_in(done.stdout)
    if not points:
        raise RuntimeError(f"{name}: no gain in what {' '.join(command)} prints")
    return {"environment": id_of(environment), "command": " ".join(("python", *command)), "points": points}


def draw(environment: str, curves: dict[str, Any], path: Path) -> None:
    """A line a learner: its gain over the rule, two standard errors to either side."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(0, color="0.6", linewidth=1)
    for i, (name, curve) in enumerate(curves.items()):
        seconds = [point["seconds"] for point in curve["points"]]
        gains = [point["gain"] for point in curve["points"]]
        errors = [2 * point["error"] for point in curve["points"]]
        axes.errorbar(seconds, gains, errors, fmt=".-", color=f"C{i}", linewidth=1, capsize=2, label=name)
    axes.set_title(environment, fontsize=10)
    axes.set_xlabel("CPU seconds of learning, one thread")
    axes.set_ylabel("gain over the rule, ms a CPU")
    axes.legend(fontsize=8)
    with matplotlib.rc_context({"svg.hashsalt": environment}):
        figure.savefig(path, metadata={"Date": None})


def kept() -> dict[str, Any]:
    """The curves of before."""
    return json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}


def draw_all() -> None:
    """A picture for every environment that has a curve."""
    PICTURES.mkdir(exist_ok=True)
    for name in IDS:
        curves = {each: curve for each, curve in kept().items() if curve["environment"] == id_of(name)}
        if curves:
            draw(id_of(name), curves, PICTURES / f"{name}.svg")


def main() -> None:
    """Run the learners that are named, or all."""
    for name in sys.argv[1:] or LEARNERS:
        if name not in LEARNERS:
            sys.exit(f"error: NAME: value '{name}' (allowed: {', '.join(LEARNERS)})")
        print(name, flush=True)
        curves = kept() | {name: run(name)}
        ordered = {each: curves[each] for each in LEARNERS if each in curves}
        write_whole(KEPT, (json.dumps(ordered, indent=1) + "\n").encode())
    draw_all()


if __name__ == "__main__":
    main()
