"""wide-es-2 as a decision tree of 8 leaves a candidate."""

from dataclasses import replace

from numba import njit

from vcpu_env.policy.named import POLICIES

BOOSTS = (1, 2, 3, 4, 5, 6, 7)
SCALES = (65536, 65536, 65536, 65536, 65536, 65536, 65536)


@njit
def judge(view, i):
    """0: skip this candidate; 1 + b: take it, with boost b."""
    if view.unserved[i] <= 0:
        return 0
    if view.nr_candidates <= 3:
        if view.preempted[i] <= 0:
            return 0
        return 3
    if view.nr_candidates <= 9:
        if view.good[i] <= 0:
            return 0
        if view.in_kernel[i] <= 0:
            return 3
        return 0
    return 0


@njit
def otherwise(view):
    """Nobody or the rule, times 7, plus the boost."""
    if view.nr_candidates <= 0:
        return 8
    return 9


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
        answer, boost = label // 7, label % 7
    if BOOSTS[boost] != 0:
        view.boost = BOOSTS[boost]
    view.penalty_scale = SCALES[boost]
    return answer


TREE = replace(
    POLICIES["vee21"],
    name="wide-es-2-tree",
    summary="wide-es-2 as a decision tree of 8 leaves a candidate",
    target_rule=choose_target,
    source="agents.export",
)
