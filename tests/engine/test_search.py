"""Policies that search: their runs are deterministic, and an answer is the one that gets most done."""

import numpy as np
import pytest

from tests.helpers.at_once import at_once
from vcpu_env.engine.search import run_search
from vcpu_env.guest.useful import useful_now_ns
from vcpu_env.kernel.yield_types import BOOST_FORCE, BOOST_HINT
from vcpu_env.machine import Machine
from vcpu_env.policy.named import POLICIES, Policy
from vcpu_env.policy.policy import Search
from vcpu_env.policy.rules import EXTERNAL
from vcpu_env.scenario import Scenario

pytestmark = pytest.mark.core

END_NS = 18_000_000
SMALL = at_once(
    Scenario(
        name="small",
        host={"cpus": 2},
        vms=[{"name": "vm", "count": 2, "vcpus": 4, "workload": "dedup"}],
    )
)
SEARCH = Search(((BOOST_HINT, 1.0), (BOOST_FORCE, 1.0)), horizon_ns=100_000, every_ns=200_000)


def searching(search, rule=None, patches=frozenset()):
    return Policy("searching", "", patches, target_rule=rule, oracle=True, search=search)


def run(policy, end_ns=END_NS, parts=1):
    machine = Machine(SMALL, policy, 1)
    for part in range(parts):
        machine.run_until(end_ns * (part + 1) // parts)
    return machine


def nobody(view):
    return 0


def test_a_search_that_is_never_due_is_its_rule():
    """Between searches the policy's own rule answers, bit for bit."""
    never = Search(SEARCH.boosts, every_ns=10**15)
    for rule in (None, nobody):
        plain = run(Policy("plain", "", target_rule=rule))
        machine = Machine(SMALL, searching(never, rule), 1)
        machine.world["engine"]["next_search_ns"] = 10**15
        machine.run_until(END_NS)
        assert plain.counters() == machine.counters()
        assert plain.counters()["decisions"] > 10


def test_the_same_in_parts_and_in_a_fork():
    whole, parts = run(searching(SEARCH)), run(searching(SEARCH), parts=3)
    assert whole.counters() == parts.counters()
    half = run(searching(SEARCH), END_NS // 2)
    fork = half.fork()
    for machine in (half, fork):
        machine.run_until(END_NS)
    assert half.counters() == fork.counters() == whole.counters()


def test_the_answer_is_the_one_that_gets_most_done():
    """Every answer tried by hand on forks; the search takes the best, and the rule unless another is better."""
    chosen = 0
    machine = Machine(SMALL, Policy("outside", "", target_rule=EXTERNAL), 1)
    while not machine.run_until(END_NS):
        if chosen < 6:
            chosen += follows_best(machine)
        machine.answer_target(1)
    assert chosen == 6


def follows_best(machine):
    """Whether searching here was worth a comparison: there is a candidate."""
    if not machine.decision["nr_candidates"]:
        return 0
    end_ns = machine.now_ns + SEARCH.horizon_ns
    answers = [(1, BOOST_HINT), (0, BOOST_HINT)]
    answers += [(2 + i, boost) for i in range(machine.decision["nr_candidates"]) for boost, _ in SEARCH.boosts]
    worth = []
    for answer, boost in answers:
        fork = machine.fork()
        fork.answer_target(answer, 0 if answer == 1 else boost)
        while not fork.run_until(end_ns):
            fork.answer_target(1)
        worth.append(useful_now_ns(fork.world.handle))
    searched = machine.fork()
    run_search(searched.world, Search(SEARCH.boosts, SEARCH.horizon_ns, every_ns=10**15), False, end_ns)
    assert useful_now_ns(searched.world.handle) == max(worth)
    return 1


def test_searching_gets_more_done_than_its_rule():
    often = Search(SEARCH.boosts, horizon_ns=200_000, every_ns=20_000)
    searched, stock = run(searching(often)), run("stock")
    assert useful_now_ns(searched.world.handle) > useful_now_ns(stock.world.handle)


def test_useful_time_is_what_the_counters_say():
    """Time that is under way counts as it will be booked."""
    machine = run("stock")
    vms = machine.counters()["vms"]
    booked = sum(vm["run_ns"] - vm["spin_ns"] - vm["irq_ns"] - vm["cold_lost_ns"] for vm in vms)
    assert useful_now_ns(machine.world.handle) == booked


@pytest.mark.parametrize("name", ["lookahead-candidate", "lookahead-joint", "lookahead-wide"])
def test_named_searches(name):
    policy = POLICIES[name]
    assert policy.oracle and policy.search
    before = np.array(run(policy, 6_000_000).world.words)
    assert np.array_equal(before, run(policy, 6_000_000).world.words)
