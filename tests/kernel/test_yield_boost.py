"""Boosts other than the series' penalty: worked examples on one CPU, and what must hold wherever they are applied."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.invariants import State, check_average, check_counts, check_tree
from tests.helpers.one_cpu import OneCpu, ns
from tests.helpers.small_env import MSEC
from vcpu_env.base.jit import NIL
from vcpu_env.kernel.v6_19.entity import avg_vruntime
from vcpu_env.kernel.v6_19.queue import __pick_eevdf as pick_eevdf
from vcpu_env.kernel.v6_19.queue import set_next_buddy
from vcpu_env.kernel.v6_19.yield_boost import boost_borrow, boost_credit, boost_minimal, boost_transfer, credit_target

SLICE = 2.8
ROUNDING_MS = 3e-6


def close(ms: float):
    return pytest.approx(ms, abs=ROUNDING_MS)


def boosted(cpu: OneCpu, boost, target: str) -> float:
    """Apply a boost to a yield of the running task; returns the service that the target was credited with (ms)."""
    boost(cpu.w, 0, cpu.scenario.tasks[target])
    check(cpu.world)
    return int(cpu.world["yield_decision"]["credit_ns"][0]) / MSEC


def check(world) -> None:
    state = State(world)
    check_average(state, world)
    check_tree(state)
    check_counts(state)


def three() -> OneCpu:
    """A runs at 0, B waits at 4, C at 2: the average is 2, B is not eligible."""
    cpu = OneCpu("A", "B", "C").wake("A").wake("B", "C")
    return cpu.put(A=(0, SLICE), B=(4, 4 + SLICE), C=(2, 2 + SLICE))


@pytest.mark.core
def test_a_credit_puts_the_target_a_margin_behind_the_average():
    """Three tasks queued: the margin is 3/8 of a slice. The target, 2 ahead, lands 1.05 behind the new average."""
    cpu = three()
    assert cpu.running == "A" and cpu.V() == close(2) and not cpu.eligible("B")
    assert boosted(cpu, boost_credit, "B") == close(4.575)
    assert (cpu.v("A"), cpu.v("B"), cpu.v("C")) == (0, close(-0.575), 2)
    assert cpu.d("B") == close(-0.575 + SLICE)
    assert cpu.V() == close(0.475) and cpu.eligible("B")


@pytest.mark.core
def test_a_transfer_charges_the_yielder_and_leaves_the_average():
    cpu = three()
    assert boosted(cpu, boost_transfer, "B") == close(4.575)
    assert (cpu.v("A"), cpu.v("B"), cpu.v("C")) == (close(4.575), close(-0.575), 2)
    assert cpu.d("A") == close(4.575 + SLICE)
    assert cpu.V() == close(2) and cpu.eligible("B") and not cpu.eligible("A")


@pytest.mark.core
def test_an_eligible_target_needs_nothing():
    for boost in (boost_credit, boost_transfer):
        cpu = three()
        before = cpu.world.words.copy()
        assert boosted(cpu, boost, "C") == 0
        assert (cpu.world.words == before).all()


@pytest.mark.core
def test_the_margin_grows_up_to_a_slice():
    for others, margin in ((1, 2 / 8), (2, 3 / 8), (6, 7 / 8), (7, 1), (12, 1)):
        names = [f"W{i}" for i in range(others)]
        cpu = OneCpu("T", *names).wake(names[0]).wake(*names[1:], "T")
        cpu.put(**{name: (0, SLICE) for name in names}, T=(30, 30 + SLICE))
        boosted(cpu, boost_credit, "T")
        assert cpu.V() - cpu.v("T") == close(margin * SLICE)


@pytest.mark.core
def test_a_yielder_is_charged_no_more_than_its_lag_may_fall():
    """Lag may fall to minus two slices: from 16.1 ahead of the average no more than that."""
    cpu = three().put(B=(70, 70 + SLICE))
    service = boosted(cpu, boost_transfer, "B")
    assert service > 2 * 2 * SLICE
    assert cpu.v("A") < service
    without = three().put(B=(70, 70 + SLICE))
    boosted(without, boost_credit, "B")
    assert cpu.v("A") - without.v("A") == close(2 * SLICE + without.V() - without.v("A"))


def groups() -> OneCpu:
    """Groups G (a runs, b waits) and H (h waits)."""
    return OneCpu("G/a", "G/b", "H/h", groups=("G", "H")).wake("a").wake("b", "h")


@pytest.mark.core
def test_every_level_of_the_target_is_credited():
    """b is not eligible in G, and G, which runs, is not on the root queue: there it is moved with its protection."""
    cpu = groups().put(a=(0, SLICE), b=(3, 3 + SLICE), G=(5, 5 + SLICE), H=(1, 1 + SLICE))
    assert cpu.running == "a" and not cpu.eligible("b") and not cpu.eligible("G")
    protected = cpu.vprot("G") - cpu.v("G")
    slice_left = cpu.d("G") - cpu.v("G")
    service = boosted(cpu, boost_credit, "b")
    assert cpu.eligible("b") and cpu.eligible("G")
    assert cpu.vprot("G") - cpu.v("G") == close(protected) and cpu.d("G") - cpu.v("G") == close(slice_left)
    # two queued on either level: a quarter of a slice; the share of each group follows its weight
    margin = {name: SLICE / 4 * 1024 / (int(cpu.se(name)["weight"]) >> 10) for name in ("b", "G")}
    assert cpu.V("G") - cpu.v("b") == close(margin["b"])
    assert cpu.V() - cpu.v("G") == pytest.approx(margin["G"], rel=1e-4)
    given = {
        name: (start - cpu.v(name)) * (int(cpu.se(name)["weight"]) >> 10) / 1024 for name, start in (("b", 3), ("G", 5))
    }
    assert service == pytest.approx(max(given.values()), rel=1e-6)
    assert (cpu.v("a"), cpu.v("H")) == (0, 1)


@pytest.mark.core
def test_a_transfer_is_charged_up_to_the_queue_that_both_share():
    within = groups().put(a=(0, SLICE), b=(3, 3 + SLICE), G=(0, SLICE), H=(1, 1 + SLICE))
    service = boosted(within, boost_transfer, "b")
    assert within.v("a") == close(service) and within.v("G") == 0
    across = groups().put(a=(0, SLICE), b=(0, SLICE), h=(0, SLICE), G=(0, SLICE), H=(2, 2 + SLICE))
    service = boosted(across, boost_transfer, "h")
    weight = int(across.se("G")["weight"]) >> 10
    assert across.v("a") == close(min(service, 2 * SLICE))
    assert across.v("G") == pytest.approx(service * 1024 / weight, rel=1e-6)


@pytest.mark.core
def test_a_minimal_charge_makes_the_target_just_eligible():
    """The average has to move from 1.8 to 3, by 3.6 for one of three. One nanosecond less would not do."""
    cpu = three().put(B=(5, 5 + SLICE))
    boost_minimal(cpu.w, 0, cpu.scenario.tasks["B"])
    check(cpu.world)
    decision = cpu.world["yield_decision"][0]
    assert not cpu.eligible("B") and cpu.v("A") == close(2 * SLICE + 7 / 3)  # its lag may fall no further
    cpu = three().put(B=(3, 3 + SLICE), C=(2.4, 2.4 + SLICE))
    boost_minimal(cpu.w, 0, cpu.scenario.tasks["B"])
    check(cpu.world)
    assert cpu.eligible("B") and cpu.v("A") == close(3.6) and cpu.d("A") == close(3.6 + SLICE)
    assert cpu.V() == close(3) and int(cpu.world["yield_decision"]["penalty_ns"][0]) / MSEC == close(3.6)
    assert decision["applied"] == 1 == cpu.world["yield_decision"]["applied"][0]
    cpu.world["sched_entity"]["vruntime"][cpu.scenario.tasks["A"]] -= 1
    assert not cpu.eligible("B")


@pytest.mark.core
def test_a_minimal_charge_is_due_where_they_meet():
    cpu = groups().put(a=(0, SLICE), b=(0, SLICE), h=(9, 9 + SLICE), G=(0, SLICE), H=(1, 1 + SLICE))
    boost_minimal(cpu.w, 0, cpu.scenario.tasks["h"])
    check(cpu.world)
    assert cpu.v("a") == 0 and cpu.v("G") == close(1) and cpu.eligible("H")


def borrowed(cpu: OneCpu, target: str, borrow_ms: float) -> OneCpu:
    """Hint a waiting task as a yield that borrows does."""
    cpu.world["deboost_params"]["borrow_ns"] = ns(borrow_ms)
    task = cpu.scenario.tasks[target]
    before = cpu.world["sched_entity"].copy()
    set_next_buddy(cpu.w, task)
    boost_borrow(cpu.w, task)
    assert (cpu.world["sched_entity"] == before).all()
    return cpu


def picked(cpu: OneCpu, queue: str = "root") -> str:
    return name_of(cpu, int(pick_eevdf(cpu.w, cpu.scenario.groups.get(queue, 0), True)))


@pytest.mark.core
def test_a_hint_that_borrows_is_early_by_so_much_and_no_more():
    """The average is 2: B, at 4, is 2 ms ahead of its share. A plain hint is lost, one of 2 ms is not."""
    assert picked(borrowed(three(), "B", 0)) == "A"
    assert picked(borrowed(three(), "B", 2)) == "B"
    assert picked(borrowed(three(), "B", 2 - 1e-5)) == "A"


@pytest.mark.core
def test_what_is_early_counts_in_service():
    """B weighs 3 times as much (nice -5: 3121): 2 ms of virtual time ahead of the average are 6.1 ms of service."""
    cpu = OneCpu("A", {"id": "B", "nice": -5}, "C").wake("A").wake("B", "C")
    cpu.put(A=(0, SLICE), C=(0, SLICE), B=(2 * 5169 / 2048, 9))  # the average is at 3121 / 5169 of it
    ahead = (cpu.v("B") - cpu.V()) * 3121 / 1024
    assert ahead == pytest.approx(2 * 3121 / 1024, rel=1e-4)
    assert picked(borrowed(cpu, "B", ahead * 1.001)) == "B"
    assert picked(borrowed(cpu, "B", ahead * 0.999)) == "A"


@pytest.mark.core
def test_every_level_lends():
    """b is 1.5 ms early in G, G 2 ms (weight 1024) on the root queue; H runs."""
    cpu = OneCpu("G/a", "G/b", "H/h", groups=("G", "H")).wake("h").wake("a", "b")
    cpu.put(a=(0, SLICE), b=(3, 3 + SLICE), G=(4, 4 + SLICE), H=(0, SLICE))
    assert cpu.running == "h"
    ahead = (cpu.v("G") - cpu.V()) * (int(cpu.se("G")["weight"]) >> 10) / 1024
    early = (cpu.v("b") - cpu.V("G")) * 1.0
    assert early == close(1.5)
    for borrow_ms in (1.4, 1.6, ahead * 0.99, ahead * 1.01):
        borrowed(cpu, "b", borrow_ms)
        assert (picked(cpu) == "G") == (borrow_ms > ahead)
        assert (picked(cpu, "G") == "b") == (borrow_ms > early)


@pytest.mark.core
def test_the_next_hint_does_not_borrow():
    cpu = borrowed(three(), "B", 5)
    assert picked(cpu) == "B"
    set_next_buddy(cpu.w, cpu.scenario.tasks["B"])
    assert picked(cpu) == "A"


vruntimes = st.integers(-20 * MSEC, 20 * MSEC)
LAYOUTS = {
    "flat": (("A", "B", "C", "D"), ()),
    "groups": (("G/A", "G/B", "H/C", "H/D"), ("G", "H")),
    "nested": (("G/A", "K/B", "H/C", "D"), ("G", "G/K", "H")),
}


@pytest.mark.core
@settings(max_examples=60)
@given(
    layout=st.sampled_from(sorted(LAYOUTS)),
    places=st.lists(vruntimes, min_size=7, max_size=7),
    target=st.integers(0, 3),
    boost=st.sampled_from([boost_credit, boost_transfer, boost_minimal]),
    nice=st.lists(st.sampled_from([-5, 0, 7]), min_size=4, max_size=4),
)
def test_wherever_everybody_is(layout, places, target, boost, nice):
    """The target becomes eligible on all levels, the queues stay consistent, nobody but the yielder pays by charge."""
    tasks, parents = LAYOUTS[layout]
    tasks = [
        {"id": name.split("/")[-1], "group": name.rpartition("/")[0] or None, "nice": n}
        for name, n in zip(tasks, nice, strict=True)
    ]
    names = [task["id"] for task in tasks]
    cpu = OneCpu(*tasks, groups=parents).wake(names[0]).wake(*names[1:])
    entities = names + [group.split("/")[-1] for group in parents]
    cpu.put(**{name: (v / MSEC, v / MSEC + SLICE) for name, v in zip(entities, places[: len(entities)], strict=True)})
    check(cpu.world)
    goal = names[target]
    if goal == cpu.running:
        return
    before, averages = cpu.world["sched_entity"].copy(), all_averages(cpu)
    service = boosted(cpu, boost, goal)
    chain = chain_of(cpu, goal)
    assert boost is boost_minimal or all(cpu.eligible(name_of(cpu, i)) for i in chain)
    after = cpu.world["sched_entity"]
    moved = {i for i in range(len(after)) if after["vruntime"][i] != before["vruntime"][i]}
    payers = set() if boost is boost_credit else set(chain_of(cpu, cpu.running))
    assert moved <= payers if boost is boost_minimal else moved <= set(chain) | payers
    assert service == 0 or moved & set(chain)
    for i in payers - set(chain):
        assert after["vruntime"][i] >= before["vruntime"][i]
        if after["vruntime"][i] > before["vruntime"][i]:
            lag = int(avg_vruntime(cpu.w, int(after["cfs_rq"][i])) - after["vruntime"][i])
            assert lag >= -two_slices(cpu, i)
    if not moved:
        assert all_averages(cpu) == averages


@pytest.mark.core
@settings(max_examples=60)
@given(
    layout=st.sampled_from(sorted(LAYOUTS)),
    places=st.lists(vruntimes, min_size=7, max_size=7),
    target=st.integers(1, 3),
    borrow_ms=st.floats(0, 20),
    nice=st.lists(st.sampled_from([-5, 0, 7]), min_size=4, max_size=4),
)
def test_borrowing_wherever_everybody_is(layout, places, target, borrow_ms, nice):
    """On every level the hint is picked exactly if it is no more than the loan ahead, reckoned in fractions."""
    tasks, parents = LAYOUTS[layout]
    tasks = [
        {"id": name.split("/")[-1], "group": name.rpartition("/")[0] or None, "nice": n}
        for name, n in zip(tasks, nice, strict=True)
    ]
    names = [task["id"] for task in tasks]
    cpu = OneCpu(*tasks, groups=parents).wake(names[0]).wake(*names[1:])
    entities = names + [group.split("/")[-1] for group in parents]
    cpu.put(**{name: (v / MSEC, v / MSEC + SLICE) for name, v in zip(entities, places[: len(entities)], strict=True)})
    if names[target] == cpu.running:
        return
    borrowed(cpu, names[target], borrow_ms)
    for i in chain_of(cpu, names[target]):
        queue = int(cpu.world["sched_entity"]["cfs_rq"][i])
        queued = [se for se in cpu.world["sched_entity"] if se["on_rq"] and se["cfs_rq"] == queue]
        weights = [int(se["weight"]) >> 10 for se in queued]
        average = Fraction(sum(w * int(se["vruntime"]) for w, se in zip(weights, queued, strict=True)), sum(weights))
        se = cpu.world["sched_entity"][i]
        room = average + Fraction(ns(borrow_ms) * 1024, int(se["weight"]) >> 10) - int(se["vruntime"])
        if len(queued) > 1 and abs(room) > 100:  # a loan is rounded down to what calc_delta_fair() makes of it
            assert (pick_eevdf(cpu.w, queue, True) == i) == (room > 0)


def two_slices(cpu: OneCpu, i: int) -> int:
    """Two slices in the entity's virtual time."""
    se = cpu.world["sched_entity"][i]
    return 2 * int(se["slice_ns"]) * 1024 // (int(se["weight"]) >> 10) + 1


def all_averages(cpu: OneCpu) -> list[int]:
    return [int(avg_vruntime(cpu.w, q)) for q in range(len(cpu.world["cfs_rq"]))]


def chain_of(cpu: OneCpu, task: str) -> list[int]:
    i, chain = cpu.scenario.entities[task], []
    while i != NIL:
        chain.append(i)
        i = int(cpu.world["sched_entity"]["parent"][i])
    return chain


def name_of(cpu: OneCpu, entity: int) -> str:
    return next(name for name, i in cpu.scenario.entities.items() if i == entity)


@pytest.mark.core
def test_credits_are_counted_in_service_of_the_target():
    cpu = three()
    assert credit_target(cpu.w, cpu.scenario.tasks["B"]) == pytest.approx(ns(4.575), abs=3)
