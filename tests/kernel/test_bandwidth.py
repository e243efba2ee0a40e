"""CFS bandwidth control, the accounts: worked by hand at 1000 Hz, where run time is charged at the ticks.

A queue starts with 1 ns, so it draws for the first time at the tick after a task has come: 5 ms and what it owes.
"""

import pytest

from tests.helpers.quota_host import MSEC, QuotaHost, group, spans
from vcpu_env.base.jit import NIL
from vcpu_env.base.timeline import NEVER

pytestmark = pytest.mark.core


def test_one_vcpu_at_half_a_cpu():
    """50 ms and the 1 ns of the beginning last until the tick at 51; the ms too much is repaid in each period."""
    host = QuotaHost(1, [(1, 0)], [group(50)])
    host.start(0)
    assert spans(host, 300) == [(0, 51), (100, 150), (200, 250), (300, 300)]
    assert host.pool(1)["nr_periods"] == 3
    assert host.pool(1)["nr_throttled"] == 3
    assert host.pool(1)["throttled_time_ns"] == (49 + 50 + 50) * MSEC


def test_two_cpus_draw_from_one_pool():
    """6 + 5 ms for the first CPU, 6 + 3 ms for the second; both run 10 ms a period on average.

    CPU 0: draws to 5 ms at the ticks 1 and 6, has none left at 11. CPU 1: 3 ms at tick 6, 2 ns at 9, none at 10.
    """
    host = QuotaHost(2, [(1, 0), (1, 1)], [group(20)])
    host.start(0, 1)
    host.run_to(1)
    assert host.pool(1)["runtime_ns"] == 20 * MSEC - 2 * (6 * MSEC - 1)
    host.run_to(6)
    assert host.pool(1)["runtime_ns"] == 0
    assert [int(host.queue(1, cpu)["runtime_remaining_ns"]) for cpu in (0, 1)] == [5 * MSEC, 3 * MSEC + 2]
    host.run_to(9)
    assert host.queue(1, 1)["runtime_remaining_ns"] == 2
    host.run_to(10)
    assert host.running() == [0, NIL]
    host.run_to(11)
    assert host.running() == [NIL, NIL]
    assert [int(host.queue(1, cpu)["runtime_remaining_ns"]) for cpu in (0, 1)] == [0, 2 - MSEC]
    host.run_to(99)
    assert host.running() == [NIL, NIL]
    host.run_to(100)
    assert host.running() == [0, 1]
    assert [int(host.queue(1, cpu)["runtime_remaining_ns"]) for cpu in (0, 1)] == [1, 1]
    assert host.pool(1)["runtime_ns"] == 19 * MSEC
    host.run_to(4099)
    assert host.usage_ns(1) == 41 * 20 * MSEC + MSEC


def test_a_period_ends_in_its_phase():
    host = QuotaHost(1, [(1, 0)], [group(50)], phases_ms=[70])
    host.start(0)
    assert spans(host, 171) == [(0, 51), (70, 120), (170, 171)]


def test_without_quota_nothing_is_charged():
    host = QuotaHost(1, [(1, 0)], [group()])
    host.start(0)
    assert spans(host, 300) == [(0, 300)]
    assert host.queue(1)["runtime_remaining_ns"] == 0
    assert host["event"]["when_ns"].min() == NEVER


def test_more_quota_than_cpus():
    host = QuotaHost(1, [(1, 0)], [group(150)])
    host.start(0)
    assert spans(host, 500) == [(0, 500)]
    assert host.pool(1)["nr_periods"] == 5
    assert host.pool(1)["nr_throttled"] == 0


def returned(phase_ms: float) -> QuotaHost:
    """CPU 2 has drawn 16 of 27 ms by 11, CPUs 0 and 1 the rest at 15; at 16 it runs out, and then they go to sleep."""
    host = QuotaHost(3, [(1, 0), (1, 1), (1, 2)], [group(27)], phases_ms=[phase_ms])
    host.start(2)
    host.run_to(14)
    host.start(0, 1)
    host.run_to(16)
    assert host.running() == [0, 1, NIL]
    assert [int(host.queue(1, cpu)["runtime_remaining_ns"]) for cpu in range(3)] == [4 * MSEC, 3 * MSEC + 3, 0]
    host.sleep(0)
    assert host.pool(1)["runtime_ns"] == 3 * MSEC
    assert not host.pool(1)["slack_started"]
    host.sleep(1)
    assert host.pool(1)["runtime_ns"] == 5 * MSEC + 3
    assert [int(host.queue(1, cpu)["runtime_remaining_ns"]) for cpu in range(3)] == [MSEC, MSEC, 0]
    return host


