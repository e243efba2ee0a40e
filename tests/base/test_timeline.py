"""The timeline's tree against a plain minimum over all slots."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.worlds import timeline
from vcpu_env.base.timeline import NEVER, next_slot, set_event

pytestmark = pytest.mark.core


SIZES = st.one_of(st.integers(1, 70), st.integers(500, 600))
TIMES = st.one_of(st.integers(0, 5), st.integers(0, 10**15), st.just(NEVER))


@given(SIZES.flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(st.integers(0, n - 1), TIMES)))))
def test_next_is_the_least_time_then_the_least_slot(case):
    nr_slots, operations = case
    world, when = timeline(nr_slots), [NEVER] * nr_slots
    for slot, when_ns in operations:
        set_event(world.handle, slot, when_ns)
        when[slot] = when_ns
        assert next_slot(world.handle) == min(range(nr_slots), key=lambda s: (when[s], s))


@given(SIZES.flatmap(lambda n: st.lists(st.integers(0, 9), min_size=n, max_size=n)))
def test_events_come_out_sorted(times):
    world = timeline(len(times))
    for slot, when_ns in reversed(list(enumerate(times))):
        set_event(world.handle, slot, when_ns)
    order = []
    for _ in times:
        slot = int(next_slot(world.handle))
        order.append((int(world["event"]["when_ns"][slot]), slot))
        set_event(world.handle, slot, NEVER)
    assert order == sorted((when_ns, slot) for slot, when_ns in enumerate(times))
    assert world["event"]["when_ns"][next_slot(world.handle)] == NEVER


def test_equal_times_go_by_slot():
    world = timeline(8)
    for slot in (6, 2, 7, 3):
        set_event(world.handle, slot, 100)
    assert next_slot(world.handle) == 2
    set_event(world.handle, 2, 101)
    assert next_slot(world.handle) == 3
    set_event(world.handle, 0, 100)
    assert next_slot(world.handle) == 0


def test_moving_an_event_leaves_none_behind():
    world = timeline(4)
    set_event(world.handle, 1, 10)
    set_event(world.handle, 1, 50)
    set_event(world.handle, 2, 20)
    assert next_slot(world.handle) == 2
    set_event(world.handle, 2, NEVER)
    assert next_slot(world.handle) == 1
    set_event(world.handle, 1, NEVER)
    assert world["event"]["when_ns"].min() == NEVER
