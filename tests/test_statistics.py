"""Statistics, against scipy where it has them."""

import numpy as np
import pytest
from scipy import stats

from baselines import statistics


@pytest.fixture
def samples():
    return np.random.default_rng(7).lognormal(0.1, 0.2, 23)


def test_iqm_is_scipys_trimmed_mean(samples):
    for count in range(1, len(samples) + 1):
        assert statistics.iqm(samples[:count]) == pytest.approx(stats.trim_mean(samples[:count], 0.25))
    table = samples[:20].reshape(4, 5)
    assert statistics.iqm(table) == pytest.approx(stats.trim_mean(table, 0.25, axis=1))


def test_bootstrap_interval_agrees_with_scipy(samples):
    for statistic in (np.mean, statistics.iqm, statistics.geometric_mean):
        ours = statistics.bootstrap_interval([samples], lambda a, f=statistic: f(a, axis=-1))
        theirs = stats.bootstrap(
            (samples,), statistic, n_resamples=10_000, method="percentile", axis=-1, rng=np.random.default_rng(1)
        ).confidence_interval
        assert ours == pytest.approx(tuple(theirs), abs=0.05 * (theirs.high - theirs.low))


def test_bootstrap_interval_is_repeatable_and_stays_in_strata():
    assert statistics.bootstrap_interval([[1, 2, 3]], statistics.iqm) == statistics.bootstrap_interval(
        [[1, 2, 3]], statistics.iqm
    )
    # Constant strata: resampling within them changes nothing, resampling across them would.
    assert statistics.bootstrap_interval([[1.0] * 4, [4.0] * 4], statistics.geometric_mean) == pytest.approx((2.0, 2.0))


def test_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(3)
    hits = 0
    for _ in range(200):
        low, high = statistics.bootstrap_interval([generator.normal(5.0, 1.0, 30)], lambda a: a.mean(axis=-1), 1000)
        hits += low <= 5.0 <= high
    assert 175 <= hits <= 199


def test_paired_change_uses_pairs():
    baseline = np.array([1.0, 10.0, 100.0, 1000.0])
    estimate = statistics.paired_change(1.1 * baseline, baseline)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.1, 0.1, 0.1))
    estimate = statistics.paired_change([2.0, 1.0], [1.0, 2.0])
    assert estimate.value == pytest.approx(0.0)
    assert (estimate.low, estimate.high) == pytest.approx((-0.5, 1.0))


def test_ratios_have_a_floor_and_know_an_idle_baseline():
    ratios = statistics.paired_ratios([0.0, 0.0, 3.0], [5.0, 0.0, 0.0])
    assert ratios[0] == statistics.RATIO_FLOOR
    assert np.isnan(ratios[1:]).all()
    with pytest.raises(ValueError, match="one for each baseline"):
        statistics.paired_ratios([1.0], [1.0, 2.0])


def test_probability_of_improvement_is_mann_whitney(samples):
    ours, theirs = np.round(samples[:9], 1), np.round(samples[9:], 1)
    expected = stats.mannwhitneyu(ours, theirs).statistic / (len(ours) * len(theirs))
    assert statistics.probability_of_improvement([ours], [theirs]) == pytest.approx(expected)
    assert statistics.probability_of_improvement([ours, [1.0]], [theirs, [2.0]]) == pytest.approx(expected / 2)


def test_jain():
    assert statistics.jain([3.0, 3.0, 3.0]) == pytest.approx(1.0)
    assert statistics.jain([1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
    assert statistics.jain([1.0, 2.0, 3.0]) == pytest.approx(36 / 42)
    assert statistics.jain([0.0, 0.0]) == 1.0
