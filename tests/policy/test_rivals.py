"""The policies beyond the series: what their rules choose, what their switches change, and that all of them run."""

import numpy as np
import pytest

from tests.helpers.at_once import at_once
from tests.helpers.one_cpu import OneCpu
from tests.helpers.worlds import differing
from vcpu_env.base.jit import NIL
from vcpu_env.kernel.yield_types import (
    BOOST_CREDIT,
    BOOST_PLAIN,
    BOOST_RULE,
    BOOST_TRANSFER,
    DEBOOST_V2,
    DEBOOST_V3,
    DEBOOST_VEE21,
    FORFEIT_HIERARCHICAL,
    FORFEIT_PROPORTIONAL,
)
from vcpu_env.kvm.on_spin import candidates, on_spin_next, strict_boost_filter
from vcpu_env.kvm.types import MAX_CANDIDATES
from vcpu_env.machine import Machine
from vcpu_env.policy import rivals
from vcpu_env.policy.named import POLICIES
from vcpu_env.policy.oracles import ORACLES
from vcpu_env.policy.view import AS_KERNEL, YIELD_VIEW
from vcpu_env.scenario import Scenario

MSEC = 1_000_000
SMALL = at_once(
    Scenario(
        name="small",
        host={"cpus": 4},
        vms=[{"name": "vm", "count": 2, "vcpus": 4, "workload": "dedup", "params": {"threads": 4}}],
    )
)


def view(**lists):
    """A view with the given candidate lists; what is not given is 0."""
    record = np.zeros(1, YIELD_VIEW).view(np.recarray)[0]
    record.nr_candidates = len(next(iter(lists.values())))
    record.candidate = np.arange(10, 10 + MAX_CANDIDATES)
    for name, values in lists.items():
        record[name][: len(values)] = values
    return record


def found(i: int) -> int:
    return 2 + i


@pytest.mark.parametrize(
    ("rule", "lists", "answer"),
    [
        (rivals.unserved_first, {"unserved": [1, 0, 1], "preempted": [0, 1, 1]}, found(2)),
        (rivals.unserved_first, {"unserved": [0, 1, 1]}, found(1)),
        (rivals.unserved_first, {"unserved": [0, 0]}, 0),
        (rivals.oldest_spinner_first, {"candidate_spin_ns": [5, 9, 9]}, found(1)),
        (rivals.oldest_spinner_first, {"candidate_spin_ns": [5, 9, 9], "unserved": [0, 0, 1]}, found(2)),
        (rivals.oldest_spinner_first, {"candidate_spin_ns": [0, 0]}, 0),
        (rivals.same_rq_first, {"same_rq": [1, 1, 0], "good": [0, 1, 1]}, found(1)),
        (rivals.longest_wait_first, {"preempted": [1, 1, 0], "in_kernel": [1, 1, 1], "waited_ns": [3, 4, 9]}, found(1)),
        (rivals.ipi_tiers, {"unserved": [1, 0, 0], "ipi_receiver": [0, 0, 1]}, found(2)),
        (rivals.ipi_tiers, {"unserved": [0, 1, 0]}, found(1)),
        (rivals.ipi_tiers, {"good": [1, 1]}, AS_KERNEL),
        (rivals.round_robin, {"good": [0, 1]}, found(0)),
        (rivals.nobody, {"good": [1]}, 0),
    ],
)
def test_candidate_orders(rule, lists, answer):
    assert rule(view(**lists)) == answer


def test_orders_set_their_boost_only_on_what_they_found():
    unserved = POLICIES["unserved-transfer"].target_rule
    at = view(unserved=[0, 1])
    assert (unserved(at), at.boost) == (found(1), BOOST_TRANSFER)
    at = view(unserved=[0, 0])
    assert (unserved(at), at.boost) == (AS_KERNEL, BOOST_RULE)
    at = view(unserved=[0, 0])
    assert (POLICIES["unserved-transfer-else-plain"].target_rule(at), at.boost) == (AS_KERNEL, BOOST_PLAIN)


