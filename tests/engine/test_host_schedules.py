"""Schedules of hogs, yielders and sleepers on one CPU, calculated by hand, from the whole machine.

Several are those of `tests.kernel.test_worked_one_cpu`: there the scheduler is called by hand. Times are in ms.
"""

import pytest

from tests.helpers.free_host import count, host, run, shares, sleep, switches, task

pytestmark = pytest.mark.core


def test_t06_two_hogs_alternate():
    hogs = host(task("A"), task("B"))
    assert switches(hogs, 10) == [(0, "A"), (3, "B"), (6, "A"), (9, "B")]
    assert switches(host(task("A"), task("B"), hz=250), 10) == [(0, "A"), (4, "B"), (8, "A")]


def test_t07_three_hogs_take_turns():
    hogs = host(task("A"), task("B"), task("C"))
    assert switches(hogs, 10) == [(0, "A"), (3, "B"), (6, "C"), (9, "A")]


def test_t08_weights_one_to_two():
    hogs = host(task("B", weight=2048), task("A", weight=1024))
    assert switches(hogs, 25) == [(0, "B"), (3, "A"), (6, "B"), (10, "A"), (13, "B"), (19, "A"), (22, "B")]
    assert shares(hogs, 3000) == {"A": 1001, "B": 1999}


def test_t09_weights_one_to_eight():
    hogs = host(task("B", weight=512), task("A", weight=64))
    assert [time for time, name in switches(hogs, 90) if name == "A"][1:] == [28, 55, 82]


def test_t10_a_short_slice_alternates_every_tick():
    hogs = host(task("B", slice_ns=500_000), task("A"))
    assert switches(hogs, 6) == [(0, "B"), (1, "A"), (2, "B"), (3, "A"), (4, "B"), (5, "A"), (6, "B")]


def test_t12_a_yielder_that_is_ahead_gives_way():
    tasks = host(task("A", run(0.5), {"sched_yield": True}), task("B"))
    assert switches(tasks, 7) == [(0, "A"), (0.5, "B"), (4, "A"), (7, "B")]


def test_t14_in_steady_state_a_yielder_needs_two_yields():
    again = {"sched_yield": True}
    once, twice = (host(task("A"), task("B", run(0.5), *[again] * yields)) for yields in (1, 2))
    assert switches(once, 6) == [(0, "A"), (3, "B"), (4, "A")]  # picked again, but its slice is protected no more
    assert switches(twice, 5) == [(0, "A"), (3, "B"), (3.5, "A")]


def test_t16_a_yielder_alone_stays():
    alone = host(task("A", run(0.5), {"sched_yield": True}))
    assert switches(alone, 20) == [(0, "A")]
    assert count(alone, 20, "A")["yields"] == 1


def test_t30_a_sleeper_that_was_ahead_wakes_without_preempting():
    tasks = host(task("A", run(1.5), sleep(0.5)), task("B"))
    assert switches(tasks, 6) == [(0, "A"), (1.5, "B"), (5, "A")]


def test_t31_a_sleeper_that_was_drained_preempts_at_once():
    tasks = host(task("A", run(1.5), sleep(6.5)), task("B"))
    assert switches(tasks, 9) == [(0, "A"), (1.5, "B"), (8, "A")]


def test_t32_both_sleep_and_the_cpu_idles():
    tasks = host(task("A", run(1.5), sleep(6.5)), task("B", run(0.2), sleep(20)))
    assert switches(tasks, 2) == [(0, "A"), (1.5, "B"), (1.7, "")]


def test_t33_a_sleeper_with_credit_keeps_it():
    tasks = host(task("A"), task("B", run(0.5), sleep(16.9)))
    assert switches(tasks, 25) == [(0, "A"), (3, "B"), (3.5, "A"), (20.4, "B"), (24, "A")]
