"""Random streams: one seed, one table, and nothing random beside it."""

import re
from pathlib import Path

import numpy as np
import pytest

from vcpu_env.base import random as streams
from vcpu_env.base.random import STREAMS, seed_key, set_seed, stream_base, stream_key
from vcpu_env.machine import Machine
from vcpu_env.scenario import load_scenario

SOURCE = Path(streams.__file__).parent.parent
DRAWS = 16


def first_draws(seed: int, stream: str, entity: int) -> tuple[int, ...]:
    key = stream_key(np.int64(seed_key(seed)), stream_base(stream), entity)
    return tuple(int(streams.draw(key, i)) for i in range(DRAWS))


@pytest.mark.core
@pytest.mark.parametrize("stream", STREAMS)
def test_every_stream_depends_on_seed_and_entity(stream):
    drawn = {first_draws(seed, stream, entity) for seed in range(4) for entity in range(64)}
    assert len(drawn) == 4 * 64


@pytest.mark.core
def test_streams_differ_from_each_other():
    assert len({first_draws(7, stream, entity) for stream in STREAMS for entity in range(64)}) == 64 * len(STREAMS)


def test_all_draws_of_a_machine_are_of_a_stream():
    """Who draws from a key of his own: what builds a machine, and policies that are random themselves."""
    own_keys = {"blueprint", "world", "network", "rivals", "step", "play", "rollout"}
    own = re.compile(r"(?<![.\w])(mix64|draw|stream_key)\([\w.]*(key|seed|mix64|np|view)")
    found = {path.stem for path in SOURCE.rglob("*.py") if path.parent.name != "base" and own.search(path.read_text())}
    assert found == own_keys


@pytest.mark.core
@pytest.mark.parametrize("stream", STREAMS)
def test_every_stream_is_drawn(stream):
    users = [p for p in SOURCE.rglob("*.py") if p.name != "random.py" and stream.upper() in p.read_text()]
    assert users, f"nobody draws from {stream}"


@pytest.mark.parametrize("name", ["host-noise", "dedup-2vm"])
def test_another_seed_is_another_future_of_guests_and_host_tasks(name):
    """What `reset(seed)` of an environment does to a machine that runs already."""
    machine = Machine(load_scenario(name), "stock", seed=0)
    machine.run_until(5_000_000)
    same, other = machine.fork(), machine.fork()
    set_seed(other.world.handle, 1)
    for fork in (machine, same, other):
        fork.run_until(400_000_000)
    assert np.array_equal(machine.world.words, same.world.words)
    for array, field in (("guest_thread", "remaining_ns"), ("host_task", "run_ns")):
        if len(machine.world[array]):
            assert not np.array_equal(machine.world[array][field], other.world[array][field]), (array, field)
