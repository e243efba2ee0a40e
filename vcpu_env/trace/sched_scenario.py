"""A scheduler scenario: the first line of a trace of the sets `fair`, `v1` and `v2`, checked and built into a world.

A target that waits on another CPU (`remote_tasks`) gets a CPU of its own, with as many tasks queued there as its
`nr_running` says. Those CPUs never schedule.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from vcpu_env.base.world import World
from vcpu_env.kernel.build import Group, Task, Tunables, build_kernel
from vcpu_env.kernel.core import wake_up_new_task
from vcpu_env.kernel.features import FEATURES, NORMALIZED_BASE_SLICE_NS
from vcpu_env.kernel.types import (
    SCHED_BATCH,
    SCHED_IDLE,
    SCHED_NORMAL,
    kernel_arrays,
)
from vcpu_env.kernel.yield_types import DEBOOST, init_yield, yield_arrays

POLICIES = {"normal": SCHED_NORMAL, "batch": SCHED_BATCH, "idle": SCHED_IDLE}
COMMON_OPS = {
    "fork": ("task",),
    "wake": ("task",),
    "block": ("task",),
    "yield": ("task",),
    "yield_to": ("task", "to"),
    "exit": ("task",),
    "renice": ("task", "nice"),
    "shares": ("group", "weight"),
}
OPS = COMMON_OPS | {"debooster": ("value",), "run": ()}
"""The operations and the fields that each needs beside ``t``; `COMMON_OPS` are there in every format."""

MAX_WEIGHT = 1 << 18
MAX_REMOTE = 61


def fail(field: str, value: Any, allowed: str) -> None:
    """Refuse a scenario."""
    raise ValueError(f"{field}: value {value!r} (allowed: {allowed})")


def field_of(where: str, record: dict[str, Any], name: str) -> Any:
    """A field that must be there."""
    if name not in record:
        fail(f"{where}.{name}", None, "must be given")
    return record[name]


def integer(where: str, record: dict[str, Any], name: str, low: int, high: int, default: int | None = None) -> int:
    """An integer field within bounds."""
    value = record.get(name, default) if default is not None else field_of(where, record, name)
    if not isinstance(value, int) or not low <= value <= high:
        fail(f"{where}.{name}", value, f"an integer from {low} to {high}")
    return int(value)


def choice(where: str, record: dict[str, Any], name: str, allowed: Any, default: str) -> str:
    """A field with named values."""
    value = record.get(name, default)
    if value not in allowed:
        fail(f"{where}.{name}", value, ", ".join(map(str, allowed)))
    return value


@dataclass(frozen=True)
class Scenario:
    """A checked scenario with its names resolved.

    Attributes:
        tasks: name -> task id; those of other CPUs included.
        groups: name -> task group id.
        entities: names in the order of the trace, with entity ids: groups first.
        remote: names of the tasks of the other CPU.
    """

    world: World
    tasks: dict[str, int]
    groups: dict[str, int]
    entities: dict[str, int]
    remote: frozenset[str]
    tick_ns: int
    verbose: bool
    series: bool
    ops: list[dict[str, Any]]


def group_specs(record: dict[str, Any], nr_cpus: int = 1) -> tuple[dict[str, int], list[Group]]:
    """Task groups, parents before children as the trace lists them."""
    ids: dict[str, int] = {}
    specs = []
    for i, group in enumerate(record.get("groups", [])):
        where = f"groups[{i}]"
        name, parent = field_of(where, group, "id"), group.get("parent")
        if parent is not None and parent not in ids:
            fail(f"{where}.parent", parent, "null or the id of a group given before")
        if name in ids or name == "root":
            fail(f"{where}.id", name, "a name that no other group has")
        ids[name] = i + 1
        weight = integer(where, group, "weight", 2, MAX_WEIGHT)
        cpuset = integer(where, group, "cpuset_cpus", 0, nr_cpus, 0)
        above = ids[parent] if parent is not None else 0
        specs.append(Group(above, weight << 10, bool(group.get("idle")), nr_cpus=cpuset))
    return ids, specs


def task_specs(record: dict[str, Any], groups: dict[str, int], nr_cpus: int = 1) -> tuple[dict[str, int], list[Task]]:
    """Tasks of these CPUs."""
    ids: dict[str, int] = {}
    specs = []
    for i, task in enumerate(field_of("scenario", record, "tasks")):
        where = f"tasks[{i}]"
        name, group = field_of(where, task, "id"), task.get("group")
        if name in ids or name in groups:
            fail(f"{where}.id", name, "a name that no other task or group has")
        if group is not None and group not in groups:
            fail(f"{where}.group", group, "null or the id of a group")
        ids[name] = i
        specs.append(
            Task(
                group=groups[group] if group is not None else 0,
                nice=integer(where, task, "nice", -20, 19, 0),
                weight=integer(where, task, "weight", 2, MAX_WEIGHT) if "weight" in task else None,
                policy=POLICIES[choice(where, task, "policy", POLICIES, "normal")],
                slice_ns=integer(where, task, "slice_ns", 0, 1 << 40, 0),
                cpu=integer(where, task, "cpu", 0, nr_cpus - 1, 0),
            )
        )
    return ids, specs


def check_ops(record: dict[str, Any], tasks: dict[str, int], groups: dict[str, int], remote: set[str]) -> None:
    """Every operation known, complete, in order of time, and naming what exists."""
    last = 0
    for i, op in enumerate(field_of("scenario", record, "ops")):
        where = f"ops[{i}]"
        last = integer(where, op, "t", last, 1 << 60)
        name = field_of(where, op, "op")
        if name not in OPS:
            fail(f"{where}.op", name, ", ".join(OPS))
        for needed in OPS[name]:
            field_of(where, op, needed)
        local = [task for task in tasks if task not in remote]
        if "task" in OPS[name] and op["task"] not in local:
            fail(f"{where}.task", op["task"], "the id of a task of this CPU")
        if name == "yield_to" and op["to"] not in tasks:
            fail(f"{where}.to", op["to"], "the id of a task")
        if name == "renice":
            integer(where, op, "nice", -20, 19)
        if name == "shares":
            integer(where, op, "weight", 2, MAX_WEIGHT)
            if op["group"] not in groups:
                fail(f"{where}.group", op["group"], "the id of a group")


def check_features(features: dict[str, Any], known: Iterable[str]) -> None:
    """Every feature one that the kernel has, on or off."""
    for name, value in features.items():
        if name not in known:
            fail("features", name, ", ".join(known))
        if value not in (0, 1):
            fail(f"features.{name}", value, "0 or 1")


def load_scenario(record: dict[str, Any]) -> Scenario:
    """Check a scenario and build its world.

    Raises:
        ValueError: a field is missing, unknown or out of range.
    """
    hz = integer("scenario", record, "hz", 1, 1_000_000, 1000)
    groups, group_list = group_specs(record)
    tasks, task_list = task_specs(record, groups)
    features = record.get("features", {})
    check_features(features, FEATURES)
    remote = {}
    for i, task in enumerate(record.get("remote_tasks", [])):
        where = f"remote_tasks[{i}]"
        remote[field_of(where, task, "id")] = integer(where, task, "nr_running", 1, 1000)
    if len(remote) > MAX_REMOTE:
        fail("remote_tasks", len(remote), f"at most {MAX_REMOTE}")
    for cpu, (name, nr_running) in enumerate(remote.items(), start=1):
        if name in tasks or name in groups:
            fail("remote_tasks.id", name, "a name that no other task or group has")
        tasks[name] = len(task_list)
        task_list += [Task(cpu=cpu)] * nr_running
    check_ops(record, tasks, groups, set(remote))
    nr_cpus = 1 + len(remote)
    world = World([*kernel_arrays(nr_cpus, len(task_list), len(group_list)), *yield_arrays()])
    tunables = Tunables(
        hz=hz,
        base_slice_ns=integer("scenario", record, "base_slice_ns", 1, 1 << 40),
        normalized_base_slice_ns=integer(
            "scenario", record, "normalized_base_slice_ns", 1, 1 << 40, NORMALIZED_BASE_SLICE_NS
        ),
        preempt_lazy=choice("scenario", record, "preempt", ("full", "lazy"), "full") == "lazy",
    )
    build_kernel(world, nr_cpus, task_list, group_list, tunables, features)
    series = choice("scenario", record, "series", DEBOOST, "none")
    init_yield(world, DEBOOST[series], bool(record.get("vcpu_debooster_enabled", 1)))
    for p, task in enumerate(task_list):
        world["task_struct"]["cpus_allowed"][p] = (1 << task.cpu, 0, 0, 0)
        if task.cpu:
            wake_up_new_task(world.handle, p, task.cpu)
    names = [name for name in tasks if name not in remote]
    entities = {name: len(task_list) + (tg - 1) * nr_cpus for name, tg in groups.items()}
    entities |= {name: tasks[name] for name in names}
    return Scenario(
        world=world,
        tasks=tasks,
        groups=groups,
        entities=entities,
        remote=frozenset(remote),
        tick_ns=1_000_000_000 // hz,
        verbose=bool(record.get("verbose_ticks", 1)),
        series=series != "none",
        ops=record["ops"],
    )
