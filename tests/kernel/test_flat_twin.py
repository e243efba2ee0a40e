"""v7.3's fair class against its twin: random scenarios on one CPU, equal after every operation."""

from random import Random

import pytest

from tests.twin.flat_play import play, random_flat_scenario
from vcpu_env.base.jit import NIL
from vcpu_env.trace.replay_flat import FlatPlayer, load_flat_scenario


def states(scenario: dict):
    """The core's state after every operation, in the twin's words."""
    player = FlatPlayer(load_flat_scenario(scenario))
    names = {id: name for name, id in player.scenario.tasks.items()} | {NIL: None}
    entities, root, rq = (player.scenario.world[name] for name in ("sched_entity", "cfs_rq", "rq"))
    ticks = 0
    for op in scenario["ops"]:
        while (ticks + 1) * player.scenario.tick_ns <= op["t"]:
            ticks += 1
            list(player.tick(ticks))
        list(player.operation(op))
        curr = int(rq["curr"][0])
        found = {"curr": names[curr] or "idle", "next": names[int(root["next"][0])]}
        for name, p in player.scenario.tasks.items():
            se = entities[p]
            queued, delayed = bool(se["on_rq"]), bool(se["sched_delayed"])
            found[name] = {
                "v": int(se["vruntime"]), "d": int(se["deadline"]), "queued": queued, "delayed": delayed,
                "h_load": int(se["h_load"]), "lag": int(se["vlag"]) if not queued or delayed else None,
                "ran": int(se["sum_exec_runtime_ns"]), "slice": int(se["slice_ns"]),
                "vprot": int(se["vprot"]) if p == curr and queued else None,
            }  # fmt: skip
        yield found


def first_difference(seed: int, ops: int) -> str | None:
    scenario = random_flat_scenario(Random(seed), ops)
    for number, (mine, its) in enumerate(zip(states(scenario), play(scenario), strict=True)):
        if mine != its:
            name = next(name for name in mine if mine[name] != its[name])
            return f"op {number} {scenario['ops'][number]}: {name} {mine[name]} against {its[name]}"
    return None


@pytest.mark.core
@pytest.mark.parametrize("seed", range(12))
def test_twin(seed):
    assert first_difference(seed, 80) is None


@pytest.mark.slow
def test_many_twins():
    assert [seed for seed in range(100, 500) if first_difference(seed, 150)] == []
