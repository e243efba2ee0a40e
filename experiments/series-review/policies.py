"""Ablations of v2 that the simulator has no name for."""

from dataclasses import replace

from vcpu_env.policy.series import SERIES_V2, series

NO_TRACKING = series([1, 2, 3, 4, 5, 8, 9], "series-v2-no-tracking", "v2 that remembers no IPI: filter, relaxed round")

NO_DEBOUNCE = replace(
    SERIES_V2,
    name="series-v2-no-debounce",
    summary="v2 without the code of the 600 us debounce",
    settings={("deboost_params", "debounce_ns"): 0},
)

NO_BASELINE = replace(
    SERIES_V2,
    name="series-v2-no-baseline",
    summary="v2 without the table of zero-gap baselines",
    settings={("deboost_params", "baseline_num"): 0},
)
