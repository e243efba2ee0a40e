"""Metrics of made-up traces, worked by hand."""

import numpy as np
import pytest

from tests.helpers.realism_events import events
from vcpu_env.realism.chain import BrokenChainError, complete
from vcpu_env.realism.events import EVENTS, FOREIGN, SWITCH, WAKEUP, numbered
from vcpu_env.realism.metrics import ks_distance, measure_probe

F = FOREIGN


def test_two_in_turn():
    trace = events((0, 0, 0, 0, 1), (4, 0, 1, 0, 2), (8, 0, 2, 0, 1), (12, 0, 1, 0, 2), (16, 0, 2, 0, 1))
    found = measure_probe(trace, [False, False], 0, 16)
    one, two = found.tasks
    assert (one.cpu_share, two.cpu_share, found.interference) == (0.5, 0.5, 0)
    assert one.involuntary == 2e9 / 16 and one.voluntary == one.migrations == 0
    assert two.involuntary == 1e9 / 16  # the switch at the window's end is not in it
    assert one.slices_ns.tolist() == [4, 4] and two.slices_ns.tolist() == [4]
    assert one.waits_ns.tolist() == [4] and two.waits_ns.tolist() == [4]


def test_window_cuts():
    trace = events((0, 0, 0, 0, 1), (10, 0, 1, 0, 2), (30, 0, 2, 0, 1))
    one, two = measure_probe(trace, [False, False], 5, 25).tasks
    assert (one.cpu_share, two.cpu_share) == (5 / 20, 15 / 20)
    assert one.involuntary == 1e9 / 20 and len(one.slices_ns) == 0  # it began before the window
    assert two.involuntary == 0


def test_sleep_and_wake():
    trace = events((0, 0, 0, 0, 1), (3, 0, 1, 1, 0), (10, 0, 1), (11, 0, 1), (14, 0, 0, 0, 1), (20, 0, 1, 1, 0))
    (one,) = measure_probe(trace, [False], 0, 40).tasks
    assert one.cpu_share == 9 / 40 and one.voluntary == 2e9 / 40
    assert one.waits_ns.tolist() == [4]  # from the first of its wake-ups


def test_wake_that_was_not_seen():
    trace = events((0, 0, 0, 0, 1), (3, 0, 1, 1, 0), (14, 0, 0, 0, 1), (20, 0, 1, 1, 0), (25, 0, 1))
    (one,) = measure_probe(trace, [False], 0, 40).tasks
    assert len(one.waits_ns) == 0


def test_migration_and_a_task_that_never_leaves():
    trace = events((0, 0, 0, 0, 1), (0, 1, 0, 0, 2), (5, 0, 1, 0, 3), (9, 1, 2, 1, 1), (20, 0, 3, 1, 0))
    found = measure_probe(trace, [False] * 3, 0, 29)
    assert [task.migrations for task in found.tasks] == [1e9 / 29, 0, 0]
    assert found.tasks[0].cpu_share == pytest.approx(25 / 29)  # 0..5 and 9..29
    assert found.tasks[0].waits_ns.tolist() == [4]


def test_others_within_a_stay():
    trace = events((0, 0, 0, 0, 1), (4, 0, 1, 0, F), (6, 0, F, 0, 1), (12, 0, 1, 0, 2), (22, 0, 2, 0, 1))
    found = measure_probe(trace, [False, False], 0, 22)
    one, two = found.tasks
    assert found.interference == pytest.approx(2 / 22)
    assert one.slices_ns.tolist() == [10] and one.involuntary == pytest.approx(1e9 / 20)
    assert two.cpu_share == pytest.approx(0.5)


def test_others_within_a_wait():
    trace = events((0, 0, 0, 0, 1), (4, 0, 1, 0, F), (6, 0, F, 0, 2), (12, 0, 2, 0, 1), (16, 0, 1, 0, 2))
    found = measure_probe(trace, [False, False], 0, 20)
    assert found.interference == pytest.approx(2 / 20)
    assert found.tasks[0].waits_ns.tolist() == [6]  # from 4 to 12, less 2
    assert found.tasks[1].waits_ns.tolist() == [4]


def test_others_on_one_of_two_cpus():
    trace = events(
        (0, 0, 0, 0, 1), (0, 1, 0, 0, 2), (5, 1, 2, 0, F), (10, 1, F, 0, 2), (20, 0, 1, 1, 0), (20, 1, 2, 1, 0)
    )
    found = measure_probe(trace, [False, False], 0, 20)
    assert found.interference == pytest.approx(5 / 40)
    assert [task.cpu_share for task in found.tasks] == [1, 1]  # each had all that was left of its CPU


