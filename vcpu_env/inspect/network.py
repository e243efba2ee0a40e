"""What a network saw at a decision, how it scored everybody whom it could take, and whom it took."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from vcpu_env.envs.action import boosts
from vcpu_env.envs.compiled.observe import NR_CANDIDATE_FEATURES, NR_FEATURES, feature_names
from vcpu_env.inspect.outcome import Followed
from vcpu_env.machine import Machine
from vcpu_env.nets.learned import LearnedPolicy
from vcpu_env.nets.play import PolicyMachine

NOBODY, AS_RULE, FIRST = "nobody", "as the rule", 2
"""Choices of a network before its candidates."""


def network_of(machine: Machine, followed: Followed) -> dict[str, Any] | None:
    """The decision of a network, as JSON can say it; None where there is none. `asked`: it was not the rule's.

    Choices are in the network's order: nobody, as its rule would, then the candidates, whose `vcpu` is told. `score` is
    the network's output, `chance` its softmax over those that are allowed, `inputs` the features that are not 0.
    """
    if not (isinstance(machine, PolicyMachine) and machine.network_decides):
        return None
    learned, decided = machine.learned, followed.decided
    about = {"environment": learned.about.environment, "rule": learned.about.rule, "asked": decided is not None}
    if decided is None:
        return about
    count = learned.about.config.nr_candidates
    named = dict(zip(feature_names(count), np.round(decided.observation, 4).tolist(), strict=True))
    scores, legal = decided.scores, decided.legal.astype(bool)
    if not len(legal):
        legal = np.ones(len(scores), bool)
    sizes = learned.weights.sizes
    choices = []
    for i, (score, chance, allowed) in enumerate(zip(*scored(scores[: sizes[0]], legal[: sizes[0]]), strict=True)):
        choice: dict[str, Any] = {"score": score, "chance": chance, "allowed": allowed}
        if i < FIRST:
            choices.append({"choice": (NOBODY, AS_RULE)[i]} | choice)
        elif i - FIRST < len(followed.candidates):
            inputs = {name.partition("[")[0]: value for name, value in of_candidate(named, i - FIRST).items()}
            choices.append(
                {"choice": "candidate", "vcpu": followed.candidates[i - FIRST]} | choice | {"inputs": inputs}
            )
    about |= {
        "inputs": {name: value for name, value in list(named.items())[:NR_FEATURES] if value},
        "choices": choices,
        "took": int(decided.action[0]),
        "drawn": not learned.about.deterministic,
        "beyond_sight": max(0, len(followed.candidates) - count),
    }
    if len(sizes) > 1:
        about["boosts"], about["boost"] = (
            boosts_of(learned, scores[sizes[0] :], legal[sizes[0] :]),
            int(decided.action[1]),
        )
    return about


def of_candidate(named: dict[str, float], i: int) -> dict[str, float]:
    """The features of the `i`-th candidate."""
    begin = NR_FEATURES + i * NR_CANDIDATE_FEATURES
    return {
        name: value
        for name, value in list(named.items())[begin : begin + NR_CANDIDATE_FEATURES]
        if value and not name.startswith("present")
    }


def boosts_of(learned: LearnedPolicy, scores: np.ndarray, legal: np.ndarray) -> list[dict[str, Any]]:
    """The choices of the second dimension: what the yield does beside the hint."""
    names = [name for name, _, _ in boosts(learned.kind, learned.about.config.penalty_levels)]
    rows = zip(names, *scored(scores, legal), strict=True)
    return [{"boost": name, "score": score, "chance": chance} for name, score, chance, _ in rows]


def scored(scores: np.ndarray, legal: np.ndarray) -> tuple[list[float], list[float], list[bool]]:
    """Of each choice the network's output, its chance among those that are allowed, and whether it is."""
    outputs = scores.astype(np.float64)
    shifted = np.where(legal, outputs - outputs[legal].max(initial=-np.inf), -np.inf)
    chances = np.exp(shifted) / np.exp(shifted).sum()
    return np.round(outputs, 4).tolist(), np.round(chances, 4).tolist(), legal.tolist()


def network_lines(told: dict[str, Any], names: list[str]) -> Iterator[str]:
    """The same in words, the best choice first."""
    if not told["asked"]:
        yield f"The network is not asked at this decision; its rule, {told['rule']}, answers."
        return
    yield f"The network ({told['environment']}; {told['rule']} answers the rest) saw: {values(told['inputs'])}."
    took = told["took"]
    for i, choice in sorted(enumerate(told["choices"]), key=lambda row: -row[1]["score"]):
        name = names[choice["vcpu"]] if "vcpu" in choice else choice["choice"]
        barred = "" if choice["allowed"] else "  not allowed"
        seen = f"  {values(choice['inputs'])}" if choice.get("inputs") else ""
        mark = "  <- taken" if i == took else ""
        yield f"  {choice['score']:9.3f} {100 * choice['chance']:6.1f} %  {name:15}{barred}{mark}{seen}"
    if told["beyond_sight"]:
        yield f"  {told['beyond_sight']} more candidates than it can see."
    if "boosts" in told:
        rows = sorted(enumerate(told["boosts"]), key=lambda row: -row[1]["score"])
        said = ", ".join(f"{row['boost']} {row['score']:.3f}{' <- taken' * (i == told['boost'])}" for i, row in rows)
        yield f"  boosts: {said}"
    if told["drawn"]:
        yield "  It draws by these chances."


def values(inputs: dict[str, float]) -> str:
    """Inputs that are not 0, as the network gets them: flags, shares, logarithms of times."""
    return ", ".join(name if value == 1 else f"{name}={value:g}" for name, value in inputs.items()) or "only zeros"
