"""What must hold on one CPU after every event, looked at from outside in the compiled machine's arrays."""

from random import Random

import pytest

from tests.helpers.invariants import State, check_average, check_counts, check_tree
from tests.twin.eevdf import Load, calc_delta_fair
from tests.twin.random_scenario import random_scenario
from vcpu_env.base.jit import NIL
from vcpu_env.trace.replay_sched import Player
from vcpu_env.trace.sched_scenario import load_scenario

ROUNDING_NS = 2


def check_saved_lag(before: State, state: State, tick_ns: int):
    """I7: lag kept for a sleeper is bounded, and never positive if the sleeper's leaving was delayed."""
    for was, se in zip(before.entities, state.entities, strict=True):
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
    for i, (was, se) in enumerate(zip(before.entities, state.entities, strict=True)):
        if i != state.rq["curr"]:
            assert (was["vruntime"], was["deadline"]) == (se["vruntime"], se["deadline"]), "I12"
    path = {state.entities[i]["cfs_rq"]: i for i in state.chain(target)}
    for q, (was, queue) in enumerate(zip(before.queues, state.queues, strict=True)):
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