def test_same_rq_only_boosts_there_only():
    rule = POLICIES["unserved-credit-same-rq"].target_rule
    far, near = view(unserved=[1], same_rq=[0]), view(unserved=[1], same_rq=[1])
    assert (rule(far), far.boost) == (found(0), BOOST_RULE)
    assert (rule(near), near.boost) == (found(0), BOOST_CREDIT)


def test_oracle_yields_to_whom_the_spinner_waits_for():
    rule = POLICIES["oracle-credit"].target_rule
    at = view(good=[1, 0])
    at.awaited = 11
    assert (rule(at), at.boost) == (found(1), BOOST_CREDIT)
    at.awaited, at.boost = NIL, BOOST_RULE
    assert (rule(at), at.boost) == (AS_KERNEL, BOOST_RULE)


def test_oracle_of_eligible_targets_leaves_others_to_the_kernel():
    rule = POLICIES["oracle-eligible"].target_rule
    at = view(candidate_lag_ns=[-1, 5])
    at.awaited = 10
    assert rule(at) == AS_KERNEL
    at.awaited = 11
    assert rule(at) == found(1)


def test_oracles_are_marked():
    assert {policy.name for policy in POLICIES.values() if policy.oracle} == {policy.name for policy in ORACLES}
    assert all(policy.name.startswith(("oracle-", "lookahead-")) for policy in ORACLES)
    assert all(policy.oracle for policy in POLICIES.values() if policy.knobs or policy.search)


def test_every_policy_says_what_it_is():
    for name, policy in POLICIES.items():
        assert policy.name == name
        assert policy.summary and "\n" not in policy.summary


@pytest.mark.slow
@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_runs(name):
    machine = Machine(SMALL, name, 3)
    machine.run_until(60 * MSEC)
    counters = machine.counters()
    assert sum(vm["work_units"] for vm in counters["vms"]) > 0
    host = counters["host"]
    assert sum(host.values()) == SMALL.host.cpus * 60 * MSEC


@pytest.mark.parametrize("name", ["series-v3", "proportional-yield", "spinner-transfer", "gang", "oracle-force"])
def test_a_policy_of_each_kind_changes_a_run(name):
    """With seed 4 siblings share CPUs: there are forfeits, and targets beside the spinner."""
    stock, other = Machine(SMALL, "stock", 4), Machine(SMALL, name, 4)
    for machine in (stock, other):
        machine.run_until(60 * MSEC)
    before, after = stock.counters(), other.counters()
    assert before["decisions"] > 200 and before["deboost"]["forfeit"] > 50
    assert before["sched"]["nr_switches"] != after["sched"]["nr_switches"]
    assert before["deboost"] != after["deboost"]


# The scheduler's side, on one CPU (ms of virtual time)


def pair(deboost: int = DEBOOST_V2, **params) -> OneCpu:
    """A runs at 100 (deadline 101), B waits at 103."""
    one = OneCpu("A", "B")
    one.wake_together("A", "B")
    first, second = one.running, {"A": "B", "B": "A"}[one.running]
    one.put(**{first: (100, 101), second: (103, 105.8)})
    one.world["deboost_params"]["deboost"] = deboost
    for name, value in params.items():
        one.world["deboost_params"][name] = value
    one.other = second
    return one


def test_v3_credits_the_target_and_charges_nobody():
    one = pair(DEBOOST_V3)
    yielder = one.running
    one.yield_to(one.other)
    assert one.running == one.other
    assert one.v(yielder) == 100  # not eligible any more once the target has been credited: nothing is forfeited


def test_v3_needs_no_turn_to_credit():
    one = pair(DEBOOST_V3)
    for _ in range(3):
        one.yield_to(one.other)
        one.other, chosen = one.running, one.other
        assert one.running == chosen
        one.other = {"A": "B", "B": "A"}[chosen]


