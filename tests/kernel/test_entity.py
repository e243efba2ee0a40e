"""EEVDF on one queue, against worked values: weights change, lag is kept, blown up at placement and limited."""

import pytest

from vcpu_env.base.world import World
from vcpu_env.kernel.build import Task, Tunables, build_kernel
from vcpu_env.kernel.core import schedule, update_rq_clock, wake_up_new_task
from vcpu_env.kernel.types import (
    LAG_CLAMP_6_19_0,
    LAG_CLAMP_6_19_9,
    REWEIGHT_FIXED,
    REWEIGHT_V6_19,
    TASK_INTERRUPTIBLE,
    kernel_arrays,
)
from vcpu_env.kernel.v6_19.entity import (
    __dequeue_entity,
    __enqueue_entity,
    avg_vruntime,
    entity_eligible,
    place_entity,
    reweight_entity,
    update_entity_lag,
)
from vcpu_env.kernel.yield_types import init_yield, yield_arrays

pytestmark = pytest.mark.core

A, B, C = 0, 1, 2
SLICE = 2_800_000


def running_and_waiting(vruntimes: list[int], deadlines: list[int], weights: list[int], **tunables) -> World:
    """Task A runs, the others wait, at the given virtual times (V starts at 0)."""
    nr_tasks = len(vruntimes)
    world = World([*kernel_arrays(1, nr_tasks, 0), *yield_arrays()])
    build_kernel(world, 1, [Task(weight=w) for w in weights], (), Tunables(base_slice_ns=SLICE, **tunables))
    init_yield(world)
    world["cfs_rq"]["zero_vruntime"] = 0
    w = world.handle
    for p in range(nr_tasks):
        wake_up_new_task(w, p, 0)
        if p == A:
            schedule(w, 0)
    for p in range(nr_tasks):
        if p != A:
            __dequeue_entity(w, 0, p)
    for p in range(nr_tasks):
        world["sched_entity"]["vruntime"][p], world["sched_entity"]["deadline"][p] = vruntimes[p], deadlines[p]
        if p != A:
            __enqueue_entity(w, 0, p)
    return world


def place(world: World, p: int) -> tuple[int, int]:
    """Where an entity is, in microseconds, rounded."""
    entity = world["sched_entity"][p]
    return round(int(entity["vruntime"]) / 1000), round(int(entity["deadline"]) / 1000)


def test_average_is_rounded_down_and_eligibility_is_exact():
    world = running_and_waiting([0, 1, 1], [9, 9, 9], [1024] * 3)
    assert avg_vruntime(world.handle, 0) == 0
    assert [bool(entity_eligible(world.handle, 0, p)) for p in (A, B, C)] == [True, False, False]
    world = running_and_waiting([-1, 0], [9, 9], [1024] * 2)
    assert avg_vruntime(world.handle, 0) == -1
    assert not entity_eligible(world.handle, 0, B)


@pytest.mark.parametrize("reweight", [REWEIGHT_V6_19, REWEIGHT_FIXED])
def test_reweight_of_a_waiting_entity_keeps_v(reweight):
    world = running_and_waiting([0, 1_000_000], [SLICE, 3_800_000], [1024, 1024], reweight=reweight)
    reweight_entity(world.handle, 0, B, 512 << 10, 0)
    assert place(world, B) == (1500, 7100)
    assert avg_vruntime(world.handle, 0) == 500_000


@pytest.mark.parametrize(
    ("reweight", "at", "v"), [(REWEIGHT_V6_19, (-667, 4933), 444), (REWEIGHT_FIXED, (-500, 5100), 500)]
)
def test_reweight_of_the_running_entity(reweight, at, v):
    """v6.19 blows its lag up; the later kernel leaves V where it is."""
    world = running_and_waiting([0, 1_000_000], [SLICE, 3_800_000], [1024, 1024], reweight=reweight)
    reweight_entity(world.handle, 0, A, 512 << 10, 0)
    assert place(world, A) == at
    assert round(avg_vruntime(world.handle, 0) / 1000) == v


@pytest.mark.parametrize(("reweight", "survives"), [(REWEIGHT_V6_19, False), (REWEIGHT_FIXED, True)])
def test_reweight_and_slice_protection(reweight, survives):
    """Lag and protection share a field in v6.19: a running entity that is reweighted is no longer protected."""
    world = running_and_waiting([5_000_000, 6_000_000], [8_000_000, 9_000_000], [1024, 1024], reweight=reweight)
    world["sched_entity"]["vlag"][A] = 8_000_000
    reweight_entity(world.handle, 0, A, 512 << 10, 0)
    entity = world["sched_entity"][A]
    assert (entity["vlag"] > entity["vruntime"]) == survives


@pytest.mark.parametrize(
    ("lag_clamp", "hz", "limit"),
    [
        *((LAG_CLAMP_6_19_0, 1000, 5_600_000), (LAG_CLAMP_6_19_0, 250, 5_600_000)),
        *((LAG_CLAMP_6_19_0, 100, 10_000_000), (LAG_CLAMP_6_19_9, 1000, 3_800_000), (LAG_CLAMP_6_19_9, 250, 6_800_000)),
    ],
)
def test_lag_is_limited(lag_clamp, hz, limit):
    far = 100_000_000
    world = running_and_waiting([0, far], [SLICE, far + SLICE], [1024, 1024], lag_clamp=lag_clamp, hz=hz)
    for p in (A, B):
        update_entity_lag(world.handle, 0, p)
    assert world["sched_entity"]["vlag"].tolist() == [limit, -limit]


@pytest.mark.parametrize(
    ("running_v", "weights", "vlag", "placed", "v"),
    [
        (10_000_000, [1024, 1024], 1_000_000, 8_000_000, 9_000_000),
        (10_000_000, [1024, 1024], -1_000_000, 12_000_000, 11_000_000),
        (10_000_000, [3072, 512], 1_500_000, 8_250_000, 9_750_000),
    ],
)
def test_lag_comes_out_right_after_joining(running_v, weights, vlag, placed, v):
    world = running_and_waiting([running_v, running_v], [20_000_000] * 2, weights)
    w = world.handle
    __dequeue_entity(w, 0, B)
    world["sched_entity"]["vlag"][B] = vlag
    place_entity(w, 0, B, 0)
    assert world["sched_entity"]["vruntime"][B] == placed
    __enqueue_entity(w, 0, B)
    assert avg_vruntime(w, 0) == v


def test_a_sleeper_ahead_of_v_leaves_late():
    """It stays queued with its debt, and counts in nr_running, until V has caught up and it is picked."""
    world = running_and_waiting([1_000_000, 0], [SLICE, SLICE], [1024, 1024])
    w = world.handle
    world["task_struct"]["state"][A] = TASK_INTERRUPTIBLE
    assert schedule(w, 0) == B
    assert world["sched_entity"]["sched_delayed"][A] == 1
    assert (world["rq"]["nr_running"][0], world["cfs_rq"]["h_nr_runnable"][0]) == (2, 1)
    update_rq_clock(w, 0, 2_900_000)
    assert schedule(w, 0) == B
    assert (world["sched_entity"]["on_rq"][A], world["rq"]["nr_running"][0]) == (0, 1)
    assert world["sched_entity"]["vlag"][A] == 0
