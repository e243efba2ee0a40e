"""A scheduler scenario of v7.3: the first line of a trace of the set `flat`, checked and built into a world.

One CPU or several, which only the script connects: it says where tasks wake and which of them move.
"""

from dataclasses import dataclass
from typing import Any

from vcpu_env.base.jit import NIL
from vcpu_env.base.world import World
from vcpu_env.kernel.build import Tunables, build_kernel
from vcpu_env.kernel.features import CGROUP_MODES, FEATURES_7_3, NORMALIZED_BASE_SLICE_NS
from vcpu_env.kernel.types import KERNEL_7_3, kernel_arrays
from vcpu_env.kernel.yield_types import init_yield, yield_arrays
from vcpu_env.trace.sched_scenario import (
    COMMON_OPS,
    MAX_WEIGHT,
    check_features,
    choice,
    fail,
    field_of,
    group_specs,
    integer,
    task_specs,
)

OPS = COMMON_OPS | {"migrate": ("task", "cpu"), "cgroup_mode": ("mode",), "run": ()}
"""The operations and the fields that each needs beside ``t``."""

MAX_CPUS = 63
UNUSED_FEATURE = "PARANOID_AVG"
"""A repair of sums that overflow; none does here."""


@dataclass(frozen=True)
class FlatScenario:
    """A checked scenario with its names resolved.

    Attributes:
        tasks: name -> task id.
        groups: name -> task group id.
        pelt: records have load averages.
        hrtick: records have the time at which the timer of a slice goes off.
        blocked_update_ticks: every so many ticks a CPU ages its load; 0: never.
    """

    world: World
    nr_cpus: int
    tasks: dict[str, int]
    groups: dict[str, int]
    tick_ns: int
    verbose: bool
    pelt: bool
    hrtick: bool
    blocked_update_ticks: int
    ops: list[dict[str, Any]]


def check_op(where: str, op: dict[str, Any], scenario: FlatScenario) -> None:
    """One operation known, complete, and naming what exists."""
    name = field_of(where, op, "op")
    if name not in OPS:
        fail(f"{where}.op", name, ", ".join(OPS))
    for needed in OPS[name]:
        field_of(where, op, needed)
    for field in ("task", "to"):
        if field in op and op[field] not in scenario.tasks:
            fail(f"{where}.{field}", op[field], "the id of a task")
    if "cpu" in op:
        integer(where, op, "cpu", 0, scenario.nr_cpus - 1)
    if name == "renice":
        integer(where, op, "nice", -20, 19)
    if name == "shares":
        integer(where, op, "weight", 2, MAX_WEIGHT)
        if op["group"] not in scenario.groups:
            fail(f"{where}.group", op["group"], "the id of a group")
    if name == "cgroup_mode":
        choice(where, op, "mode", CGROUP_MODES, "concur")


def load_flat_scenario(record: dict[str, Any]) -> FlatScenario:
    """Check a scenario and build its world.

    Raises:
        ValueError: a field is missing, unknown or out of range.
    """
    hz = integer("scenario", record, "hz", 1, 1_000_000, 1000)
    nr_cpus = integer("scenario", record, "cpus", 1, MAX_CPUS, 1)
    groups, group_list = group_specs(record, nr_cpus)
    tasks, task_list = task_specs(record, groups, nr_cpus)
    features = {"HRTICK": 0} | record.get("features", {})
    check_features(features, (*FEATURES_7_3, UNUSED_FEATURE))
    features.pop(UNUSED_FEATURE, None)
    tunables = Tunables(
        hz=hz,
        base_slice_ns=integer("scenario", record, "base_slice_ns", 1, 1 << 40),
        normalized_base_slice_ns=integer(
            "scenario", record, "normalized_base_slice_ns", 1, 1 << 40, NORMALIZED_BASE_SLICE_NS
        ),
        preempt_lazy=choice("scenario", record, "preempt", ("full", "lazy"), "full") == "lazy",
        track_load=bool(record.get("pelt")),
        kernel=KERNEL_7_3,
        cgroup_mode=CGROUP_MODES.index(choice("scenario", record, "cgroup_mode", CGROUP_MODES, "concur")),
    )
    world = World([*kernel_arrays(nr_cpus, len(task_list), len(group_list)), *yield_arrays()])
    build_kernel(world, nr_cpus, task_list, group_list, tunables, features)
    init_yield(world)
    world["rq"]["sd"] = NIL  # nothing is balanced
    scenario = FlatScenario(
        world=world,
        nr_cpus=nr_cpus,
        tasks=tasks,
        groups=groups,
        tick_ns=1_000_000_000 // hz,
        verbose=bool(record.get("verbose_ticks", 1)),
        pelt=bool(record.get("pelt")),
        hrtick=bool(features["HRTICK"]),
        blocked_update_ticks=integer("scenario", record, "blocked_update_ticks", 0, 1 << 20, 0),
        ops=field_of("scenario", record, "ops"),
    )
    last = 0
    for i, op in enumerate(scenario.ops):
        last = integer(f"ops[{i}]", op, "t", last, 1 << 60)
        check_op(f"ops[{i}]", op, scenario)
    return scenario