def test_v3_leaves_an_eligible_target_where_it_is():
    one = pair(DEBOOST_V3)
    one.put(**{one.other: (99, 101.8)})
    before = one.v(one.other)
    one.yield_to(one.other)
    assert one.v(one.other) == before


@pytest.mark.parametrize(("target", "charged"), [(103.0, 0.0), (104.0, 0.0), (105.0, 1.0), (107.0, 3.0)])
def test_vee21_pushes_the_yielder_just_far_enough(target, charged):
    """CFS's buddy may be a wakeup granularity (4 ms) ahead; the rest is the penalty. The forfeit comes on top."""
    one = pair(DEBOOST_VEE21)
    yielder = one.running
    one.put(**{one.other: (target, target + 2.8)})
    one.yield_to(one.other)
    assert int(one.world["yield_decision"]["penalty_ns"][0]) == charged * MSEC
    assert one.v(yielder) >= 100 + charged


def test_fresh_gap_is_measured_after_the_yielder_was_charged():
    stale, fresh = pair(), pair(fresh_gap=1)
    for one in (stale, fresh):
        one.now = 0.5
        one.yield_to(one.other)
    need = {name: int(one.world["yield_decision"]["need_ns"][0]) for name, one in (("stale", stale), ("fresh", fresh))}
    assert need["stale"] - need["fresh"] == 0.5 * MSEC


@pytest.mark.parametrize(("live", "penalty"), [(0, 2_800_000), (1, 2_625_000)])
def test_baseline_of_a_yield_without_a_gap(live, penalty):
    """Three tasks, no lead: the table says 15/16 of the granularity, the code as posted says one."""
    one = OneCpu("A", "B", "C")
    one.wake_together("A", "B", "C")
    others = [name for name in "ABC" if name != one.running]
    one.put(**{one.running: (103, 104), others[0]: (100, 102.8), others[1]: (100, 102.8)})
    one.world["deboost_params"]["deboost"] = DEBOOST_V2
    one.world["deboost_params"]["live_baseline"] = live
    one.yield_to(others[0])
    assert int(one.world["yield_decision"]["penalty_ns"][0]) == penalty


@pytest.mark.parametrize(("live", "debounced"), [(0, 0), (1, 1)])
def test_the_debounce_is_dead_unless_every_yield_counts(live, debounced):
    """A yields to B, B back to A at once (limited), and A to B again 6.1 ms later, 0.1 ms after a limited B to A."""
    one = pair(live_debounce=live)
    a, b = one.running, one.other
    one.now = 1.0
    one.yield_to(b)
    one.put(**{one.running: (100, 101), {a: b, b: a}[one.running]: (103, 105.8)})
    rq = one.world["rq"]
    rq["yield_deboost_last_src_pid"] = rq["yield_deboost_last_dst_pid"] = -1
    one.world["deboost_params"]["rate_limit_ns"] = 10**12
    first, second = one.running, {a: b, b: a}[one.running]
    one.now = 7.0
    one.yield_to(second)  # limited
    one.world["deboost_params"]["rate_limit_ns"] = 0
    if one.running != second:
        one.put(**{first: (200, 201), second: (100, 101)})
        one.do("yield", first)
    assert one.running == second
    one.now = 7.1
    one.yield_to(first)
    assert int(one.world["yield_decision"]["debounced"][0]) == debounced


def nested() -> OneCpu:
    """A alone in group G runs beside B in group H: a forfeit of A's own entity moves nobody."""
    one = OneCpu("G/A", "H/B", groups=("G", "H"))
    one.wake_together("A", "B")
    return one


def group_of(task: str) -> str:
    return {"A": "G", "B": "H"}[task]


