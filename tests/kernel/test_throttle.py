"""CFS bandwidth control, the tasks: into limbo on the way to user mode, and out of it; nothing else may move them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.domain_host import movable
from tests.helpers.invariants import assert_scheduler
from tests.helpers.quota_host import MSEC, QuotaHost, group, spans
from vcpu_env.base.jit import NIL
from vcpu_env.kernel.bandwidth import RUNTIME_INF, Bandwidth
from vcpu_env.kernel.build import Group
from vcpu_env.kernel.core import set_user_nice
from vcpu_env.kernel.types import TASK_RUNNING


def check(host: QuotaHost) -> None:
    """All that must hold after an event."""
    assert_scheduler(host.world)


@pytest.mark.core
def test_a_task_in_limbo_is_runnable_but_not_queued():
    host = QuotaHost(1, [(1, 0)], [group(20)])
    host.start(0)
    host.run_to(21)
    assert host.in_limbo(0)
    assert host["task_struct"]["state"][0] == TASK_RUNNING
    assert host["rq"]["nr_running"][0] == 0
    assert host["task_struct"]["nivcsw"][0] == 1
    waited_ns = int(host["task_struct"]["run_delay_ns"][0])
    host.run_to(100)
    assert not host.in_limbo(0)
    assert host["task_struct"]["run_delay_ns"][0] == waited_ns + 79 * MSEC
    check(host)


@pytest.mark.core
def test_a_throttled_task_never_leaves_with_a_delay():
    """It is far ahead of its neighbour in another group, which would delay a sleeper; its group leaves with it."""
    host = QuotaHost(1, [(1, 0), (0, 0)], [group(2)])
    host.start(0, 1)
    for ms in range(1, 12):
        host.run_to(ms)
        if host.in_limbo(0):
            break
    assert host.in_limbo(0)
    assert host["rq"]["nr_running"][0] == 1
    assert host["cfs_rq"]["nr_queued"].tolist() == [1, 0]
    assert not host["sched_entity"]["sched_delayed"].any()
    check(host)


@pytest.mark.core
def test_tasks_of_a_throttled_queue_leave_one_by_one():
    """The queue is throttled once; the second task is picked, and leaves, when the first has gone."""
    host = QuotaHost(1, [(1, 0), (1, 0), (0, 0)], [group(4)])
    host.start(0, 1)
    host.run_to(5)
    assert host.in_limbo(0) and host.in_limbo(1)
    assert host["rq"]["nr_switches"][0] >= 2
    host.run_to(99)
    check(host)
    host.run_to(100)
    assert not host.in_limbo(0) and not host.in_limbo(1)
    check(host)


@pytest.mark.core
def test_the_last_into_limbo_is_the_first_out():
    host = QuotaHost(1, [(1, 0), (1, 0)], [group(4)])
    host.start(0, 1)
    host.run_to(5)
    head = int(host.queue(1)["throttled_limbo"])
    assert int(host["task_struct"]["throttle_next"][head]) == 1 - head
    assert host["task_struct"]["throttle_next"][1 - head] == NIL


@pytest.mark.core
def test_a_sleeper_that_wakes_below_a_throttled_queue_is_stopped_at_once():
    host = QuotaHost(1, [(1, 0), (1, 0)], [group(10)])
    host.start(0)
    host.run_to(1)
    host.start(1)
    while host.running() != [1]:
        host.run_to(host.now_ns / MSEC + 1)
    host.sleep(1)
    host.run_to(30)
    ran_ns = int(host.service_ns()[1])
    assert host.in_limbo(0) and not host["task_struct"]["on_rq"][1]
    host.wake(1)
    assert host.in_limbo(1)
    assert host.service_ns()[1] == ran_ns
    check(host)


@pytest.mark.core
def test_all_levels_must_have_run_time():
    """A (5 ms) below P (15 ms), both with a task of B beside it: A is throttled, then P; P's next period is at 30."""
    groups = [group(15), group(5, parent=1), group(parent=1)]
    host = QuotaHost(1, [(2, 0), (3, 0)], groups, phases_ms=[30, 100, 100])
    host.start(0, 1)
    seen = []
    for ms in range(1, 30):
        host.run_to(ms)
        check(host)
        seen.append((host.throttle_count(1), host.throttle_count(2), host.in_limbo(0), host.in_limbo(1)))
    assert (0, 1, True, False) in seen
    assert seen[-1] == (1, 2, True, True)
    host.run_to(30)
    assert (host.throttle_count(2), host.throttle_count(3)) == (1, 0)
    assert host.running() == [1]
    host.run_to(100)
    host.run_to(130)
    assert host.throttle_count(2) == 0
    assert not host.in_limbo(0)
    check(host)


@pytest.mark.core
def test_more_quota_takes_effect_at_once():
    host = QuotaHost(1, [(1, 0)], [group(20)])
    host.start(0)
    host.run_to(60)
    host.set_bandwidth(1, 30 * MSEC)
    assert not host.in_limbo(0)
    assert host.queue(1)["runtime_remaining_ns"] == 1
    check(host)
    assert spans(host, 200)[0] == (60, 91)


@pytest.mark.core
def test_a_lifted_quota_is_no_quota():
    host = QuotaHost(1, [(1, 0)], [group(20)])
    host.start(0)
    host.run_to(60)
    host.set_bandwidth(1, RUNTIME_INF)
    assert spans(host, 400) == [(60, 400)]
    assert not host.pool(1)["period_active"]
    host.set_bandwidth(1, 10 * MSEC)
    assert spans(host, 499) == [(400, 411)]


