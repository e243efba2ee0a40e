"""Kernels: stock ones, the series patch by patch, v1, v3, v2 as its cover letter describes it, simpler alternatives."""

from collections.abc import Iterable
from dataclasses import replace

from vcpu_env.kernel.yield_types import DEBOOST_V3, DEBOOST_VEE21, FORFEIT_HIERARCHICAL, FORFEIT_PROPORTIONAL
from vcpu_env.kvm.types import FILTER_ANY_IPI, FILTER_STRICT, LOOP_6_12, LOOP_6_13, TRACK_V3
from vcpu_env.policy.policy import KERNELS, SERIES_PATCHES, Policy

V2 = "lore 20251219035334.39790-1-kernellwp@gmail.com (December 2025)"
V1 = "lore 20251110033232.12538-1-kernellwp@gmail.com (November 2025)"
V3 = "lore 20260612013355.59231-1-kernellwp@gmail.com (June 2026)"
FORFEITS = "this project: what v7.3 makes of a yielder's forfeit"
VEE21 = "Ishiguro, Yasuno, Aublin, Kono, VEE 2021, doi 10.1145/3453933.3454020"

ONLY_6_19 = frozenset(("6.19",))
"""Of what asks for levels of groups, or for v6.19's order of charges: v7.3 has neither."""


def series(patches: Iterable[int], name: str = "", summary: str = "") -> Policy:
    """v2 with exactly these patches applied."""
    chosen = frozenset(patches)
    label = "+".join(map(str, sorted(chosen))) or "none"
    return Policy(name or f"series-v2-patches-{label}", summary or f"v2, patches {label}", chosen, source=V2)


def series_level(level: int) -> Policy:
    """v2 up to and including a patch: level 0 is stock, level 9 the whole series.

    Raises:
        ValueError: no such level.
    """
    if not 0 <= level <= 9:
        raise ValueError(f"level: value {level} (allowed: 0..9)")
    return series(range(1, level + 1), f"series-v2-level-{level}", f"v2 up to patch {level}")


STOCK = Policy("stock", "Linux v6.19: directed yield without the series", source="Linux v6.19")
DEBOOSTER = series(range(1, 6), "debooster", "v2 patches 1-5: vruntime penalty at the lowest common cgroup")
IPI = series(range(6, 10), "ipi", "v2 patches 6-9: IPI-aware candidates and the relaxed round")
SERIES_V2 = series(SERIES_PATCHES, "series-v2", "the whole v2 series")

STOCK_KERNELS = (
    STOCK,
    Policy(
        "stock-6.12",
        "kvm_vcpu_on_spin() up to 6.12: two passes from last_boosted_vcpu",
        settings={("kvm_params", "loop"): LOOP_6_12},
        source="Linux v6.12",
    ),
    Policy(
        "stock-6.13",
        "kvm_vcpu_on_spin() of 6.13-6.18: remembers the loop counter for the index",
        settings={("kvm_params", "loop"): LOOP_6_13},
        source="Linux v6.13",
    ),
)

SERIES = (
    DEBOOSTER,
    IPI,
    SERIES_V2,
    replace(series(range(1, 6), "debooster-v1", "v1's debooster on the v6.19 base"), deboost_v1=True, source=V1),
    replace(
        series(SERIES_PATCHES, "series-v1", "v1's debooster with the candidates of v2"), deboost_v1=True, source=V1
    ),
    *(series_level(level) for level in range(1, 10)),
    series([9], "relaxed", "the relaxed second round of patch 9 alone"),
)


def series_v3(margin_1024: int, name: str, summary: str) -> Policy:
    """v3, with a margin of its own: the posted formula is not known. 1024: an eighth of a slice a queued entity."""
    return replace(
        series(SERIES_PATCHES, name, summary),
        settings={
            ("deboost_params", "deboost"): DEBOOST_V3,
            ("deboost_params", "credit_margin_1024"): margin_1024,
            ("kvm_params", "track"): TRACK_V3,
        },
        source=V3 + "; margin assumed",
    )


V3_SERIES = (
    series_v3(
        1024, "series-v3", "v3: lag credit for the target, vector-matched EOI; margin assumed (1/8 slice a task)"
    ),
    series_v3(256, "series-v3-margin-0.25", "v3 with a quarter of that margin"),
    series_v3(4096, "series-v3-margin-4", "v3 with four times that margin"),
)

DESCRIBED = {
    "live-debounce": ({("deboost_params", "live_debounce"): 1}, "every yield counts as the last pair"),
    "live-baseline": ({("deboost_params", "live_baseline"): 1}, "the table of zero-gap baselines acts"),
    "fresh-gap": ({("deboost_params", "fresh_gap"): 1}, "the yielder is charged before the gap is measured"),
    "late-limiter": ({("deboost_params", "late_limiter"): 1}, "yields to other CPUs use up no turn of the limiter"),
    "vector-eoi": ({("kvm_params", "track"): TRACK_V3}, "an EOI clears only the IPI of its vector"),
}
"""What v2's cover letter describes and its code does not do, each as a switch."""

