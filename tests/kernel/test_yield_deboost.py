"""The debooster: its functions against worked values, its effect on a yield, and a rule of one's own in its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcpu_env.base.jit import NIL
from vcpu_env.base.world import World
from vcpu_env.kernel.build import Group, Task, Tunables, build_kernel
from vcpu_env.kernel.core import (
    sched_tick,
    schedule,
    try_to_wake_up,
    update_rq_clock,
    wake_up_new_task,
    yield_to,
    yield_to_begin,
    yield_to_end,
)
from vcpu_env.kernel.types import INITIAL_VRUNTIME, kernel_arrays
from vcpu_env.kernel.yield_penalty import u64_div, u64_less
from vcpu_env.kernel.yield_types import (
    DEBOOST_NONE,
    DEBOOST_V1,
    DEBOOST_V2,
    SCALE_ONE_Q16,
    SKIP_NOT,
    SKIP_NOT_SAME_RQ,
    SKIP_RATE_LIMIT,
    init_yield,
    yield_arrays,
)
from vcpu_env.trace.sched_functions import check_function_line, signed

GRAN = 2_800_000
MS = 1_000_000


def penalty_line(need: int, n: int, penalty: int, **changes) -> dict:
    line = {"fn": "penalty", "base_slice": GRAN, "weight": 1024, "h_nr_queued": n, "y_vruntime": 10**8}
    return line | {"t_vruntime": 10**8 + need, "gran": GRAN, "penalty": penalty} | changes


@pytest.mark.core
@pytest.mark.parametrize(
    ("need", "n", "penalty"),
    [
        *((0, 2, GRAN), (0, 3, GRAN), (0, 13, GRAN), (9, 2, 2_800_009), (10, 2, 2_800_011)),
        *((1_000_000, 2, 3_900_000), (12_727_272, 2, 16_799_999), (12_727_273, 2, 16_800_000)),
        *((20_000_000, 2, 16_800_000), (8_000_000, 3, 11_200_000), (3_000_000, 4, 6_100_000)),
        *((3_818_181, 6, 6_999_999), (4_000_000, 6, 7_000_000), (4_000_000, 7, 5_600_000)),
        *((2_545_454, 8, 5_599_999), (1_000_000, 9, 3_900_000), (2_000_000, 12, 4_200_000), (5_000_000, 13, GRAN)),
    ],
)
def test_penalty(need, n, penalty):
    assert check_function_line(penalty_line(need, n, penalty)) == {}


@pytest.mark.core
def test_penalty_wraps_as_u64():
    straddle = penalty_line(0, 2, 6 * GRAN, y_vruntime=50_000, t_vruntime=2**64 - 200_000)
    surcharge_wraps = penalty_line(0, 2, GRAN, y_vruntime=0, t_vruntime=16_769_767_339_735_956_015)
    assert check_function_line(straddle) == {}
    assert check_function_line(surcharge_wraps) == {}


@pytest.mark.core
def test_penalty_of_a_group_uses_its_weight():
    line = penalty_line(10_000_000, 5, 13_999_997, weight=512, gran=5_599_999)
    assert check_function_line(line) == {}


@given(a=st.integers(0, 2**64 - 1), b=st.integers(1, 2**62))
def test_u64_arithmetic(a, b):
    assert int(u64_div(signed(a), b)) & (2**64 - 1) == a // b
    assert bool(u64_less(signed(a), b)) == (a < b)


@pytest.mark.core
@pytest.mark.parametrize("interval_us", [1000, 7000])
def test_limiter_over_time(interval_us):
    """v2 lets one yield per 6 ms pass; v1 stamps every try, so only a quiet gap opens it again."""
    stamps, passed = {"v2": 0, "v1": 0}, {"v2": 0, "v1": 0}
    for i in range(30):
        now = 10**9 + i * interval_us * 1000
        for version, stamp in stamps.items():
            line = {"fn": "rate", "last": stamp, "now": now}
            for key in ("v2_skip", "v2_last", "v1_skip", "v1_last"):
                line[key] = None
            own = {name: value for name, (_, value) in check_function_line(line).items()}
            passed[version] += not own[f"{version}_skip"]
            stamps[version] = own[f"{version}_last"]
    assert passed == ({"v2": 5, "v1": 1} if interval_us == 1000 else {"v2": 30, "v1": 30})


def two_tasks(deboost: int, *, cpus: int = 1, groups: int = 0) -> World:
    """Tasks 0 and 1 at 40 ms, task 0 running; with two CPUs task 1 waits on the other one behind task 2."""
    nr_tasks = 4 if cpus == 2 else 2
    tasks = [Task(group=1 + p if p < groups else 0, cpu=int(cpus == 2 and p > 0)) for p in range(nr_tasks)]
    world = World([*kernel_arrays(cpus, nr_tasks, groups), *yield_arrays()])
    build_kernel(world, cpus, tasks, [Group()] * groups, Tunables(base_slice_ns=GRAN))
    init_yield(world, deboost)
    w = world.handle
    for p, task in enumerate(tasks):
        world["task_struct"]["cpus_allowed"][p] = (1 << task.cpu, 0, 0, 0)
    for p in (0, *range(2, nr_tasks), 1):
        wake_up_new_task(w, p, tasks[p].cpu)
    for cpu in range(cpus):
        schedule(w, cpu)
    for t in range(1, 41):
        for cpu in range(cpus):
            update_rq_clock(w, cpu, t * MS)
            sched_tick(w, cpu)
            if world["rq"]["need_resched"][cpu]:
                schedule(w, cpu)
    while world["rq"]["curr"][0] != 0:
        t += 1
        update_rq_clock(w, 0, t * MS)
        sched_tick(w, 0)
        schedule(w, 0)
    return world


def vruntimes(world: World) -> list[int]:
    return world["sched_entity"]["vruntime"].tolist()


@pytest.mark.core
def test_yield_without_the_series_leaves_a_record_without_penalty():
    world = two_tasks(DEBOOST_NONE)
    assert yield_to(world.handle, 0, 1) == 1
    decision = world["yield_decision"][0]
    assert (decision["pending"], decision["applied"], decision["skip"]) == (0, 0, SKIP_NOT)
    assert world["cfs_rq"]["next"][0] == 1


@pytest.mark.core
def test_v2_charges_the_yielder_and_the_target_runs():
    world = two_tasks(DEBOOST_V2)
    before = vruntimes(world)
    assert yield_to(world.handle, 0, 1) == 1
    decision = world["yield_decision"][0]
    assert decision["applied"] == 1
    assert decision["y_v1"] == before[0] + decision["penalty_ns"]
    assert GRAN <= decision["penalty_ns"] <= 6 * GRAN
    assert schedule(world.handle, 0) == 1


@pytest.mark.core
def test_second_yield_within_6_ms_is_limited():
    world = two_tasks(DEBOOST_V2)
    assert yield_to(world.handle, 0, 1) == 1
    assert schedule(world.handle, 0) == 1
    assert yield_to(world.handle, 0, 0) == 1
    assert world["yield_decision"]["skip"][0] == SKIP_RATE_LIMIT


@pytest.mark.core
def test_penalty_hits_the_groups_where_the_branches_part():
    world = two_tasks(DEBOOST_V2, groups=2)
    before = vruntimes(world)
    yield_to(world.handle, 0, 1)
    decision = world["yield_decision"][0]
    assert (decision["lca_y"], decision["lca_t"], decision["lca_q"]) == (2, 3, 0)
    assert vruntimes(world)[2] == before[2] + decision["penalty_ns"]


@pytest.mark.core
def test_v1_overwrites_the_slice_protection():
    world = two_tasks(DEBOOST_V1)
    yield_to(world.handle, 0, 1)
    entity, decision = world["sched_entity"][0], world["yield_decision"][0]
    assert decision["applied"] == 1
    assert abs(entity["vlag"]) < abs(decision["penalty_ns"])


@pytest.mark.core
def test_target_on_another_cpu_is_hinted_and_kicked_only():
    world = two_tasks(DEBOOST_V2, cpus=2)
    target = next(p for p in (1, 2, 3) if world["rq"]["curr"][1] != p)
    assert yield_to(world.handle, 0, target) == 1
    assert world["yield_decision"]["skip"][0] == SKIP_NOT_SAME_RQ
    assert world["cfs_rq"]["next"][1] == target
    assert world["rq"]["need_resched"][1] == 1


@pytest.mark.core
def test_refusals():
    world = two_tasks(DEBOOST_V2, cpus=2)
    running = int(world["rq"]["curr"][1])
    assert yield_to(world.handle, 0, running) == 0
    world = two_tasks(DEBOOST_V2)
    world["task_struct"]["state"][1] = 1
    assert yield_to(world.handle, 0, 1) == 0
    assert try_to_wake_up(world.handle, 1, 0, 0) == 2


@pytest.mark.core
@pytest.mark.parametrize("share", [0, 1, 2])
def test_penalty_scale_multiplies_the_series_penalty(share):
    world = two_tasks(DEBOOST_V2)
    series = two_tasks(DEBOOST_V2)
    world["deboost_params"]["penalty_scale_q16"] = share * SCALE_ONE_Q16
    yield_to(world.handle, 0, 1)
    yield_to(series.handle, 0, 1)
    decision = world["yield_decision"][0]
    assert decision["penalty_ns"] == share * series["yield_decision"]["penalty_ns"][0]
    assert (decision["applied"], decision["skip"]) == (share > 0, SKIP_NOT)


@pytest.mark.core
def test_a_rule_of_ones_own_between_the_two_halves():
    world = two_tasks(DEBOOST_V2)
    before = vruntimes(world)
    assert yield_to_begin(world.handle, 0, 1) == 1
    assert world["yield_decision"]["pending"][0] == 1
    assert vruntimes(world) == before
    world["yield_decision"]["penalty_ns"] = 123_456
    yield_to_end(world.handle, 0, 1)
    assert world["yield_decision"]["y_v1"][0] == before[0] + 123_456
    assert world["yield_decision"]["pending"][0] == 0


def test_world_starts_before_the_wrap():
    world = World([*kernel_arrays(1, 1, 0), *yield_arrays()])
    build_kernel(world, 1, [Task()])
    assert world["cfs_rq"]["zero_vruntime"][0] == INITIAL_VRUNTIME
    assert world["rq"]["curr"][0] == NIL
