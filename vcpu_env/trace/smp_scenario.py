"""A scenario of many CPUs: the first line of a trace of the ``smp`` sets, checked and built into a world.

Times of these traces are relative to a machine that has been up for `EPOCH_NS`; "never", 0 in the kernel, is negative.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vcpu_env.base.jit import NIL
from vcpu_env.base.timeline import init_timeline, timeline_arrays
from vcpu_env.base.world import World
from vcpu_env.kernel.bandwidth import Bandwidth
from vcpu_env.kernel.build import Group, Task, Tunables, build_kernel
from vcpu_env.kernel.cgroup import cgroup_arrays, cgroup_slots, init_cgroups
from vcpu_env.kernel.domain_types import recorded_dice
from vcpu_env.kernel.features import FEATURES
from vcpu_env.kernel.topology import Cpu, domains_of
from vcpu_env.kernel.types import kernel_arrays
from vcpu_env.kernel.weights import WEIGHT_IDLEPRIO
from vcpu_env.kernel.yield_types import init_yield, yield_arrays
from vcpu_env.trace.sched_scenario import COMMON_OPS, MAX_WEIGHT, POLICIES, choice, fail, field_of, integer

EPOCH_NS = 16_384_000_000
"""How long the machine has been up at time 0 of a trace."""

MAX_CPUS = 63
MAX_TIME_NS = 1 << 50

EVERY_TICK, TICK_INSTANTS, EVENTS = "every tick of every CPU", "tick instants", "events"
RECORDS = (EVERY_TICK, TICK_INSTANTS, EVENTS)
"""Which ticks a trace has records of: each CPU's, each instant, or instants at which something happened."""

OPS = COMMON_OPS | {
    "fork": ("task", "cpu"),
    "wake": ("task", "cpu", "sync"),
    "aff": ("task", "mask"),
    "bw": ("group", "period_us", "quota_us", "burst_us", "cpu"),
    "balance": ("cpu", "level"),
    "setfailed": ("cpu", "level", "failed"),
    "end": (),
}
"""The operations and the fields that each needs beside ``t``."""


@dataclass(frozen=True)
class SmpScenario:
    """A checked scenario. Tasks and groups are numbered as in the trace, tasks from 0, groups from 1."""

    world: World
    nr_cpus: int
    nr_tasks: int
    nr_groups: int
    tick_ns: int
    record: str
    ops: list[dict[str, Any]]
    levels: list[list[int]]
    """For each CPU the numbers of its scheduling domains, lowest first."""


def cpus_of(record: dict[str, Any]) -> list[Cpu]:
    """Where each CPU is."""
    places = field_of("scenario", record, "cpus")
    if not isinstance(places, list) or not 1 <= len(places) <= MAX_CPUS:
        fail("scenario.cpus", places, f"a list of 1 to {MAX_CPUS} CPUs")
    for i, place in enumerate(places):
        if not isinstance(place, list) or len(place) != len(Cpu._fields) or not all(isinstance(x, int) for x in place):
            fail(f"cpus[{i}]", place, "the numbers of core, last-level cache and node")
    return [Cpu(*place) for place in places]


def groups_of(record: dict[str, Any]) -> list[Group]:
    """Task groups, parents before children, numbered from 1."""
    specs = []
    for i, group in enumerate(field_of("scenario", record, "groups")):
        where = f"groups[{i}]"
        integer(where, group, "id", i + 1, i + 1)
        parent, weight = integer(where, group, "parent", 0, i), integer(where, group, "weight", 2, MAX_WEIGHT)
        integer(where, group, "period_phase_ns", 0, MAX_TIME_NS)
        idle = bool(integer(where, group, "idle", 0, 1, 0))
        specs.append(Group(parent, (WEIGHT_IDLEPRIO if idle else weight) << 10, idle))
    return specs


def tasks_of(record: dict[str, Any], nr_groups: int, nr_cpus: int) -> list[Task]:
    """Tasks, numbered from 0; each begins on the CPU where it is forked."""
    forked = {op.get("task"): op.get("cpu") for op in record["ops"] if op["op"] == "fork"}
    specs = []
    for i, task in enumerate(field_of("scenario", record, "tasks")):
        where = f"tasks[{i}]"
        integer(where, task, "id", i, i)
        integer(where, task, "cpus_allowed", 1, (1 << nr_cpus) - 1)
        specs.append(
            Task(
                group=integer(where, task, "group", 0, nr_groups),
                nice=integer(where, task, "nice", -20, 19, 0),
                policy=POLICIES[choice(where, task, "policy", POLICIES, "normal")],
                slice_ns=integer(where, task, "slice_ns", 0, 1 << 40, 0),
                cpu=forked.get(i, 0),
            )
        )
    return specs