@pytest.mark.parametrize("kind", [FORFEIT_HIERARCHICAL, FORFEIT_PROPORTIONAL])
def test_alternatives_let_the_group_yield_too(kind):
    leaf, whole = nested(), nested()
    whole.world["deboost_params"]["forfeit"] = kind
    for one in (leaf, whole):
        yielder = one.running
        group = group_of(yielder)
        one.put(**{yielder: (100, 101), group: (100, 101), group_of("B" if yielder == "A" else "A"): (100.5, 103)})
        one.yield_to("B" if yielder == "A" else "A")
        one.moved = one.v(group) - 100
    assert leaf.moved == 0
    assert whole.moved > 0


def test_hierarchical_forfeit_stops_where_somebody_else_can_run():
    one = OneCpu("G/A", "G/C", "H/B", groups=("G", "H"))
    one.world["deboost_params"]["forfeit"] = FORFEIT_HIERARCHICAL
    one.wake_together("A", "C", "B")
    while one.running == "B":
        one.run_until(one.now + 1)
    yielder = one.running
    one.put(**{yielder: (100, 101), "G": (100, 101), "H": (100.5, 103)})
    one.put(**{"C" if yielder == "A" else "A": (100.5, 103)})
    one.yield_to("C" if yielder == "A" else "A")
    assert one.v(yielder) == 101
    assert one.v("G") == 100


# KVM's side


def test_strict_boost_takes_a_sibling_the_second_time():
    machine = Machine(SMALL, "vee21-strict-boost", 0)
    vcpus, w = machine.world["kvm_vcpu"], machine.world.handle
    vcpus["ready"], vcpus["preempted"] = 0, 0
    vcpus["ready"][2], vcpus["preempted"][2], vcpus["preempted_in_kernel"][2] = 1, 1, 0
    vcpus["scan_kernel_mode"][0], vcpus["scan_round"][0], vcpus["scan_start"][0] = 1, 1, 1
    assert on_spin_next(w, 0, 0) == NIL
    assert strict_boost_filter(w, 0, 2, 1)
    vcpus["scan_pos"][0] = 0
    assert on_spin_next(w, 0, 0) == 2
    assert not strict_boost_filter(w, 1, 2, 1)  # another spinner has not passed it by


def test_listing_candidates_marks_nobody():
    machine = Machine(SMALL, "vee21-strict-boost", 0)
    vcpus, w = machine.world["kvm_vcpu"], machine.world.handle
    vcpus["ready"], vcpus["preempted"], vcpus["preempted_in_kernel"] = 1, 1, 0
    before = machine.fork()
    assert candidates(w, 0, 1, 0) == 3
    listed = machine.world["candidate"]
    assert listed["good"][:3].tolist() == [0, 0, 0]
    assert (machine.world["kvm_vcpu"]["ipi_senders"] == 0).all()
    assert {name.split(".")[0] for name in differing(before.world, machine.world)} == {"candidate"}


def test_gang_runs_one_vm_at_a_time():
    """At ticks, most busy CPUs belong to the VM whose turn it is; under stock they do not."""

    def share_of_the_vm_in_turn(policy: str) -> float:
        machine = Machine(SMALL, policy, 1)
        shares = []
        for t in range(20, 80):
            now_ns = t * MSEC + 300_000
            machine.run_until(now_ns)
            running = machine.world["rq"]["curr"]
            vms = machine.world["guest_vcpu"]["vm"][running[running >= 0]]
            shares.append(np.mean(vms == now_ns // (10 * MSEC) % 2))
        return float(np.mean(shares))

    assert share_of_the_vm_in_turn("gang") > 0.9
    assert share_of_the_vm_in_turn("stock") < 0.75


def test_kept_apart_siblings_never_share_a_cpu():
    machine = Machine(SMALL, "balance", 1)
    for t in range(1, 40):
        machine.run_until(t * MSEC)
        cpus = machine.world["task_struct"]["cpu"].reshape(2, 4)
        assert all(len(set(row)) == 4 for row in cpus.tolist())
