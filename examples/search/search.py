"""A search without a language model: climb over the constants of a rule, always the same way.

    python examples/search/search.py --steps 9 --out results/search

Candidates are tried on `quick` (train hosts); the best becomes OUT/found.py, for ``--suite full``, once.
What was tried is in OUT/log.jsonl.
"""

import argparse
import json
import math
import random
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from evaluator import evaluate  # noqa: E402  (lies beside this file)

STEPS = (0.25, 0.5, 2.0, 4.0)
FIRST = 50_000
"""What a constant of 0 is set to when it is changed."""

SUITE = "quick"
DRAWS = 100
"""Neighbours that are drawn in search of one that has not been tried."""

CONSTANT = re.compile(r"^(\w+_NS) = ([\d_]+)$", re.MULTILINE)

Constants = dict[str, int]


def constants_of(text: str) -> Constants:
    """The constants of a rule that may be changed."""
    return {name: int(value) for name, value in CONSTANT.findall(text)}


def with_constants(text: str, constants: Constants) -> str:
    """The rule with other constants."""
    return CONSTANT.sub(lambda found: f"{found[1]} = {constants[found[1]]}", text)


def neighbour(constants: Constants, generator: random.Random) -> Constants:
    """One constant a factor of `STEPS` larger or smaller, or from 0 to something, or to 0."""
    name = generator.choice(sorted(constants))
    factor = generator.choice((0.0, *STEPS))
    return constants | {name: int(constants[name] * factor) if constants[name] else FIRST}


def climb(text: str, steps: int, out: Path, seed: int = 0) -> list[tuple[float, Constants]]:
    """Try candidates, each a neighbour of the best so far, until all of its are tried; returns all, the best first."""
    generator = random.Random(seed)
    best = wanted = constants_of(text)
    tried: list[tuple[float, Constants]] = []
    highest = -math.inf
    for _ in range(steps + 1):
        score = float(score_of(text, wanted, out)["combined_score"])
        tried.append((score, wanted))
        if score >= highest:
            highest, best = score, wanted
        known = [constants for _, constants in tried]
        new = (neighbour(best, generator) for _ in range(DRAWS))
        if (following := next((constants for constants in new if constants not in known), None)) is None:
            break
        wanted = following
    return sorted(tried, key=lambda entry: -entry[0])


def score_of(text: str, constants: Constants, out: Path) -> dict[str, float | str]:
    """Score a candidate and note it."""
    path = out / ("rule-" + "-".join(str(value) for value in constants.values()) + ".py")
    path.write_text(with_constants(text, constants))
    metrics = evaluate(str(path), SUITE)
    entry = {"suite": SUITE, "constants": constants, **metrics}
    with (out / "log.jsonl").open("a") as log:
        log.write(json.dumps(entry) + "\n")
    print(json.dumps(entry), flush=True)
    return metrics


def main() -> None:
    """Search, and write the best to OUT/found.py."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=9, help="candidates beside the first")
    parser.add_argument("--out", type=Path, default=Path("results/search"), help="directory")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    text = (HERE / "initial_program.py").read_text()
    score, best = climb(text, options.steps, options.out)[0]
    (options.out / "found.py").write_text(with_constants(text, best))
    print(f"the best of {options.steps + 1}, {score:+.2f} on quick: {options.out / 'found.py'}")


if __name__ == "__main__":
    main()
