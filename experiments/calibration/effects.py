"""What each parameter does to a policy's gain: Morris' elementary effects or Sobol's indices, and how robust a sign is.

A parameter counts only if its effect is larger than that of the seeds alone, which are a parameter of the design too.
Gains are changes of throughput against stock on the same seeds, in percentage points.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from baselines.statistics import Array
from experiments.calibration.design import SEED, SEEDS, Design
from experiments.study import Sweep
from experiments.tables import Table, Value

MOST = 0.95
"""A sign holds if it is that of at least this share of all points."""
NOTHING = 0.5
"""A gain below this many percentage points is none."""


@dataclass(frozen=True)
class Effect:
    """One parameter.

    Attributes:
        size: mu* in percentage points over the whole range; of Sobol's method the total index, a share of variance.
        spread: sigma; or the first-order index.
        confidence: half width of the 95 % interval of `size`.
    """

    parameter: str
    size: float
    spread: float
    confidence: float


@dataclass(frozen=True)
class Response:
    """A policy's gain over the box of assumptions.

    Attributes:
        gains: at each point, in the order of the design.
        default: with the defaults.
        effects: largest first.
    """

    workload: str
    policy: str
    gains: Array
    default: float
    effects: Sequence[Effect]

    @property
    def noise(self) -> float:
        """The largest effect that chance alone would make."""
        seeds = next(effect for effect in self.effects if effect.parameter == SEEDS)
        return seeds.size + seeds.confidence

    @property
    def told(self) -> list[Effect]:
        """Parameters whose effect is larger than chance's."""
        return [e for e in self.effects if e.parameter != SEEDS and e.size - e.confidence > self.noise]

    def percentile(self, share: float) -> float:
        """A percentile of the gain over the box."""
        return float(np.quantile(self.gains, share))

    @property
    def positive(self) -> float:
        """The share of points with a gain."""
        return float(np.mean(self.gains > 0))

    @property
    def verdict(self) -> str:
        """What can be said of the sign, whatever the assumptions are."""
        if max(abs(self.percentile(0.05)), abs(self.percentile(0.95))) < NOTHING:
            return "no effect, robust"
        if self.positive >= MOST:
            return "gain, robust"
        if self.positive <= 1 - MOST:
            return "loss, robust"
        return "depends" if self.told else "not told from chance"


def gains_of(design: Design, sweeps: Mapping[str, Sweep], policy: str) -> Array:
    """The gain at each point."""
    found: dict[str, float] = {}
    for name, sweep in sweeps.items():
        if name.startswith(f"{design.method}-{design.workload}-") and not name.endswith("-default"):
            found |= {c.case.variant: mean_gain(c.ratios) for c in sweep.of(policy)}
    return np.array([found[f"point {n}"] for n in range(len(design.points))])


def mean_gain(ratios: Array) -> float:
    """Percentage points of the geometric mean of ratios."""
    return float(100 * (np.exp(np.mean(np.log(ratios))) - 1))


def response(design: Design, sweeps: Mapping[str, Sweep], policy: str, levels: int) -> Response:
    """A policy's gain over the box, and what it depends on."""
    gains = gains_of(design, sweeps, policy)
    (default,) = sweeps[f"{design.method}-{design.workload}-default"].of(policy)
    effects = effects_of(design, gains, levels)
    effects.sort(key=lambda effect: -effect.size)
    return Response(design.workload, policy, gains, mean_gain(default.ratios), effects)


def effects_of(design: Design, gains: Array, levels: int) -> list[Effect]:
    """Elementary effects, or Sobol's indices, of every parameter."""
    names = list(design.problem["names"])  # type: ignore[call-overload]
    if np.ptp(gains) == 0:  # neither method divides by a variance of zero
        return [Effect(name, 0.0, 0.0, 0.0) for name in names]
    if design.method == "morris":
        from SALib.analyze import morris

        found = morris.analyze(design.problem, design.points, gains, num_levels=levels, seed=SEED)
        columns = found["mu_star"], found["sigma"], found["mu_star_conf"]
    else:
        from SALib.analyze import sobol

        found = sobol.analyze(design.problem, gains, calc_second_order=False, seed=SEED)
        columns = found["ST"], found["S1"], found["ST_conf"]
    return [Effect(name, *(float(x) for x in values)) for name, *values in zip(names, *columns, strict=True)]


def effects_table(responses: Sequence[Response], method: str) -> list[Table]:
    """For each workload a table of all parameters: size, spread and confidence for each policy."""
    size, spread = ("mu*", "sigma") if method == "morris" else ("total index", "first index")
    tables = []
    for workload in dict.fromkeys(r.workload for r in responses):
        ours = [r for r in responses if r.workload == workload]
        rows: list[dict[str, Value]] = []
        for effect in ours[0].effects:
            row: dict[str, Value] = {"parameter": effect.parameter}
            for r in ours:
                e = next(e for e in r.effects if e.parameter == effect.parameter)
                mark = " *" if e in r.told else ""
                row[f"{r.policy}: {size}"] = f"{e.size:.2f} ± {e.confidence:.2f}{mark}"
                row[f"{r.policy}: {spread}"] = f"{e.spread:.2f}"
            rows.append(row)
        tables.append(Table(f"effects-{workload}", rows))
    return tables


def robustness_table(responses: Sequence[Response]) -> Table:
    """For each workload and policy the gain over the box, and the verdict."""
    return Table(
        "robustness",
        [
            {
                "workload": r.workload,
                "policy": r.policy,
                "default, %": r.default,
                "5th percentile": r.percentile(0.05),
                "median": r.percentile(0.5),
                "95th percentile": r.percentile(0.95),
                "points with a gain, %": 100 * r.positive,
                "verdict": r.verdict,
                "decided by": ", ".join(e.parameter.removeprefix("vms.*.") for e in r.told[:3]),
            }
            for r in responses
        ],
    )
