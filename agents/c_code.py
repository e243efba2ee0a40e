"""Prints a tree policy as C for a kernel (no floats, no division, no library), and as a rule of this package."""

from textwrap import indent

from agents.tree import SKIP, Tree, TreePolicy
from vcpu_env.kernel.yield_types import BOOST_RULE, SCALE_ONE_Q16

TAB = "\t"
C_LIMITS = (-(1 << 31), (1 << 31) - 1)

Boosts = list[tuple[str, int, float]]
"""(name, boost, penalty scale) of each value of an action's second number; `envs.action.boosts`."""


def used(policy: TreePolicy, kind: str) -> list[str]:
    """The fields of one struct that the trees look at."""
    return sorted({name for tree in (policy.candidate, policy.otherwise) for owner, name in tree.used if owner == kind})


def c_number(value: int) -> str:
    """An integer constant."""
    return f"{value}" if C_LIMITS[0] < value <= C_LIMITS[1] else f"{value}LL"


def c_tree(tree: Tree, node: int = 0) -> str:
    """A tree as nested ifs that return labels."""
    if tree.features[node] < 0:
        return f"return {tree.labels[node]};"
    owner, name = tree.names[tree.features[node]]
    test = f"if ({owner}->{name} <= {c_number(tree.thresholds[node])}) {{"
    left, right = c_tree(tree, tree.lefts[node]), c_tree(tree, tree.rights[node])
    return f"{test}\n{indent(left, TAB)}\n}}\n{right}"


def c_struct(name: str, fields: list[str]) -> str:
    """A struct of s64 fields; C has none that are empty."""
    lines = "".join(f"\ts64 {field};\n" for field in fields or ["unused"])
    return f"struct {name} {{\n{lines}}};\n"


def c_code(policy: TreePolicy, boosts: Boosts, title: str) -> str:
    """The whole file."""
    names = "".join(f" *   {i} {name}\n" for i, (name, _, _) in enumerate(boosts))
    meaning = f" * *boost says what the yield does for its target:\n{names}" if boosts else ""
    return f"""/*
 * {title}
 *
 * choose_target(): whom to yield to. 0: nobody, 1: as kvm_vcpu_on_spin() would, 2 + i: the i-th sibling that passes its
 * ready, blocking and spin-loop checks, in scan order.
{meaning} */
typedef long long s64;

{c_struct("spinner", used(policy, "spinner"))}
{c_struct("sibling", used(policy, "sibling"))}
/* {SKIP}: skip this sibling; 1 + b: take it, with boost b. */
static int judge(const struct spinner *spinner, const struct sibling *sibling)
{{
\t(void)spinner, (void)sibling;
{indent(c_tree(policy.candidate), TAB)}
}}

/* Nobody or the rule, times {policy.nr_boosts}, plus the boost. */
static int otherwise(const struct spinner *spinner)
{{
\t(void)spinner;
{indent(c_tree(policy.otherwise), TAB)}
}}

int choose_target(const struct spinner *spinner, const struct sibling *siblings, int nr_siblings, int *boost)
{{
\tint i, answer;

\tfor (i = 0; i < nr_siblings; i++) {{
\t\tanswer = judge(spinner, &siblings[i]);
\t\tif (answer) {{
\t\t\t*boost = answer - 1;
\t\t\treturn 2 + i;
\t\t}}
\t}}
\tanswer = otherwise(spinner);
\t*boost = answer;
\tif (answer < {policy.nr_boosts})
\t\treturn 0;
\t*boost -= {policy.nr_boosts};
\treturn 1;
}}
"""


def python_tree(tree: Tree, node: int = 0) -> str:
    """A tree as nested ifs over the decision's view."""
    if tree.features[node] < 0:
        return f"return {tree.labels[node]}"
    owner, name = tree.names[tree.features[node]]
    index = "[i]" if owner == "sibling" else ""
    left, right = python_tree(tree, tree.lefts[node]), python_tree(tree, tree.rights[node])
    return f"if view.{name}{index} <= {tree.thresholds[node]}:\n{indent(left, '    ')}\n{right}"


def python_code(policy: TreePolicy, boosts: Boosts, shown: int, name: str, rule: str, title: str) -> str:
    """The same as a policy of the evaluation: a file for ``--policy FILE.py:TREE``."""
    table = [(boost, round(scale * SCALE_ONE_Q16)) for _, boost, scale in boosts] or [(BOOST_RULE, SCALE_ONE_Q16)]
    return f'''"""{title}."""

from dataclasses import replace

from numba import njit

from vcpu_env.policy.named import POLICIES

BOOSTS = {tuple(boost for boost, _ in table)!r}
SCALES = {tuple(scale for _, scale in table)!r}


@njit
def judge(view, i):
    """{SKIP}: skip this candidate; 1 + b: take it, with boost b."""
{indent(python_tree(policy.candidate), "    ")}


@njit
def otherwise(view):
    """Nobody or the rule, times {policy.nr_boosts}, plus the boost."""
{indent(python_tree(policy.otherwise), "    ")}


def choose_target(view):
    """The first candidate that the tree takes."""
    answer, boost = -1, 0
    for i in range(min(view.nr_candidates, {shown})):
        label = judge(view, i)
        if label > 0:
            answer, boost = 2 + i, label - 1
            break
    if answer < 0:
        label = otherwise(view)
        answer, boost = label // {policy.nr_boosts}, label % {policy.nr_boosts}
    if BOOSTS[boost] != {BOOST_RULE}:
        view.boost = BOOSTS[boost]
    view.penalty_scale_q16 = SCALES[boost]
    return answer


TREE = replace(
    POLICIES["{rule}"],
    name="{name}",
    summary="{title}",
    target_rule=choose_target,
    source="agents.export",
)
'''
