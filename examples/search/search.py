"""A search without a language model: climb over the constants of a rule, always the same way.

    python examples/search/search.py --steps 12 --out results/search

Candidates are tried on `quick` (train hosts); the best three and the first are compared on `validation`, and one is
chosen. That one is for `baselines.score FILE --suite full`, once. What was tried is in OUT/log.jsonl.
"""

import argparse
import json
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

FINALISTS = 3
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
    """Try candidates, each a neighbour of the best so far; returns all, the best first."""
    generator = random.Random(seed)
    best = constants_of(text)
    tried: dict[str, tuple[float, Constants]] = {}
    wanted = best
    for step in range(steps + 1):
        for _ in range(100):
            if step == 0 or json.dumps(wanted) not in tried:
                break
            wanted = neighbour(best, generator)
        metrics = score_of(text, wanted, "quick", out)
        tried[json.dumps(wanted)] = float(metrics["combined_score"]), wanted
        if tried[json.dumps(wanted)][0] >= tried[json.dumps(best)][0]:
            best = wanted
        wanted = neighbour(best, generator)
    return sorted(tried.values(), key=lambda entry: -entry[0])


def score_of(text: str, constants: Constants, suite: str, out: Path) -> dict[str, float | str]:
    """Score a candidate and note it."""
    path = out / ("rule-" + "-".join(str(value) for value in constants.values()) + ".py")
    path.write_text(with_constants(text, constants))
    metrics = evaluate(str(path), suite)
    entry = {"suite": suite, "constants": constants, **metrics}
    with (out / "log.jsonl").open("a") as log:
        log.write(json.dumps(entry) + "\n")
    print(json.dumps(entry), flush=True)
    return metrics


def main() -> None:
    """Search, choose, and write the choice to OUT/found.py."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=12, help="candidates beside the first")
    parser.add_argument("--out", type=Path, default=Path("results/search"), help="directory")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    text = (HERE / "initial_program.py").read_text()
    ranked = climb(text, options.steps, options.out)
    first = constants_of(text)
    finalists = [constants for _, constants in ranked[:FINALISTS]]
    chosen = [*finalists, *([first] if first not in finalists else [])]
    scores = [float(score_of(text, constants, "validation", options.out)["combined_score"]) for constants in chosen]
    best = chosen[scores.index(max(scores))]
    (options.out / "found.py").write_text(with_constants(text, best))
    print(f"chosen on validation: {best}; now: python -m baselines.score {options.out / 'found.py'} --suite full")


if __name__ == "__main__":
    main()
