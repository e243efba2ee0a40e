"""The number of a score: what a VM's loss must be to count, and what it counts."""

import numpy as np
import pytest

from baselines.scoring import CaseScore, Total, t_quantile, upper_ends

UP, DOWN = 1.2, 0.9
EIGHT = np.array([-0.03, 0.01, 0.02, -0.01, 0.0, 0.02, -0.02, 0.01])
"""Deviations whose mean is 0."""


def case(vm_ratios, name="case"):
    vm_ratios = np.asarray(vm_ratios, float)
    vms = tuple(f"vm-{i}" for i in range(vm_ratios.shape[1]))
    return CaseScore(name, "scenario", vms, np.exp(np.log(vm_ratios).mean(axis=1)), vm_ratios)


def beside(*vms):
    return np.stack([np.full(8, vm) if np.isscalar(vm) else vm for vm in vms], axis=1)


@pytest.mark.parametrize(
    ("samples", "quantile"), [(4, 4.5407), (8, 2.9980), (12, 2.7181), (16, 2.6025)], ids=["t3", "t7", "t11", "t15"]
)
def test_quantiles_are_those_of_the_printed_tables(samples, quantile):
    assert t_quantile(0.99, samples) == pytest.approx(quantile, abs=2e-3)
    assert t_quantile(0.5, samples) == pytest.approx(0.0, abs=1e-4)


def test_the_upper_end_of_a_vms_change():
    logs = np.log(0.9) + EIGHT
    expected = 0.9 * np.exp(2.998 * logs.std(ddof=1) / np.sqrt(8)) - 1
    assert upper_ends(np.exp(logs)[:, None])[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("vm", "harmed"),
    [
        (1.0, False),
        (0.99, False),
        (0.979, True),
        (np.exp(np.log(0.95) + EIGHT), True),
        (np.exp(np.log(0.97) + 3 * EIGHT), False),
        (np.exp(np.log(0.7) + 3 * EIGHT), True),
    ],
    ids=["as stock", "one per cent", "surely beyond two", "five", "three, by chance", "thirty"],
)
def test_who_is_harmed(vm, harmed):
    assert case(beside(1.1, vm)).harmed == ((1,) if harmed else ())


def test_a_harmed_case_counts_as_its_worst_vm_and_the_others_as_they_are():
    harmless, harmful = case(beside(UP, UP), "good"), case(beside(2.0, 0.95, DOWN), "bad")
    scored = Total([harmless, harmful])
    assert harmful.harmed == (2, 1)
    assert scored.score == pytest.approx((UP * DOWN) ** 0.5 - 1)
    assert scored.gain == pytest.approx((UP * (2.0 * 0.95 * DOWN) ** (1 / 3)) ** 0.5 - 1)
    assert scored.penalty == pytest.approx(scored.gain - scored.score)
    assert [case.case for case in scored.harmed] == ["bad"]
    assert scored.worst.case == "bad"
    assert scored.worst_vm_change == pytest.approx(DOWN - 1)


def test_no_gain_pays_for_harm():
    """Whatever one VM is given, a case in which another is harmed is a loss."""
    assert Total([case(beside(100.0, 0.97))]).score == pytest.approx(-0.03)


def test_the_interval_is_over_seeds():
    scored = Total([case(beside(np.exp(EIGHT), 1.0))])
    assert scored.interval.low < 0 < scored.interval.high
    assert scored.interval.value == scored.score
