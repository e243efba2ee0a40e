"""What must hold on one CPU after every event, looked at from outside in the compiled machine's arrays."""

from random import Random

import numpy as np
import pytest

from tests.twin.eevdf import Load, calc_delta_fair, scale_load_down
from tests.twin.random_scenario import random_scenario
from vcpu_env.base.jit import NIL
from vcpu_env.kernel.entity import avg_vruntime, vruntime_eligible
from vcpu_env.trace.replay_sched import Player
from vcpu_env.trace.sched_scenario import load_scenario

ROUNDING_NS = 2


def view(array: np.ndarray) -> list[dict]:
    """A struct array as plain integers."""
    names = array.dtype.names
    return [dict(zip(names, row)) for row in array.tolist()]


class State:
    """The scheduler's arrays at one instant, with the sets that the invariants speak of."""

    def __init__(self, world):
        self.entities, self.queues = view(world["sched_entity"]), view(world["cfs_rq"])
        self.rq = view(world["rq"])[0]
        self.V = [int(avg_vruntime(world.handle, q)) for q in range(len(self.queues))]
        self.queued = [
            [i for i, se in enumerate(self.entities) if se["on_rq"] and se["cfs_rq"] == q] for q in range(len(self.V))
        ]

    def weight(self, i: int) -> int:
        return scale_load_down(self.entities[i]["weight"])

    def tree(self, q: int) -> list[int]:
        """Entities of a queue's tree, in order."""

        def walk(i):
            if i == NIL:
                return []
            return walk(self.entities[i]["rb_left"]) + [i] + walk(self.entities[i]["rb_right"])

        return walk(self.queues[q]["rb_root"])

    def chain(self, i: int) -> list[int]:
        return [] if i == NIL else [i, *self.chain(self.entities[i]["parent"])]

    def tasks_below(self, q: int) -> list[int]:
        """Queued tasks anywhere below a queue."""
        below = []
        for i in self.queued[q]:
            my_q = self.entities[i]["my_q"]
            below += [i] if my_q == NIL else self.tasks_below(my_q)
        return below


def check_average(state: State, world):
    """I1, I2, I3: V is the weighted mean rounded down, so V is eligible and with it whoever is behind it."""
    for q, members in enumerate(state.queued):
        if members:
            total = sum(state.weight(i) for i in members)
            ahead = sum(state.weight(i) * (state.entities[i]["vruntime"] - state.V[q]) for i in members)
            assert 0 <= ahead < total, "I1"
            assert min(state.entities[i]["vruntime"] for i in members) <= state.V[q], "I2"
            assert vruntime_eligible(world.handle, q, state.V[q]), "I3"


def check_tree(state: State):
    """I4, I5, and the tree's own order and aggregate."""
    for q, queue in enumerate(state.queues):
        tree, members = state.tree(q), state.queued[q]
        deadlines = [state.entities[i]["deadline"] for i in tree]
        assert deadlines == sorted(deadlines)
        assert queue["rb_leftmost"] == (tree[0] if tree else NIL)
        assert set(tree) == set(members) - {queue["curr"]}, "I4"
        if tree:
            least = min(state.entities[i]["vruntime"] for i in tree)
            assert state.entities[queue["rb_root"]]["min_vruntime"] == least
        if queue["next"] != NIL:
            buddy = state.entities[queue["next"]]
            assert buddy["on_rq"] and not buddy["sched_delayed"] and buddy["cfs_rq"] == q, "I4"
        assert queue["nr_queued"] == len(members), "I5"
        assert queue["load_weight"] == sum(state.entities[i]["weight"] for i in members), "I5"
        assert queue["avg_load"] == sum(state.weight(i) for i in tree)
        keys = sum(state.weight(i) * (state.entities[i]["vruntime"] - queue["zero_vruntime"]) for i in tree)
        assert queue["avg_vruntime"] == keys


def check_counts(state: State):
    """I6: the hierarchical counters are those of the tasks below."""
    for q, queue in enumerate(state.queues):
        below = state.tasks_below(q)
        delayed = sum(state.entities[i]["sched_delayed"] for i in below)
        assert queue["h_nr_queued"] == len(below), "I6"
        assert queue["h_nr_queued"] - queue["h_nr_runnable"] == delayed, "I6"
    assert state.rq["nr_running"] == state.queues[0]["h_nr_queued"], "I6"