@pytest.mark.core
def test_nobody_pulls_a_task_to_where_its_group_is_throttled():
    """Task 0 fills CPU 1 with the group's run time; tasks 1 and 2 wait on CPU 0, and may go to CPU 1 afterwards."""
    host = QuotaHost(2, [(1, 0), (1, 0), (1, 1), (0, 0)], [group(20)])
    host["task_struct"]["cpus_allowed"][:] = -1
    host["sched_tunables"]["newidle_cost_ns"] = 1 << 60
    host.start(3, 0, 2)
    host.start(1)
    while not host.queue(1, 1)["throttled"]:
        host.run_to(host.now_ns / MSEC + 1)
    waiting = next(p for p in (0, 1, 3) if host.cpu_of(p) == 0 and p not in host.running() and not host.in_limbo(p))
    tg, sd = int(host["task_struct"]["tg"][waiting]), int(host["rq"]["sd"][1])
    host["sched_domain"]["nr_balance_failed"] = 9
    assert movable(host, waiting, 1, sd) == (tg != 1)
    host.queue(1, 1)["throttled"] = 0
    host["cfs_rq"]["throttle_count"][2 + 1] = 0
    assert movable(host, waiting, 1, sd)


@pytest.mark.core
def test_a_task_in_limbo_can_be_reniced():
    host = QuotaHost(1, [(1, 0)], [group(20)])
    host.start(0)
    host.run_to(50)
    set_user_nice(host.w, 0, 5)
    assert host.in_limbo(0)
    assert host["sched_entity"]["weight"][0] == 335 << 10
    host.run_to(100)
    assert host.running() == [0]
    check(host)


@pytest.mark.core
def test_load_stands_still_while_throttled():
    """A group that is off for 79 ms of 100 is as much load to its CPU when it is back as when it left."""
    host = QuotaHost(2, [(1, 0), (0, 1)], [group(20)])
    host.start(0, 1)
    host.run_to(1022)
    q = 1 * 2 + 0
    left = int(host["cfs_rq"]["load_avg"][q])
    host.run_to(1099)
    assert host["cfs_rq"]["load_avg"][q] == left
    host.run_to(1101)
    assert host["cfs_rq"]["load_avg"][q] == pytest.approx(left, rel=0.05)
    assert left == pytest.approx(1024, rel=0.02)


QUOTAS = st.tuples(st.integers(1, 30), st.sampled_from([4, 10, 25]), st.integers(0, 30), st.integers(0, 24))
"""Quota, period, burst (all in ms; the burst is cut to the quota), phase."""


@st.composite
def trees(draw):
    """Groups with and without quotas, tasks in them, and when which of them sleeps or wakes."""
    nr_groups, nr_cpus = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    limits = draw(st.lists(st.none() | QUOTAS, min_size=nr_groups, max_size=nr_groups))
    parents = [draw(st.integers(0, tg)) for tg in range(nr_groups)]
    places = st.tuples(st.integers(0, nr_groups), st.integers(0, nr_cpus - 1))
    return nr_cpus, limits, parents, draw(st.lists(places, min_size=1, max_size=7)), draw(st.randoms())


@settings(max_examples=40, deadline=None)
@given(trees())
def test_no_group_gets_more_than_its_quota(tree):
    """I16: in each period at most quota, burst, and what CPUs have drawn and overdrawn; in the long run the quota."""
    nr_cpus, limits, parents, tasks, random = tree
    groups, phases = [], []
    for parent, limit in zip(parents, limits, strict=True):
        quota, period, burst, phase = limit or (0, 100, 0, 0)
        groups.append(group(quota, period, min(burst, quota), parent))
        phases.append(phase % period or period)
    host = QuotaHost(nr_cpus, tasks, groups, phases)
    asleep, used, total_ms = set(), {}, 200
    host.start(*range(len(tasks)))
    for ms in range(total_ms):
        host.run_to(ms)
        check(host)
        for p in range(len(tasks)):
            if p in asleep and random.random() < 0.2:
                host.wake(p, host.cpu_of(p))
                asleep.discard(p)
            elif p in host.running() and random.random() < 0.05:
                host.sleep(p)
                asleep.add(p)
            elif host["task_struct"]["state"][p] == TASK_RUNNING:
                asleep.discard(p)
        for tg, limit in enumerate(limits, start=1):
            if limit and (ms - phases[tg - 1]) % limit[1] == 0:
                quota, _, burst, _ = limit
                usage_ns = host.usage_ns(tg)
                bound_ns = (quota + min(burst, quota) + nr_cpus * (1 + 5)) * MSEC
                assert usage_ns - used.get(tg, 0) <= bound_ns
                used[tg] = usage_ns
    for tg, limit in enumerate(limits, start=1):
        if limit:
            quota, period, burst, _ = limit
            refills = (total_ms - phases[tg - 1]) // period + 1
            assert host.usage_ns(tg) <= (quota * (refills + 1) + nr_cpus) * MSEC + nr_cpus


def test_a_quota_is_used_up():
    """A group with enough to do gets its quota: 3 busy CPUs, 12 ms in 10 ms, whatever runs beside it."""
    groups = [Group(bandwidth=Bandwidth(12 * MSEC, 10 * MSEC, 0)), Group()]
    tasks = [(tg, cpu) for cpu in range(3) for tg in (1, 1, 2)]
    host = QuotaHost(3, tasks, groups)
    host.start(*range(len(tasks)))
    host.run_to(3000)
    assert host.usage_ns(1) / MSEC == pytest.approx(1.2 * 3000, rel=0.01)
    assert host.usage_ns(2) / MSEC == pytest.approx(1.8 * 3000, rel=0.01)