def test_others_while_nobody_waits():
    trace = events((0, 0, 0, 0, 1), (4, 0, 1, 1, F), (9, 0, 1), (10, 0, F, 0, 1), (16, 0, 1, 1, 0))
    found = measure_probe(trace, [False], 0, 20)
    assert found.interference == pytest.approx(1 / 20)  # from 9, when it waits
    assert len(found.tasks[0].waits_ns) == 0  # a wait that begins while others run
    assert found.tasks[0].cpu_share == pytest.approx(10 / 19)


def test_quota_is_not_interference():
    trace = events((0, 0, 0, 0, 1), (4, 0, 1, 0, F), (10, 0, F, 0, 1), (14, 0, 1, 0, 0))
    found = measure_probe(trace, [True], 0, 20)
    assert found.interference == 0
    assert found.tasks[0].cpu_share == 8 / 20
    assert found.tasks[0].waits_ns.tolist() == [6] and found.tasks[0].slices_ns.tolist() == [4, 4]


@pytest.mark.parametrize("trace, end", [(events((0, 0, 1)), 10), (events((0, 0, 0, 0, 1)), 0)])
def test_nothing_there(trace, end):
    with pytest.raises(ValueError, match="no scheduler events"):
        measure_probe(trace, [False], 0, end)


def test_ks_distance():
    a, b = np.array([1.0, 2, 3, 4]), np.array([3.0, 4, 5, 6])
    assert ks_distance(a, b, 0) == 0.5 == ks_distance(b, a, 0)
    assert ks_distance(a, a, 0) == 0
    assert ks_distance(np.array([100.0]), np.array([101.0])) == 0 != ks_distance(np.array([100.0]), np.array([103.0]))
    assert ks_distance(np.array([]), np.array([])) == 0 and ks_distance(a, np.array([])) == 1


def rows_of(*rows):
    return np.array(list(rows), EVENTS)


def test_a_switch_out_of_idle_that_is_missing_is_where_the_task_was_woken():
    before = rows_of((1, 0, SWITCH, 501, 1, 0), (4, 1, WAKEUP, 0, 0, 501), (9, 0, SWITCH, 501, 1, 0))
    whole = complete(before, {501})
    assert whole.tolist() == [
        (1, 0, SWITCH, 501, 1, 0), (4, 1, WAKEUP, 0, 0, 501), (5, 0, SWITCH, 0, 0, 501), (9, 0, SWITCH, 501, 1, 0),
    ]  # fmt: skip
    assert complete(whole, {501}) is whole


def test_a_new_task_of_others_comes_and_goes_at_once():
    others = rows_of((1, 0, SWITCH, 501, 1, 0), (9, 0, SWITCH, 77, 1, 501))
    assert complete(others, {501}).tolist()[1] == (9, 0, SWITCH, 0, 0, 77)


def test_a_thread_that_leaves_no_trace_has_gone_at_once():
    """Task 501 was preempted by 77, and is back although nobody woke it up."""
    whole = complete(rows_of((3, 0, SWITCH, 501, 0, 77), (9, 0, SWITCH, 501, 1, 0)), {501})
    assert whole.tolist()[1] == (4, 0, SWITCH, 77, 0, 501)


@pytest.mark.parametrize("came", [(4, 1, WAKEUP, 0, 0, 502), (0, 1, WAKEUP, 0, 0, 501)])
def test_a_switch_that_nothing_tells_of_is_an_error(came):
    """After throttling no wake-up says when; one before the CPU went idle says nothing."""
    events = sorted([(1, 0, SWITCH, 501, 1, 0), came, (9, 0, SWITCH, 501, 1, 0)])
    with pytest.raises(BrokenChainError, match="the trace of cpu 0 lacks switches"):
        complete(rows_of(*events), {501})


def test_task_numbers():
    raw = np.array(
        [
            (1, 0, SWITCH, 0, 0, 501),
            (2, 0, SWITCH, 501, 0, 77),
            (3, 0, SWITCH, 77, 1, 78),  # others among themselves
            (4, 0, SWITCH, 78, 1, 0),
            (5, 0, WAKEUP, 0, 0, 501),
            (6, 0, WAKEUP, 0, 0, 78),
            (7, 1, SWITCH, 77, 0, 78),  # a CPU where the probe never was
            (8, 0, SWITCH, 0, 0, 502),
        ],
        EVENTS,
    )
    rows = numbered(raw, [501, 502])[["time_ns", "prev_pid", "next_pid"]].tolist()
    assert rows == [(1, 0, 1), (2, 1, F), (4, F, 0), (5, 0, 1), (8, 0, 2)]
