"""The page of everything shipped: trained policies, what was distilled from them, and the baselines, in one table."""

from collections.abc import Sequence

import numpy as np

from agents.card import TOLERATED, Card, interval, text, trained
from agents.pooled import against, pooled_change, pooled_worst_vm
from baselines.policies import STOCK
from baselines.report.results import Results

RIVALS = ("series-v2", "tuned-v2", "vee21", "unserved-credit", "strict-borrow")
"""Columns: what every policy is compared with."""


def page(results: Results, done: list[Card]) -> str:
    """The table of everything, as a page."""
    first = done[0]
    changes = ", ".join(f"`{change}`" for change in first.evaluation_set)
    return "\n".join(
        [
            "# Shipped policies\n",
            "Change of throughput (geometric mean over the scenarios in the cards) with 95 % intervals;",
            f"{first.seeds} seeds,",
            f"{changes}.",
            f"Hosts {first.scored_hosts}; Linux {', '.join(first.scored_kernels)}.",
            "Policies in bold were trained; their intervals are over trainings and seeds. *Cells harmed*: scenarios in",
            "which the interval of the worst VM's change lies wholly below -2 %, in all trainings together and in",
            "each. Oracles know what no host can see.",
            "Written by `python -m agents.publish cards`; `make reproduce` runs it all again and compares.",
            "[What was learned](../../docs/learned.md).\n",
            table(results, done),
            "\n![Validations of every training](learning-curves.svg)\n",
            *(f"* [{card.name}]({card.name}.md): {card.summary}" for card in done),
            "",
        ]
    )


def table(results: Results, cards: Sequence[Card]) -> str:
    """Every policy of an evaluation, the best first; trainings of one configuration in one row."""
    rivals = [name for name in RIVALS if name in results.rivals]
    families = [(f"**{card.name}**", [file.removesuffix(".npz") for file in card.files]) for card in cards]
    alone = [(f"`{name}`", [name]) for name in results.rivals if not trained(name, results)]
    rows = [(row(results, label, members, rivals)) for label, members in families + alone]
    head = ["policy", "trainings", "against stock", *(f"against {rival}" for rival in rivals), "cells harmed"]
    ruler = ["---", *["---:"] * (len(head) - 1)]
    ordered = [line for _, line in sorted(rows, key=lambda pair: -pair[0])]
    return "\n".join([f"| {' | '.join(head)} |", f"|{'|'.join(ruler)}|", *ordered])


def row(results: Results, label: str, members: Sequence[str], rivals: Sequence[str]) -> tuple[float, str]:
    """The score of a policy, or of the trainings of one configuration, and its line of the table."""
    ours = [results.comparisons_of(member) for member in members]
    score = pooled_change(against(results, members, STOCK))
    worst = [pooled_worst_vm(np.array([mine[i].vm_ratios for mine in ours])) for i in range(len(ours[0]))]
    harmed = str(sum(estimate.high < TOLERATED for estimate in worst))
    if len(members) > 1:
        each = [sum(pooled_worst_vm(one.vm_ratios[None]).high < TOLERATED for one in mine) for mine in ours]
        harmed += f" (each: {', '.join(map(str, each))})"
    versus = [
        "" if rival in members else text(interval(pooled_change(against(results, members, rival)))) for rival in rivals
    ]
    oracle = " (oracle)" if members[0] in results.oracles else ""
    trainings = str(len(members)) if trained(members[0], results) else ""
    cells = [f"{label}{oracle}", trainings, text(interval(score)), *versus, harmed]
    return score.value, f"| {' | '.join(cells)} |"
