"""Learning curves of shipped policies: every validation of every training, from the cards."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib.figure import Figure

from agents.card import Card


def draw(cards: Sequence[Card], path: Path) -> None:
    """A panel for each environment, a colour for each configuration, a line for each training."""
    environments = sorted({card.config.environment for card in cards})
    figure = Figure(figsize=(6 * len(environments), 4.5), layout="constrained")
    for place, environment in enumerate(environments, 1):
        axes = figure.add_subplot(1, len(environments), place)
        axes.axhline(0, color="0.8")
        for i, card in enumerate(card for card in cards if card.config.environment == environment):
            for member in card.members:
                shares = [step / card.config.total_steps for step, _ in member.curve]
                changes = [100 * change for _, change in member.curve]
                (line,) = axes.plot(shares, changes, ".-", color=f"C{i}", linewidth=1)
                line.set_label(card.name if member is card.members[0] else "_")
        axes.set_title(environment, fontsize=10)
        axes.set_xlabel("share of the training")
        axes.set_ylabel("validation split, change against stock (%)")
        axes.legend(fontsize=7)
    with matplotlib.rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(path, metadata={"Date": None})
