"""Directed yields on v7.3: the series' penalty, borrowed hints, smaller forfeits; numbers worked out by hand.

Two tasks of nice 0 on one CPU, each alone in a group of weight 1024, slices of 2.8 ms; virtual time begins at -2^20.
"""

import pytest

from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.core import choose_penalty, schedule, yield_to, yield_to_begin, yield_to_end
from vcpu_env.kernel.yield_types import BOOST_BORROW, BOOST_CREDIT, BOOST_RULE, BOOST_TRANSFER, DEBOOST_V2
from vcpu_env.trace.replay_flat import FlatPlayer, load_flat_scenario

pytestmark = pytest.mark.core

START, SLICE = -(1 << 20), 2_800_000
A, B = 0, 1


def two_tasks(**params: int):
    """A host on which A has run for 1 ms and B waits; fields of `deboost_params` that are not the kernel's."""
    groups = [{"id": f"g{name}", "weight": 1024} for name in "AB"]
    tasks = [{"id": name, "group": f"g{name}", "nice": 0} for name in "AB"]
    ops = [{"t": 0, "op": "wake", "task": name} for name in "AB"] + [{"t": 1_000_000, "op": "run"}]
    record = {"base_slice_ns": SLICE, "cgroup_mode": "concur", "groups": groups, "tasks": tasks, "ops": ops}
    player = FlatPlayer(load_flat_scenario(record))
    list(player.play())
    world = player.scenario.world
    for name, value in params.items():
        world["deboost_params"][name] = value
    assert world["rq"]["curr"][0] == A
    return world


def yields(world, yielder: int, target: int, at_ns: int, boost: int = BOOST_RULE) -> int:
    """`yielder` yields to `target`; who runs then."""
    update_rq_clock(world.handle, 0, at_ns)
    assert world["rq"]["curr"][0] == yielder
    world["yield_decision"]["boost"] = boost
    assert yield_to_begin(world.handle, 0, target) == 1
    if world["yield_decision"]["pending"][0]:
        choose_penalty(world.handle)
    yield_to_end(world.handle, 0, target)
    return schedule(world.handle, 0)


@pytest.mark.parametrize(("part_1024", "given_up"), [(0, 0), (256, 575_000), (512, 1_150_000), (1024, 2_300_000)])
def test_forfeits_count_against_all_tasks_of_the_cpu(part_1024, given_up):
    """A is ahead, and forfeits nothing; B has run 0.5 ms of 2.8 when it yields, and is alone in its group, too."""
    world = two_tasks(forfeit_1024=part_1024)
    assert yields(world, A, B, 1_500_000) == B
    assert world["sched_entity"]["vruntime"][A] == START + 1_500_000
    assert yields(world, B, A, 2_000_000) == (A if part_1024 > 256 else B)
    assert world["sched_entity"]["vruntime"][B] == START + 500_000 + given_up


def test_v2_penalty():
    """Without a lead of the target the penalty is a base slice; nothing is forfeited beside it."""
    world = two_tasks(deboost=DEBOOST_V2)
    assert yields(world, A, B, 1_500_000) == B
    decision, se = world["yield_decision"][0], world["sched_entity"][A]
    assert (decision["n"], decision["gran_ns"], decision["need_ns"], decision["penalty_ns"]) == (2, SLICE, 0, SLICE)
    assert (decision["applied"], decision["forfeit"]) == (1, 0)
    assert (se["vruntime"], se["deadline"]) == (START + 1_500_000 + SLICE, START + 1_500_000 + 2 * SLICE)


def test_v2_penalty_of_a_target_ahead():
    """A is 1 ms further than B: the penalty is 2.8 ms, that millisecond and a tenth of it."""
    world = two_tasks()
    assert yields(world, A, B, 1_500_000) == B
    world["deboost_params"]["deboost"] = DEBOOST_V2
    assert yields(world, B, A, 2_000_000) == A
    decision = world["yield_decision"][0]
    assert (decision["need_ns"], decision["penalty_ns"]) == (1_000_000, 3_900_000)
    assert world["sched_entity"]["vruntime"][B] == START + 500_000 + 3_900_000


def test_second_penalty_within_6_ms_is_limited():
    world = two_tasks(deboost=DEBOOST_V2)
    yields(world, A, B, 1_500_000)
    yields(world, B, A, 7_400_000)
    assert world["yield_decision"]["applied"][0] == 0
    assert world["sched_entity"]["vruntime"][B] == START + 5_900_000  # ahead of A by now, it forfeits nothing


@pytest.mark.parametrize(
    ("boost", "runs"), [(BOOST_RULE, B), (BOOST_BORROW, A), (BOOST_CREDIT, A), (BOOST_TRANSFER, A)]
)
def test_an_ineligible_target(boost, runs):
    """A is half a millisecond ahead of V: the hint alone is lost."""
    world = two_tasks()
    assert yields(world, A, B, 1_500_000) == B
    world["deboost_params"]["forfeit_1024"] = 0
    assert yields(world, B, A, 2_000_000, boost) == runs


def test_a_loan_moves_nobody():
    world = two_tasks()
    yields(world, A, B, 1_500_000)
    world["deboost_params"]["forfeit_1024"] = 0
    yields(world, B, A, 2_000_000, BOOST_BORROW)
    assert world["sched_entity"]["vruntime"][[A, B]].tolist() == [START + 1_500_000, START + 500_000]


def test_a_hint_for_nobody_who_waits():
    world = two_tasks()
    assert yield_to(world.handle, 0, A) == 0