def check_smp_ops(record: dict[str, Any], nr_cpus: int) -> None:
    """Every operation known, complete, in order of time, and naming what exists."""
    ops = field_of("scenario", record, "ops")
    nr_tasks, nr_groups = len(field_of("scenario", record, "tasks")), len(field_of("scenario", record, "groups"))
    limits = {
        "task": (0, nr_tasks - 1),
        "to": (0, nr_tasks - 1),
        "cpu": (0, nr_cpus - 1),
        "group": (1, nr_groups),
        "nice": (-20, 19),
        "weight": (2, MAX_WEIGHT),
        "mask": (1, (1 << nr_cpus) - 1),
        "sync": (0, 1),
        "level": (0, 3),
        "failed": (0, 1 << 20),
        "period_us": (1000, 1_000_000),
        "quota_us": (-1, 1 << 40),
        "burst_us": (0, 1 << 40),
    }
    last = 0
    for i, op in enumerate(ops):
        where = f"ops[{i}]"
        last = integer(where, op, "t", last, MAX_TIME_NS)
        name = field_of(where, op, "op")
        if name not in OPS:
            fail(f"{where}.op", name, ", ".join(OPS))
        for field in OPS[name]:
            integer(where, op, field, *limits[field])


def features_of(record: dict[str, Any]) -> dict[str, int]:
    """Scheduler features that are not at their defaults."""
    features = record.get("features", {})
    for name, value in features.items():
        if name not in FEATURES:
            fail("features", name, ", ".join(FEATURES))
        if value not in (0, 1):
            fail(f"features.{name}", value, "0 or 1")
    return features


def load_smp_scenario(record: dict[str, Any], dice: Sequence[int] = ()) -> SmpScenario:
    """Check a scenario and build its world, all CPUs idle at time 0.

    Args:
        record: what a trace begins with.
        dice: the random numbers of newidle balancing that the recording drew.

    Raises:
        ValueError: a field is missing, unknown or out of range.
    """
    cpus = cpus_of(record)
    nr_cpus = len(cpus)
    check_smp_ops(record, nr_cpus)
    groups, features = groups_of(record), features_of(record)
    tasks = tasks_of(record, len(groups), nr_cpus)
    hz = integer("scenario", record, "hz", 1, 1_000_000, 1000)
    domains = domains_of(cpus)
    world = World(
        [
            *kernel_arrays(nr_cpus, len(tasks), len(groups), len(domains.levels), domains.nr_llcs),
            *yield_arrays(),
            *timeline_arrays(cgroup_slots(len(groups), 0)),
            *cgroup_arrays(nr_cpus, len(groups), 0),
            recorded_dice(len(dice)),
        ]
    )
    base_slice_ns = integer("scenario", record, "base_slice_ns", 1, 1 << 40)
    tunables = Tunables(hz=hz, base_slice_ns=base_slice_ns, newidle_cost_ns=0, track_load=True)
    build_kernel(world, nr_cpus, tasks, groups, tunables, features, cpus)
    init_yield(world)
    init_timeline(world)
    phases = [EPOCH_NS + group["period_phase_ns"] for group in record["groups"]]
    init_cgroups(world, [Bandwidth()] * len(groups), phases, (), 0)
    world["sched_tunables"]["cfs_bandwidth_used"] = any(op["op"] == "bw" for op in record["ops"])
    world["sched_tunables"]["recorded_dice"], world["newidle_dice"]["value"][: len(dice)] = len(dice), dice
    set_masks(world, [task["cpus_allowed"] for task in record["tasks"]])
    start_at_epoch(world)
    return SmpScenario(
        world=world,
        nr_cpus=nr_cpus,
        nr_tasks=len(tasks),
        nr_groups=len(groups),
        tick_ns=1_000_000_000 // hz,
        record=choice("scenario", record, "record", RECORDS, EVENTS),
        ops=record["ops"],
        levels=domains_of_cpus(world, nr_cpus),
    )


def set_masks(world: World, masks: list[int]) -> None:
    """The affinity that each task is forked with."""
    allowed = world["task_struct"]["cpus_allowed"]
    allowed[:] = 0
    allowed[:, 0] = np.array(masks, np.int64)


def start_at_epoch(world: World) -> None:
    """The state of an idle machine that has been up for `EPOCH_NS`: nothing balanced yet, all due now."""
    rq, sd = world["rq"], world["sched_domain"]
    for field in ("clock_ns", "clock_read_ns", "idle_stamp_ns", "next_balance_ns"):
        rq[field] = EPOCH_NS
    sd["last_balance_ns"] = EPOCH_NS
    for array in ("sched_entity", "cfs_rq"):
        updated = world[array]["last_update_time_ns"]
        updated[updated != NIL] = EPOCH_NS
    # The recording has no idle loop, which sets the flag of idle tasks.
    world["sched_tunables"]["pf_idle"] = 0
    rq["last_blocked_load_update_ns"] = world["rq_totals"]["now_ns"] = EPOCH_NS
    world["nohz"]["next_balance_ns"] = world["nohz"]["next_blocked_ns"] = EPOCH_NS


def domains_of_cpus(world: World, nr_cpus: int) -> list[list[int]]:
    """The numbers of each CPU's domains, lowest first."""
    chains = []
    for cpu in range(nr_cpus):
        chain, sd = [], int(world["rq"]["sd"][cpu])
        while sd >= 0:
            chain.append(sd)
            sd = int(world["sched_domain"]["parent"][sd])
        chains.append(chain)
    return chains
