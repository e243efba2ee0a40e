"""Statistics, against scipy where it has them."""

import warnings

import numpy as np
import pytest
from scipy import stats

from baselines import power, statistics


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


def test_change_of_paired_ratios():
    baseline = np.array([1.0, 10.0, 100.0, 1000.0])
    estimate = statistics.change([statistics.paired_ratios(1.1 * baseline, baseline)])
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.1, 0.1, 0.1))
    estimate = statistics.change([statistics.paired_ratios([2.0, 1.0], [1.0, 2.0])])
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


def test_estimates_draw_the_same_seeds_from_all_samples():
    numbers = np.arange(1.0, 9.0)
    same = statistics.estimate(lambda a, b: a.sum(axis=1) / b.sum(axis=1), 2 * numbers, numbers)
    assert (same.value, same.low, same.high) == (2.0, 2.0, 2.0)
    mean = statistics.estimate(lambda a: a.mean(axis=1), numbers)
    theirs = stats.bootstrap((numbers,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(1))
    assert (mean.low, mean.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.2)


def test_gap_closed():
    oracles = [[1.2, 1.2], [1.5, 1.5], [0.5, 0.5]]
    half = statistics.gap_closed([([1.25, 1.25], oracles), ([1.0, 1.0], [[1.04, 1.04]])])
    assert (half.value, half.low, half.high) == pytest.approx((0.5, 0.5, 0.5)), "a ceiling below 1.05 does not count"
    assert statistics.gap_closed([([1.0], [[1.04]])]) is None
    assert statistics.gap_closed([]) is None
    assert statistics.gap_closed([([1.1], [[1.1]]), ([0.8], [[1.4]])]).value == pytest.approx((1.0 - 0.5) / 2)
    noisy = statistics.gap_closed([([1.0, 1.2, 1.4], [[1.1, 1.3, 1.5]])])
    assert noisy.low < noisy.value < noisy.high


def test_performance_profile():
    shares, low, high = statistics.performance_profile([[1.0, 1.1, 1.2, 1.3], [0.9] * 4], [0.8, 1.0, 1.15, 2.0])
    assert shares == pytest.approx([1.0, 0.375, 0.25, 0.0])
    assert (low[0], high[0], low[3], high[3]) == (1, 1, 0, 0)
    assert low[2] < shares[2] < high[2]


def test_improvements_are_those_of_the_wilcoxon_sign():
    assert list(statistics.improvements([1.1, 1.0, 0.9])) == [1.0, 0.5, 0.0]
    assert np.isnan(statistics.improvements([np.nan])).all()


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.99, 1.0])
def test_log2_percentiles_are_within_their_bucket(share):
    samples = np.random.default_rng(5).lognormal(9.0, 2.0, 4000).astype(int) + 1
    counts = np.bincount(np.log2(samples).astype(int), minlength=40)
    exact = np.quantile(samples, share, method="inverted_cdf")
    assert 0.5 * exact <= statistics.log2_percentile(counts, share) <= 2 * exact


def test_log2_percentiles_by_hand():
    assert statistics.log2_percentile([0, 0, 0, 8], 0.5) == pytest.approx(2**3.5)
    assert statistics.log2_percentile([1, 0, 0, 0, 1], 0.5) == pytest.approx(2.0)
    assert statistics.log2_percentile([1, 0, 0, 0, 1], 1.0) == pytest.approx(32.0)
    assert np.isnan(statistics.log2_percentile([0, 0], 0.5))
    both = statistics.log2_percentile([[0, 4], [4, 0]], 0.5)
    assert both == pytest.approx([2**1.5, 2**0.5])


@pytest.mark.parametrize(("gain", "spread"), [(0.01, 0.03), (0.05, 0.03), (0.02, 0.2)])
def test_power_is_that_of_the_t_test(gain, spread):
    generator = np.random.default_rng(1)
    ratios = np.exp(stats.zscore(generator.normal(size=50), ddof=1) * spread)
    needed = power.seeds_needed([ratios], gain)
    draws = generator.normal(np.log1p(gain), spread, (4000, needed))
    seen = np.mean(stats.ttest_1samp(draws, 0.0, axis=1).pvalue < power.SIGNIFICANCE)
    assert power.POWER - 0.03 <= seen <= power.POWER + 0.15
    assert power.power(spread, gain, 1, needed) >= power.POWER > power.power(spread, gain, 1, needed - 1)


def test_power_of_many_strata_and_of_no_variance():
    generator = np.random.default_rng(2)
    ratios = np.exp(generator.normal(0, 0.05, (9, 8)))
    assert power.seeds_needed(list(ratios), 0.01) < power.seeds_needed([ratios[0]], 0.01) / 4
    assert power.seeds_needed([[1.0, 1.0]], 0.01) == 2
    assert power.seeds_needed([[1.0]], 0.01) is None
    assert power.seeds_needed([[1.0, np.nan]], 0.01) is None


@pytest.fixture
def rliable():
    """The reference implementation, where it is installed (it needs pandas < 3)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("rliable")
        from rliable import library, metrics
    return library, metrics


@pytest.mark.filterwarnings("ignore")
def test_statistics_are_rliables(rliable):
    library, metrics = rliable
    generator = np.random.default_rng(11)
    ours = generator.lognormal(0.1, 0.2, (12, 5))  # runs x tasks
    theirs = generator.lognormal(0.0, 0.2, (12, 5))
    assert statistics.iqm(ours.ravel()) == pytest.approx(metrics.aggregate_iqm(ours))
    expected = metrics.probability_of_improvement(ours, theirs)
    assert statistics.probability_of_improvement(list(ours.T), list(theirs.T)) == pytest.approx(expected)

    def aggregate(scores):
        return np.array([metrics.aggregate_iqm(scores)])

    _, intervals = library.get_interval_estimates({"x": ours}, aggregate, reps=2000)
    low, high = intervals["x"][:, 0]
    interval = statistics.bootstrap_interval(list(ours.T), statistics.iqm)
    assert interval == pytest.approx((low, high), abs=0.15 * (high - low))
    thresholds = np.linspace(0.5, 2.0, 16)
    profiles, bands = library.create_performance_profile({"x": ours}, thresholds, reps=500)
    shares, lower, upper = statistics.performance_profile(list(ours.T), thresholds)
    assert shares == pytest.approx(profiles["x"])
    assert np.abs(lower - bands["x"][0]).max() < 0.05
    assert np.abs(upper - bands["x"][1]).max() < 0.05
