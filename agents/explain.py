"""``python -m agents.explain FILE.npz ...``: what policies learned, from their weights and from what they do.

Linear policies say what they weigh: a figure shows every weight of every training. Of any policy that chooses
candidates, decisions are recorded and counted: how often it yields to nobody, leaves it to the rule or picks somebody,
with which boost, and what is true of those it picks and of those it could have picked.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import matplotlib
import numpy as np
import typer

matplotlib.use("Agg")

from matplotlib.figure import Figure

from agents.config import TRAINING, ConfigError
from agents.export import load
from agents.linear import parameters_of, split
from agents.records import SIBLING, Records, decisions_of
from baselines.command import run_command, say
from vcpu_env.base.files import write_whole
from vcpu_env.envs.action import boosts
from vcpu_env.envs.compiled.observe import CANDIDATE_FEATURES, FEATURES
from vcpu_env.nets.learned import LearnedPolicy
from vcpu_env.policy.view import AS_KERNEL, FIRST_CANDIDATE, NOBODY
from vcpu_env.scenario import ScenarioError, apply_overrides, load_scenario

SHORT = ("run.warmup_ns=300_000_000", "run.duration_ns=100_000_000")
FLAGS = ("good", "preempted", "in_kernel", "ipi_receiver", "ipi_sender", "unserved", "in_spin_loop", "same_rq")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def what_it_does(records: Records, names: Sequence[str]) -> list[str]:
    """Shares of the answers, and of each boost, as rows of a Markdown table."""
    targets = records.actions[:, 0]
    rows = [
        ("nobody", (targets == NOBODY).mean()),
        ("as the rule would", (targets == AS_KERNEL).mean()),
        ("a candidate of its own", (targets >= FIRST_CANDIDATE).mean()),
    ]
    if names:
        rows += [
            (f"with `{name}`", ((records.actions[:, 1] == i) & (targets != NOBODY)).mean())
            for i, name in enumerate(names)
        ]
    lines = [f"| {label} | {share:.1%} |" for label, share in rows if share > 0]
    return ["| answer | of all decisions |", "|---|---:|", *lines]


def whom_it_picks(records: Records) -> list[str]:
    """What is true of the candidates that were picked, and of all of those decisions, as rows of a table."""
    rows = np.flatnonzero(records.actions[:, 0] >= FIRST_CANDIDATE)
    rows = rows[records.actions[rows, 0] - FIRST_CANDIDATE < records.counts[rows]]
    if not rows.size:
        return []
    picked = records.siblings[rows, records.actions[rows, 0] - FIRST_CANDIDATE]
    there = np.arange(records.siblings.shape[1]) < records.counts[rows, None]
    everybody = records.siblings[rows][there]
    lines = []
    for name in FLAGS:
        i = SIBLING.index(name)
        lines.append(f"| `{name}` | {(picked[:, i] != 0).mean():.1%} | {(everybody[:, i] != 0).mean():.1%} |")
    for name in ("waited_ns", "candidate_spin_ns", "candidate_chain_lag_ns", "since_boost_ns"):
        i = SIBLING.index(name)
        lines.append(f"| `{name}`, median, us | {us(picked[:, i])} | {us(everybody[:, i])} |")
    return ["| | those it picks | all whom it could have picked |", "|---|---:|---:|", *lines]


def us(times_ns: np.ndarray) -> str:
    """The median in microseconds."""
    return f"{np.median(times_ns) / 1000:,.0f}"


def weights_figure(policies: Sequence[LearnedPolicy], path: Path) -> None:
    """Every weight of linear policies, a dot a training: candidates, nobody and the rule, boosts."""
    found = [split(parameters_of(policy)) for policy in policies]
    names = [name for name, _, _ in boosts(policies[0].kind, policies[0].about.config.penalty_levels)]
    shown = [f.name for f in CANDIDATE_FEATURES]
    panels = [("a candidate's score", shown, np.array([candidate for candidate, _, _ in found]))]
    own = [*(f.name for f in FEATURES), "bias"]
    for row, title in ((NOBODY, "nobody"), (AS_KERNEL, "as the rule")):
        panels.append((title, own, np.array([others[row] for _, others, _ in found])))
    for row, name in enumerate(names):
        panels.append((name, [*shown, "bias"], np.array([rows[row] for _, _, rows in found])))
    columns = 4
    height = -(-len(panels) // columns)
    figure = Figure(figsize=(4 * columns, 4.2 * height), layout="constrained")
    for place, (title, labels, values) in enumerate(panels):
        axes = figure.add_subplot(height, columns, place + 1)
        axes.axvline(0, color="0.8")
        for training, row_values in enumerate(values):
            axes.plot(row_values, range(len(labels)), ".", color=f"C{training}")
        axes.set_yticks(range(len(labels)), labels, fontsize=7)
        axes.invert_yaxis()
        axes.set_title(title, fontsize=9)
    with matplotlib.rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


@app.command()
def command(
    files: Annotated[list[str], typer.Argument(metavar="FILE.npz...", help="Trainings of one configuration.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Of the page and the figure.")] = Path("results/explain"),
    scenario: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Instead of the training split.")] = None,
    records: Annotated[int, typer.Option(min=100, help="Decisions to record of each policy.")] = 20_000,
) -> None:
    """Say what policies learned."""
    policies = [load(path) for path in files]
    scenarios = [apply_overrides(load_scenario(name), SHORT) for name in scenario or TRAINING]
    out.mkdir(parents=True, exist_ok=True)
    names = [name for name, _, _ in boosts(policies[0].kind, policies[0].about.config.penalty_levels)]
    recorded = [decisions_of(policy, scenarios, records, 101, 0) for policy in policies]
    together = Records(
        *(np.concatenate(arrays) for arrays in zip(*(vars(each).values() for each in recorded), strict=True))
    )
    lines = [f"{len(together.counts):,} decisions in {', '.join(s.name for s in scenarios)}.\n"]
    lines += [*what_it_does(together, names), "", *whom_it_picks(together), ""]
    page = out / f"{policies[0].name}.md"
    write_whole(page, "\n".join(lines).encode())
    say(f"{page}")
    if all(len(policy.weights.actor) == 1 for policy in policies):
        figure = out / f"{policies[0].name}.svg"
        weights_figure(policies, figure)
        say(f"{figure}")


def main() -> None:
    """Run the command; bad input ends with one line on stderr and exit code 2."""
    run_command(app, (ConfigError, ScenarioError))


if __name__ == "__main__":
    main()