def test_slack_is_handed_out_after_5_ms():
    """More than 5 ms have been given back while CPU 2 is throttled: it gets 1 ns at 21, draws at 22, is broke at 27."""
    host = returned(phase_ms=100)
    assert host.pool(1)["slack_started"]
    assert spans(host, 99, cpu=2) == [(21, 27)]
    assert not host.pool(1)["slack_started"]


def test_no_slack_timer_shortly_before_a_refill():
    host = returned(phase_ms=22)
    assert not host.pool(1)["slack_started"]
    host.run_to(21)
    assert host.running() == [NIL, NIL, NIL]
    host.run_to(22)
    assert host.running() == [NIL, NIL, 2]


def test_burst_keeps_what_was_not_used():
    """10 of 20 ms are used, then nothing for 2 periods: the pool has 30 ms at 250, and the queue has kept 1."""
    host = QuotaHost(1, [(1, 0)], [group(20, burst_ms=10)])
    host.start(0)
    host.run_to(10)
    host.sleep(0)
    assert host.pool(1)["runtime_ns"] == 9 * MSEC + 1
    host.run_to(100)
    assert host.pool(1)["runtime_ns"] == 29 * MSEC + 1
    host.run_to(250)
    assert host.pool(1)["runtime_ns"] == 30 * MSEC
    host.wake(0)
    assert spans(host, 299) == [(250, 281)]
    assert host.pool(1)["nr_burst"] == 0
    host.run_to(300)
    assert host.pool(1)["nr_burst"] == 1
    assert host.pool(1)["burst_time_ns"] == 10 * MSEC


def test_without_burst_the_pool_holds_one_quota():
    host = QuotaHost(1, [(1, 0)], [group(20)])
    host.start(0)
    host.run_to(10)
    host.sleep(0)
    host.run_to(100)
    assert host.pool(1)["runtime_ns"] == 20 * MSEC


def test_timer_stops_when_nobody_draws_and_keeps_its_phase():
    host = QuotaHost(1, [(1, 0)], [group(20)], phases_ms=[30])
    host.start(0)
    host.run_to(10)
    host.sleep(0)
    host.run_to(30)
    assert host.pool(1)["idle"]
    assert host.pool(1)["period_active"]
    host.run_to(130)
    assert not host.pool(1)["period_active"]
    assert host["event"]["when_ns"].min() == NEVER
    host.run_to(555)
    assert host.pool(1)["nr_periods"] == 2
    host.wake(0)
    host.run_to(556)
    assert host.pool(1)["period_active"]
    assert host.pool(1)["period_expires_ns"] == 630 * MSEC


def test_every_level_has_its_own_account():
    """P with 30 ms over A and B with 20 ms each: P's pool is empty first. Its CPU 1 gets 6 + 5 + 3 ms, CPU 0 16."""
    host = QuotaHost(2, [(2, 0), (3, 1)], [group(30), group(20, parent=1), group(20, parent=1)])
    host.start(0, 1)
    host.run_to(14)
    assert host.running() == [0, 1]
    host.run_to(15)
    assert host.running() == [0, NIL]
    host.run_to(16)
    assert host.running() == [NIL, NIL]
    assert [host.throttle_count(tg, 0) for tg in (1, 2, 3)] == [1, 1, 1]
    assert [int(host.queue(tg, 0)["throttled"]) for tg in (1, 2)] == [1, 0]
    assert host.queue(2, 0)["runtime_remaining_ns"] == MSEC  # of 4 ms and 1 ns; the rest went back to A's pool
    assert host.pool(2)["runtime_ns"] == 3 * MSEC + 1
    host.run_to(100)
    assert host.running() == [0, 1]
    host.run_to(1000)
    assert host.usage_ns(1) == host.usage_ns(2) + host.usage_ns(3) <= 301 * MSEC
    assert host.usage_ns(2) <= 201 * MSEC


def test_a_queue_that_wakes_broke_is_throttled_at_once():
    """Its 21st ms was too much; it slept through the tick that would have told, and wakes into the same period."""
    host = QuotaHost(1, [(1, 0), (0, 0)], [group(20)])
    host.start(0)
    host.run_to(20.5)
    host.sleep(0)
    assert host.queue(1)["runtime_remaining_ns"] == 1 - MSEC // 2
    host.run_to(30)
    host.wake(0)
    assert host.queue(1)["throttled"]
    assert host.in_limbo(0)
    assert spans(host, 101) == [(100, 101)]
