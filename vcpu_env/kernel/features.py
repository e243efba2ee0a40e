"""The scheduler's features and base slice: what a scenario needs to know of the kernel, and nothing that compiles."""

NORMALIZED_BASE_SLICE_NS = 700_000
"""fair.c: normalized_sysctl_sched_base_slice, the slice on one CPU."""

FEATURES = {
    "PLACE_LAG": 1,
    "PLACE_DEADLINE_INITIAL": 1,
    "PLACE_REL_DEADLINE": 1,
    "RUN_TO_PARITY": 1,
    "PREEMPT_SHORT": 1,
    "NEXT_BUDDY": 0,
    "PICK_BUDDY": 1,
    "CACHE_HOT_BUDDY": 1,
    "DELAY_DEQUEUE": 1,
    "DELAY_ZERO": 1,
    "WAKEUP_PREEMPTION": 1,
    "TTWU_QUEUE": 1,
    "SIS_UTIL": 1,
    "WA_IDLE": 1,
    "WA_WEIGHT": 1,
    "WA_BIAS": 1,
    "UTIL_EST": 1,
    "NI_RANDOM": 1,
}
"""features.h of v6.19: the scheduler features that act on anything here, with their defaults."""

FEATURES_7_3 = FEATURES | {"HRTICK": 1}
"""features.h of v7.3 on x86, likewise. HRTICK is on where the timer hardware is cheap to program, as there."""

CGROUP_MODES = ("up", "smp", "concur", "max", "tasks")
"""7.3's ways to make a weight on one CPU of a group's shares (/sys/kernel/debug/sched/cgroup_mode)."""


def scaled_base_slice_ns(nr_cpus: int, normalized_ns: int = NORMALIZED_BASE_SLICE_NS) -> int:
    """fair.c: update_sysctl(), get_update_sysctl_factor(): by default 0.7 ms on one CPU, 2.8 ms from eight on."""
    return normalized_ns * min(nr_cpus, 8).bit_length()
