"""Scores a program for a search, as OpenEvolve and the examples of ADRS call it: ``evaluate(path)`` returns a dict.

    python examples/search/evaluator.py FILE.py     # the same by hand

The suite is `quick`, or the one that BENCH_SUITE names; a search must not see `full` or `hidden`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = ("full", "hidden")
TIMEOUT_S = 1800
FAILED = -100.0
"""Score of a program that cannot be run: per cent over the stock kernel, worse than any that can."""


def evaluate(program_path: str, suite: str = "") -> dict[str, float | str]:
    """Metrics of a rule file; `combined_score` is what a search raises."""
    suite = suite or os.environ.get("BENCH_SUITE", "quick")
    if suite in FORBIDDEN:
        raise ValueError(f"suite: value '{suite}' (allowed: quick, train or validation; others are no targets)")
    command = [sys.executable, "-m", "baselines.score", str(program_path), "--suite", suite, "--json"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, env=environment)
    except subprocess.TimeoutExpired:
        return {"combined_score": FAILED, "error": f"not done after {TIMEOUT_S} s"}
    if run.returncode != 0:
        lines = run.stderr.strip().splitlines() or ["no output"]
        return {"combined_score": FAILED, "error": lines[-1]}
    result = json.loads(run.stdout)
    return {
        "combined_score": result["score"],
        "gain": result["gain"],
        "penalty": result["penalty"],
        "harmed_cases": float(len(result["harmed_cases"])),
        "worst_vm_change": result["worst_vm_change"],
    }


if __name__ == "__main__":
    print(json.dumps(evaluate(sys.argv[1]), indent=1))
