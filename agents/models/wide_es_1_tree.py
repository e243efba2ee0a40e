"""wide-es-1 as a decision tree of 8 leaves a candidate."""

from dataclasses import replace

from numba import njit

from vcpu_env.policy.named import POLICIES

BOOSTS = (1, 2, 3, 4, 5, 6, 7, 10, 10)
SCALES = (65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536, 262144)


@njit
def judge(view, i):
    """0: skip this candidate; 1 + b: take it, with boost b."""
    return 0


@njit
def otherwise(view):
    """Nobody or the rule, times 9, plus the boost."""
    if view.nr_candidates <= 2:
        return 16
    return 17


def choose_target(view):
    """The first candidate that the tree takes."""
    answer, boost = -1, 0
    for i in range(min(view.nr_candidates, 16)):
        label = judge(view, i)
        if label > 0:
            answer, boost = 2 + i, label - 1
            break
    if answer < 0:
        label = otherwise(view)
        answer, boost = label // 9, label % 9
    if BOOSTS[boost] != 0:
        view.boost = BOOSTS[boost]
    view.penalty_scale_q16 = SCALES[boost]
    return answer


TREE = replace(
    POLICIES["vee21"],
    name="wide-es-1-tree",
    summary="wide-es-1 as a decision tree of 8 leaves a candidate",
    target_rule=choose_target,
    source="agents.export",
)