def check_saved_lag(before: State, state: State, tick_ns: int):
    """I7: lag kept for a sleeper is bounded, and never positive if the sleeper's leaving was delayed."""
    for was, se in zip(before.entities, state.entities):
        if was["on_rq"] and not se["on_rq"]:
            limit = calc_delta_fair(max(2 * se["slice_ns"], tick_ns), Load.of_weight(se["weight"]))
            assert abs(se["vlag"]) <= limit + limit // 10_000, "I7"  # nice tables round their inverses differently
            if was["sched_delayed"]:
                assert se["vlag"] <= 0, "I7"


def check_tick(before: State, state: State):
    """I8, I9, I11: a tick charges the running entities, issues a new request when one is served, and nothing else."""
    chain = state.chain(state.rq["curr"])
    for i in chain:
        was, se = before.entities[i], state.entities[i]
        assert se["vruntime"] >= was["vruntime"], "I9"
        if (was["slice_ns"], was["weight"]) == (se["slice_ns"], se["weight"]) and se["deadline"] != was["deadline"]:
            vslice = calc_delta_fair(se["slice_ns"], Load.of_weight(se["weight"]))
            assert 0 < se["deadline"] - se["vruntime"] <= vslice + vslice // 10_000 + ROUNDING_NS, "I8"
        assert se["deadline"] > se["vruntime"], "I8"
    for q, average in enumerate(state.V):
        assert average >= before.V[q], "I9"
    if all(state.queues[state.entities[i]["cfs_rq"]]["nr_queued"] == 1 for i in chain):
        assert state.rq["need_resched"] == 0, "I11"


def check_yield_to(before: State, state: State, target: int):
    """I12: beside its own accounting the caller's leaf moves, hints appear on the target's path, nothing else."""
    for i, (was, se) in enumerate(zip(before.entities, state.entities)):
        if i != state.rq["curr"]:
            assert (was["vruntime"], was["deadline"]) == (se["vruntime"], se["deadline"]), "I12"
    path = {state.entities[i]["cfs_rq"]: i for i in state.chain(target)}
    for q, (was, queue) in enumerate(zip(before.queues, state.queues)):
        assert queue["next"] in (was["next"], path.get(q, NIL), NIL), "I12"


def check_forfeit(before: State, state: State):
    """I8: a yielder that forfeits gets exactly one more slice."""
    leaf = state.rq["curr"]
    was, se = before.entities[leaf], state.entities[leaf]
    if se["vruntime"] == was["deadline"] and se["deadline"] != was["deadline"] and state.rq["nr_running"] > 1:
        vslice = calc_delta_fair(se["slice_ns"], Load.of_weight(se["weight"]))
        assert abs(se["deadline"] - se["vruntime"] - vslice) <= vslice // 10_000 + ROUNDING_NS, "I8"


def check_placement(before: State, state: State, task: int):
    """I13: a sleeper that joins others has the lag that it left with."""
    was, se = before.entities[task], state.entities[task]
    if before.queues[se["cfs_rq"]]["nr_queued"] and not was["on_rq"]:
        assert abs(state.V[se["cfs_rq"]] - se["vruntime"] - was["vlag"]) <= ROUNDING_NS, "I13"


def play_checked(scenario: dict):
    """Play, and check after every event."""
    loaded = load_scenario(scenario)
    world, before = loaded.world, None
    for record in Player(loaded).play():
        state = State(world)
        check_average(state, world)
        check_tree(state)
        check_counts(state)
        if before is not None:
            check_saved_lag(before, state, 1_000_000_000 // scenario["hz"])
            if record["ev"] == "tick":
                check_tick(before, state)
            elif record["ev"] == "yield_to" and record.get("ret") == 1 and scenario["series"] == "none":
                check_yield_to(before, state, loaded.tasks[record["to"]])
            elif record["ev"] == "wake" and record["ret"] == 1:
                check_placement(before, state, loaded.tasks[record["task"]])
            if record["ev"] in ("yield", "yield_to") and "skip" not in record:
                check_forfeit(before, state)
        before = state


def checked_scenario(seed: int, ops: int) -> dict:
    scenario = random_scenario(Random(f"invariants {seed}"), ops, series=["none", "v2"][seed % 2])
    return scenario | {"verbose_ticks": 1}


@pytest.mark.core
@pytest.mark.parametrize("seed", range(6))
def test_invariants(seed):
    play_checked(checked_scenario(seed, ops=60))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6, 200))
def test_invariants_for_long(seed):
    play_checked(checked_scenario(seed, ops=300))