AS_DESCRIBED = (
    *(
        replace(
            SERIES_V2,
            name=f"series-v2-{name}",
            summary=f"v2, but {what}",
            settings=settings,
            kernels=ONLY_6_19 if name == "fresh-gap" else KERNELS,  # on 7.3 the gap is always fresh
        )
        for name, (settings, what) in DESCRIBED.items()
    ),
    replace(
        SERIES_V2,
        name="series-v2-described",
        summary="v2 with all of these switches, as its cover letter describes it",
        settings={key: value for settings, _ in DESCRIBED.values() for key, value in settings.items()},
    ),
)

LOCAL_DISTANCE, REMOTE_DISTANCE = 10, 21
"""NUMA distances as firmware gives them (SLIT) on hosts of two sockets."""


def numa_scaled_penalty(view):
    """The series' penalty times the mean NUMA distance of the yielder's waiting siblings, in units of the local one.

    The more of the VM waits on other nodes, the dearer a lock is that changes hands late: its line travels further.
    """
    distance = 0
    for i in range(view.nr_candidates):
        distance += LOCAL_DISTANCE if view.same_node[i] else REMOTE_DISTANCE
    if view.nr_candidates == 0:
        return view.series_penalty_ns
    return view.series_penalty_ns * distance // (LOCAL_DISTANCE * view.nr_candidates)


FUTURE_WORK = (
    replace(
        SERIES_V2,
        name="series-v2-adaptive-window",
        summary="v2 with an IPI window of 16 mean response times of the VM",
        settings={("kvm_params", "adaptive_window"): 1},
    ),
    replace(
        SERIES_V2,
        name="series-v2-ipi-chain",
        summary="v2, the receiver of my receiver's IPI counts as mine",
        settings={("kvm_params", "ipi_chain"): 1},
    ),
    replace(
        SERIES_V2,
        name="series-v2-any-sender",
        summary="v2, any pending interrupt makes a candidate, whoever sent it",
        settings={("kvm_params", "filter"): FILTER_ANY_IPI},
    ),
    replace(
        SERIES_V2,
        name="series-v2-numa",
        summary="v2, its penalty times the mean NUMA distance of the siblings that wait",
        penalty_rule=numa_scaled_penalty,
    ),
    replace(
        SERIES_V2,
        name="series-v2-no-limiter",
        summary="v2 without the 6 ms limiter",
        settings={("deboost_params", "rate_limit_ns"): 0},
    ),
)


def forfeit_part(part_1024: int, name: str, summary: str) -> Policy:
    """A yielder that gives up only so much (1024: all) of what is left of its request."""
    return Policy(name, summary, settings={("deboost_params", "forfeit_1024"): part_1024}, source=FORFEITS)


ALTERNATIVES = (
    forfeit_part(0, "forfeit-none", "the hint only: a yielder gives up nothing"),
    forfeit_part(256, "forfeit-quarter", "a yielder gives up a quarter of what is left of its request"),
    forfeit_part(512, "forfeit-half", "a yielder gives up half of what is left of its request"),
    Policy(
        "vee21-debooster",
        "VEE'21: push the yielder just far enough for CFS's buddy test",
        frozenset(range(1, 6)),
        settings={("deboost_params", "deboost"): DEBOOST_VEE21, ("deboost_params", "rate_limit_ns"): 0},
        source=VEE21,
    ),
    Policy(
        "vee21-strict-boost",
        "VEE'21: halted and user-mode siblings only if I sent them an IPI, or passed them by",
        settings={("kvm_params", "filter"): FILTER_STRICT},
        source=VEE21,
    ),
    Policy(
        "vee21",
        "VEE'21: debooster and strict boost",
        frozenset(range(1, 6)),
        settings={
            ("deboost_params", "deboost"): DEBOOST_VEE21,
            ("deboost_params", "rate_limit_ns"): 0,
            ("kvm_params", "filter"): FILTER_STRICT,
        },
        source=VEE21,
    ),
    Policy(
        "hierarchical-forfeit",
        "each level up to the first shared one forfeits its request",
        settings={("deboost_params", "forfeit"): FORFEIT_HIERARCHICAL},
        kernels=ONLY_6_19,
        source="K Prateek Nayak, review of v1",
    ),
    Policy(
        "proportional-yield",
        "each group pays the yielder's share of a slice",
        settings={("deboost_params", "forfeit"): FORFEIT_PROPORTIONAL},
        kernels=ONLY_6_19,
        source="K Prateek Nayak, review of v2",
    ),
)
