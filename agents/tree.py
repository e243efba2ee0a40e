"""Decision trees over integers that imitate a network: what of a policy can be written into a kernel.

The kernel's loop asks a first tree about each candidate in scan order: skip it, or take it, with which boost. If all
are skipped, a second tree decides between nobody and the rule. Trees are fitted by scikit-learn (CART); thresholds are
rounded down, so that an integer is compared with an integer.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.tree import DecisionTreeClassifier

from agents.records import SIBLING, SPINNER, Records
from vcpu_env.policy.view import FIRST_CANDIDATE

SKIP = 0
"""Label of a candidate that is passed by; 1 + b: it is taken with boost b."""

INNER = ("spinner", "sibling")


@dataclass(frozen=True)
class Tree:
    """A binary tree: node 0 is the root; at an inner node, x[feature] <= threshold goes left.

    Attributes:
        features: of each node, into `names`; -1 at a leaf.
        labels: the answer of each node, if it is a leaf.
        names: (struct, field) of each feature.
    """

    features: tuple[int, ...]
    thresholds: tuple[int, ...]
    lefts: tuple[int, ...]
    rights: tuple[int, ...]
    labels: tuple[int, ...]
    names: tuple[tuple[str, str], ...]

    def decide(self, rows: np.ndarray) -> np.ndarray:
        """The label of each row of features."""
        nodes = np.zeros(len(rows), np.int64)
        features, thresholds = np.array(self.features), np.array(self.thresholds)
        lefts, rights = np.array(self.lefts), np.array(self.rights)
        for _ in range(len(features)):
            inner = np.flatnonzero(features[nodes] >= 0)
            if not inner.size:
                break
            at = nodes[inner]
            below = rows[inner, features[at]] <= thresholds[at]
            nodes[inner] = np.where(below, lefts[at], rights[at])
        return np.array(self.labels)[nodes]

    @property
    def used(self) -> list[tuple[str, str]]:
        """The features that some node looks at, each once."""
        return sorted({self.names[feature] for feature in self.features if feature >= 0})


@dataclass(frozen=True)
class TreePolicy:
    """Both trees.

    Attributes:
        candidate: over `SPINNER` and `SIBLING`: `SKIP`, or 1 + boost.
        otherwise: over `SPINNER`: candidate (nobody, the rule) times the number of boosts, plus the boost.
        nr_boosts: values that the second number of an action has, at least 1.
    """

    candidate: Tree
    otherwise: Tree
    nr_boosts: int

    def decide(self, records: Records) -> np.ndarray:
        """The actions, (N, 2): candidate and boost."""
        count, shown = records.siblings.shape[:2]
        last = self.otherwise.decide(records.spinners)
        actions = np.column_stack([last // self.nr_boosts, last % self.nr_boosts])
        open_ = np.ones(count, bool)
        for i in range(shown):
            open_ &= records.counts > i
            rows = np.flatnonzero(open_)
            labels = self.candidate.decide(np.hstack([records.spinners[rows], records.siblings[rows, i]]))
            taken = rows[labels != SKIP]
            actions[taken] = np.column_stack([np.full(len(taken), FIRST_CANDIDATE + i), labels[labels != SKIP] - 1])
            open_[taken] = False
        return actions


def fit(rows: np.ndarray, labels: np.ndarray, leaves: int, names: tuple[tuple[str, str], ...]) -> Tree:
    """A tree of at most so many leaves."""
    if len(set(labels.tolist())) < 2:
        return Tree((-1,), (0,), (0,), (0,), (int(labels[0]) if len(labels) else 0,), names)
    fitted = DecisionTreeClassifier(max_leaf_nodes=max(leaves, 2), min_samples_leaf=5, random_state=0).fit(rows, labels)
    tree = fitted.tree_
    features = [feature if feature >= 0 else -1 for feature in tree.feature.tolist()]
    lefts, rights = tree.children_left.tolist(), tree.children_right.tolist()
    answers = fitted.classes_[tree.value[:, 0].argmax(axis=1)].tolist()
    for node in reversed(range(len(features))):  # children come after their parents
        left, right = lefts[node], rights[node]
        if features[node] >= 0 and features[left] == features[right] == -1 and answers[left] == answers[right]:
            features[node], answers[node] = -1, answers[left]
    thresholds = np.floor(tree.threshold).astype(np.int64).tolist()
    return Tree(tuple(features), tuple(thresholds), tuple(lefts), tuple(rights), tuple(answers), names)


def distil(records: Records, nr_boosts: int, leaves: int) -> TreePolicy:
    """Trees that imitate the recorded decisions: `leaves` for a candidate, half as many for the rest."""
    nr_boosts = max(nr_boosts, 1)
    chosen = records.actions[:, 0] - FIRST_CANDIDATE
    boosts = records.actions[:, 1] if records.actions.shape[1] > 1 else np.zeros(len(chosen), np.int64)
    shown = records.siblings.shape[1]
    asked = np.arange(shown) < np.where(chosen >= 0, chosen + 1, records.counts)[:, None]
    which, place = np.nonzero(asked)
    rows = np.hstack([records.spinners[which], records.siblings[which, place]])
    labels = np.where(place == chosen[which], 1 + boosts[which], SKIP)
    rest = chosen < 0
    last = (chosen[rest] + FIRST_CANDIDATE) * nr_boosts + boosts[rest]
    spinner, sibling = (
        tuple((kind, name) for name in fields) for kind, fields in zip(INNER, (SPINNER, SIBLING), strict=True)
    )
    otherwise = fit(records.spinners[rest], last, leaves // 2, spinner)
    if not rest.any():  # it always found a candidate: leave the rest to the rule
        otherwise = Tree((-1,), (0,), (0,), (0,), (nr_boosts,), spinner)
    return TreePolicy(fit(rows, labels, leaves, spinner + sibling), otherwise, nr_boosts)


def agreement(policy: TreePolicy, records: Records) -> float:
    """Share of the decisions in which the trees answer as the network did."""
    width = records.actions.shape[1]
    return float((policy.decide(records)[:, :width] == records.actions).all(axis=1).mean())
