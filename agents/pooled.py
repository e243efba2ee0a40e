"""What several trainings of one configuration score together, and how sure that is.

A training is a draw, as a run is. So an interval resamples both: the trainings, once for all scenarios, and the
evaluation's seeds within each scenario, the same for all trainings, since their runs are paired.
"""

from collections.abc import Callable, Sequence

import numpy as np

from baselines.report.results import Results
from baselines.statistics import FEW_RESAMPLES, Array, Estimate, gap_closed, geometric_mean, middle
from baselines.summary import Comparison


def ratios_to(mine: Comparison, theirs: Comparison) -> Array:
    """Throughput of one policy over another's, per seed: by way of stock's, which never does nothing."""
    return mine.ratios / theirs.ratios


def against(results: Results, members: Sequence[str], rival: str) -> list[Array]:
    """Ratios of all trainings to a rival: for each scenario an array (trainings, seeds)."""
    theirs = results.comparisons_of(rival)
    ours = [results.comparisons_of(member) for member in members]
    return [np.array([ratios_to(mine[i], theirs[i]) for mine in ours]) for i in range(len(theirs))]


def resampled(strata: Sequence[Array], reduce: Callable[[Array], Array]) -> list[Array]:
    """For each scenario a statistic of every resample.

    Args:
        strata: logarithms of ratios, (trainings, seeds) or (trainings, seeds, VMs).
        reduce: of arrays (resamples, trainings, seeds, ...) to (resamples, ...).
    """
    generator = np.random.default_rng(0)
    trainings = len(strata[0])
    members = generator.integers(0, trainings, (FEW_RESAMPLES, trainings, 1))
    drawn = []
    for stratum in strata:
        seeds = generator.integers(0, stratum.shape[1], (FEW_RESAMPLES, 1, stratum.shape[1]))
        drawn.append(reduce(stratum[members, seeds]))
    return drawn


def mean_of_runs(logs: Array) -> Array:
    """Over trainings and seeds."""
    return logs.mean(axis=(1, 2))


def pooled_change(strata: Sequence[Array]) -> Estimate:
    """Relative change of the geometric mean over scenarios, trainings and seeds."""
    logs = [np.log(stratum) for stratum in strata]
    drawn = np.mean(resampled(logs, mean_of_runs), axis=0)
    low, high = middle(np.expm1(drawn))
    return Estimate(float(np.expm1(np.mean([stratum.mean() for stratum in logs]))), low, high)


def pooled_worst_vm(vm_ratios: Array) -> Estimate:
    """Change of the VM that does worst in one scenario, (trainings, seeds, VMs); in a resample whichever that is."""
    logs = np.log(vm_ratios)
    (drawn,) = resampled([logs], lambda values: mean_of_runs(values).min(axis=-1))
    low, high = middle(np.expm1(drawn))
    return Estimate(float(np.expm1(logs.mean(axis=(0, 1)).min())), low, high)


def pooled_gap(results: Results, members: Sequence[str], oracles: Sequence[str], floor: str) -> Estimate | None:
    """Share of the gap from a policy (`floor`) to the best oracle that the trainings close; None if there is none."""
    if not oracles:
        return None
    ours = against(results, members, floor)
    ceilings = [against(results, [oracle], floor) for oracle in oracles]
    strata = [
        (geometric_mean(ours[i], axis=0), np.array([ceiling[i][0] for ceiling in ceilings])) for i in range(len(ours))
    ]
    return gap_closed(strata)
