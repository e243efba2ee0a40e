"""Validation during a training: the baselines' own evaluation, short runs of the validation split.

Cells are stored by content, so those of stock and of the series are run once a training.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from agents.config import ConfigError, Validation
from baselines.evaluate import evaluate
from baselines.experiment import Experiment, make_plan
from baselines.scoring import TOLERATED
from baselines.store import Store
from vcpu_env.executors.make import make_executor
from vcpu_env.policy.named import POLICIES

FIRST_SEED = 100_000
"""Seeds of validation start here, so that an evaluation from seed 0 is of other runs."""

REFERENCE = "series-v2"


@dataclass(frozen=True)
class Verdict:
    """How a policy does against stock.

    Attributes:
        change, low, high: of the geometric mean of throughput, with its interval.
        reference: change of series-v2 in the same runs.
        worst_vm: change of the VM that does worst in any scenario.
        harm: how far beyond `TOLERATED` some VM surely loses: its interval lies wholly below.
    """

    change: float
    low: float
    high: float
    reference: float
    worst_vm: float
    harm: float

    @property
    def merit(self) -> float:
        """What weights are chosen by: a gain for all that harms one is none."""
        return self.change - self.harm

    def numbers(self) -> dict[str, float]:
        """As plain data."""
        return asdict(self)


def validate(path: Path, name: str, how: Validation, directory: Path) -> Verdict:
    """Evaluate the policy in a file; results are kept in a directory of their own.

    Raises:
        ConfigError: the runs are too short to compare anything.
    """
    asked = Experiment(
        name="validation",
        scenarios=how.scenarios,
        policies=(REFERENCE, str(path)),
        seeds=how.seeds,
        first_seed=FIRST_SEED,
        set=how.set,
    )
    plan = make_plan(asked, POLICIES)
    summary, scores = evaluate(plan, Store(directory, resume=True), make_executor("inline"))
    of = {row["policy"]: row for row in scores}
    row = of[name]
    if math.isnan(row["change"]):
        raise ConfigError("validation.set: stock completes no work in these runs (allowed: a longer run.duration_ns)")
    highest = min(line["worst_vm_change_high"] for line in summary if line["policy"] == name)
    return Verdict(
        row["change"], row["change_low"], row["change_high"], of[REFERENCE]["change"], row["worst_vm_change"],
        max(0.0, TOLERATED - highest),
    )  # fmt: skip
