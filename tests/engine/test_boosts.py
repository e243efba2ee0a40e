"""Boosts at a decision of a running machine: who runs, who pays, what is left alone."""

import pytest

from tests.helpers.small_env import FLAT, MSEC
from tests.helpers.worlds import differing
from vcpu_env.kernel.yield_types import (
    BOOST_BORROW,
    BOOST_CREDIT,
    BOOST_HINT,
    BOOST_PENALTY,
    BOOST_PLAIN,
    BOOST_RULE,
    BOOST_STAY,
    BOOST_STAY_CREDIT,
    BOOST_TRANSFER,
)
from vcpu_env.machine import Machine
from vcpu_env.policy.named import SERIES_PATCHES, Policy
from vcpu_env.policy.rules import EXTERNAL

ASKS = Policy("asks", "", SERIES_PATCHES, target_rule=EXTERNAL)


def at_decision(same_rq: bool, rule: Policy = ASKS) -> Machine:
    """A machine at a decision whose first candidate can be credited, on the spinner's CPU or on another one."""
    machine = Machine(FLAT, rule, 1)
    while True:
        assert not machine.run_until(500 * MSEC), "no such decision"
        view = machine.decision
        if view["nr_candidates"] and bool(view["same_rq"][0]) == same_rq:
            credited = answered(machine, BOOST_CREDIT).world["yield_stats"]["credited"][0]
            if credited:
                return machine
        machine.answer_target(1)


def answered(machine: Machine, boost: int) -> Machine:
    """The machine at the instant after its first candidate was chosen."""
    after = machine.fork()
    after.answer_target(2, boost=boost)
    after.run_until(after.now_ns)
    return after


def boosted_machine(boost: int, same_rq: bool = True) -> tuple[Machine, Machine, int, int, int]:
    """(before, at the instant after the answer, spinner, its CPU, target)"""
    before = at_decision(same_rq)
    view = before.decision
    me, cpu, target = int(view["vcpu"]), int(view["cpu"]), int(view["candidate"][0])
    return before, answered(before, boost), me, cpu, target


@pytest.mark.parametrize("same_rq", [True, False])
@pytest.mark.parametrize("boost", [BOOST_STAY, BOOST_STAY_CREDIT])
def test_who_stays_keeps_its_cpu_and_its_place(boost, same_rq):
    before, after, me, cpu, target = boosted_machine(boost, same_rq)
    assert after.world["rq"]["curr"][cpu] == me
    assert after.world["sched_entity"]["deadline"][me] == before.world["sched_entity"]["deadline"][me]
    assert after.world["rq"]["yld_count"][cpu] == before.world["rq"]["yld_count"][cpu]
    stats = after.world["yield_stats"][0]
    assert stats["stayed"] == 1 and stats["forfeit"] == before.world["yield_stats"]["forfeit"][0]
    assert stats["credited"] == (boost == BOOST_STAY_CREDIT)
    assert not after.world["kvm_vcpu"]["in_spin_loop"][me] and not after.world["kvm_vcpu"]["parked"][me]
    assert after.world["kvm_vcpu"]["last_boost_ns"][target] == after.now_ns


def test_a_plain_yield_names_nobody():
    before, after, me, cpu, target = boosted_machine(BOOST_PLAIN)
    assert after.world["yield_stats"]["plain"][0] == 1
    assert after.world["yield_stats"]["yields"][0] == before.world["yield_stats"]["yields"][0]
    assert after.world["rq"]["yld_count"][cpu] == before.world["rq"]["yld_count"][cpu] + 1
    assert after.world["kvm_vcpu"]["last_boost_ns"][target] == before.world["kvm_vcpu"]["last_boost_ns"][target]
    assert after.world["kvm_vcpu"]["ple_yield_attempt"][me] == before.world["kvm_vcpu"]["ple_yield_attempt"][me]


@pytest.mark.parametrize("same_rq", [True, False])
@pytest.mark.parametrize("boost", [BOOST_CREDIT, BOOST_TRANSFER])
def test_a_credit_works_on_any_run_queue(boost, same_rq):
    before, after, me, cpu, target = boosted_machine(boost, same_rq)
    stats = after.world["yield_stats"][0]
    assert stats["credited"] == 1 and stats["credit_ns"] > 0
    assert after.world["sched_entity"]["vruntime"][target] < before.world["sched_entity"]["vruntime"][target]
    charged = int(after.world["sched_entity"]["vruntime"][me] - before.world["sched_entity"]["vruntime"][me])
    hinted = boosted_machine(BOOST_HINT, same_rq)[1]
    plain = int(hinted.world["sched_entity"]["vruntime"][me] - before.world["sched_entity"]["vruntime"][me])
    if boost == BOOST_TRANSFER:
        assert charged > 0 and charged != plain
    else:
        assert charged <= plain


def test_who_borrows_runs_and_owes_it():
    """Nobody is charged or credited; the target, not eligible, runs at once where a hint leaves it waiting."""
    before, after, me, cpu, target = boosted_machine(BOOST_BORROW, same_rq=False)
    hinted = boosted_machine(BOOST_HINT, same_rq=False)[1]
    ignored = {"yield_decision", "yield_stats", "yield_view"}
    assert differing(after.world, hinted.world, ignored) == {"cfs_rq.next_slack_ns"}
    target_cpu = int(after.world["task_struct"]["cpu"][target])
    for machine in (hinted, after):
        while machine.world["rq"]["need_resched"][target_cpu]:
            if not machine.run_until(machine.now_ns + 1_000):
                machine.answer_target(0)
    assert hinted.world["rq"]["curr"][target_cpu] != target
    assert after.world["rq"]["curr"][target_cpu] == target


def test_on_the_own_run_queue_who_borrows_is_next():
    before, after, me, cpu, target = boosted_machine(BOOST_BORROW)
    assert after.world["rq"]["curr"][cpu] == target
    assert boosted_machine(BOOST_HINT)[1].world["rq"]["curr"][cpu] != target


def test_a_penalty_that_cannot_be_is_a_hint():
    """On another run queue: the same but for the records."""
    _, penalty, *_ = boosted_machine(BOOST_PENALTY, same_rq=False)
    _, rule, *_ = boosted_machine(BOOST_RULE, same_rq=False)
    assert penalty.world["yield_stats"]["not_applied"][0] == 1
    assert differing(penalty.world, rule.world, {"yield_stats", "yield_decision", "yield_view"}) == set()


def test_a_penalty_without_a_debooster_is_a_hint():
    stock = at_decision(True, Policy("stock-asks", "", target_rule=EXTERNAL))
    penalty, hint = answered(stock, BOOST_PENALTY), answered(stock, BOOST_HINT)
    assert penalty.world["yield_stats"]["not_applied"][0] == 1
    assert differing(penalty.world, hint.world, {"yield_stats", "yield_decision", "yield_view"}) == set()
