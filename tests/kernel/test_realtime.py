"""The real-time class: who runs on one CPU (beside a twin), where tasks go on several, what fair tasks are left."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.smp_driver import Host
from tests.twin.realtime import RtCpu, RtTask
from vcpu_env.base.jit import NIL
from vcpu_env.kernel.build import Group, Task
from vcpu_env.kernel.core import schedule, update_rq_clock, yield_to
from vcpu_env.kernel.fair_server import dl_server_timer
from vcpu_env.kernel.rt_load import capacity_of
from vcpu_env.kernel.types import SCHED_FIFO, SCHED_RR

pytestmark = pytest.mark.core

MSEC = 1_000_000
FAIR = Task()


def fifo(priority: int, cpu: int = 0) -> Task:
    return Task(policy=SCHED_FIFO, priority=priority, cpu=cpu)


def rr(priority: int, cpu: int = 0) -> Task:
    return Task(policy=SCHED_RR, priority=priority, cpu=cpu)


def started(nr_cpus: int, *tasks: Task, **kwargs) -> Host:
    host = Host(nr_cpus, list(tasks), **kwargs)
    host.start(*range(len(tasks)))
    return host


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["wake", "sleep", "yield", "tick"]), st.integers(0, 5), st.integers(1, 130)),
    min_size=5,
    max_size=40,
)


@settings(max_examples=30, deadline=None)
@given(
    kinds=st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=6, max_size=6),
    operations=OPERATIONS,
)
def test_one_cpu_does_what_the_twin_does(kinds, operations):
    """Six real-time tasks and a fair one, which runs when none of them does; a second of fair server is not used up."""
    tasks = [(rr if robin else fifo)(priority) for priority, robin in kinds]
    host = Host(1, [*tasks, FAIR], hz=1000, fair_server_runtime_ns=0)
    twin = RtCpu(timeslice_ticks=100)
    twins = [RtTask(p, priority, robin, 100) for p, (priority, robin) in enumerate(kinds)]
    host.start(6)
    known, awake = set(), set()
    for what, p, ticks in operations:
        running = twin.running()
        if what == "wake" and p not in awake:
            if p in known:
                host.wake(p, 0)
            else:
                host.start(p)
            known.add(p)
            awake.add(p)
            twin.wake(twins[p])
        elif what == "sleep" and running is not None:
            host.sleep(running)
            awake.discard(running)
            twin.sleep(running)
        elif what == "yield" and running is not None:
            host.yield_(running)
            twin.yield_()
        elif what == "tick":
            host.run(ticks)
            for _ in range(ticks):
                twin.tick()
        expected = twin.running()
        assert host.running() == [6 if expected is None else expected], (what, p)


def test_a_round_of_three():
    """100 ms each, in the order in which they came."""
    host = started(1, rr(5), rr(5), rr(5), FAIR, fair_server_runtime_ns=0)
    order = []
    for _ in range(6):
        order.append(host.running()[0])
        host.run(100)
    assert order == [0, 1, 2, 0, 1, 2]
    assert host.service_ns().tolist() == [200 * MSEC] * 3 + [0]


def test_fifo_runs_until_it_sleeps_and_wakes_behind_its_equals():
    host = started(1, fifo(5), fifo(5), FAIR)
    host.run(300)
    assert host.running() == [0]
    host.sleep(0)
    assert host.running() == [1]
    host.wake(0, 0)
    assert host.running() == [1]


def test_weights_and_quotas_are_not_for_them():
    """A group's weight of 1 and a quota of nothing: what counts is the priority."""
    groups = [Group(shares=2 << 10), Group(shares=10_000 << 20)]
    host = started(1, Task(group=1, policy=SCHED_FIFO, priority=1), Task(group=2), groups=groups)
    host.run(500)
    assert host.service_ns()[:2].tolist() == [500 * MSEC, 0]


@settings(max_examples=25, deadline=None)
@given(
    priorities=st.lists(st.integers(1, 4), min_size=7, max_size=7),
    pins=st.lists(st.sampled_from([None, None, None, 0, 1, 2]), min_size=7, max_size=7),
    operations=st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 2)), min_size=5, max_size=30),
)
def test_nobody_waits_where_a_lower_one_runs(priorities, pins, operations):
    """Three CPUs: after every change no task waits while a CPU that it may use runs what matters less."""
    host = Host(3, [fifo(priority) for priority in priorities] + [Task(cpu=cpu) for cpu in range(3)])
    for p, cpu in enumerate(pins):
        if cpu is not None:
            host.pin(p, cpu)
            host["task_struct"]["cpu"][p] = cpu
    host.start(7, 8, 9)
    host.start(*range(7))
    for sleep, p, waker in operations:
        running = host.running()
        if sleep and p in running:
            host.sleep(p)
        elif not sleep and host["task_struct"]["state"][p]:
            host.wake(p, waker)
        host.run(1)
        running = host.running()
        worth = [priorities[p] if 0 <= p < 7 else 0 for p in running]
        for q in range(7):
            if host["sched_entity"]["on_rq"][q] and q not in running:
                allowed = [pins[q]] if pins[q] is not None else range(3)
                assert min(worth[cpu] for cpu in allowed) >= priorities[q]
    assert host["rq"]["nr_running"].sum() == host["task_struct"]["on_rq"].sum()


def test_at_one_priority_the_pinned_one_comes_first():
    """check_preempt_equal_prio(): who can go elsewhere does."""
    host = Host(2, [fifo(5), fifo(5), FAIR])
    host.pin(1, 0)
    host.start(0, 1)
    assert host.running() == [1, 0]


def test_a_directed_yield_is_of_the_fair_class_only():
    host = started(1, fifo(5), fifo(5), FAIR, Task())
    update_rq_clock(host.w, 0, host.now_ns)
    assert yield_to(host.w, 0, 1) == 0 and yield_to(host.w, 0, 2) == 0


class Served(Host):
    """One CPU with the server's timer, which the driver serves at ticks."""

    def spans(self, until_ms: int, fair: int) -> list[tuple[int, int]]:
        """When the fair task runs, in ms."""
        found, runs = [], False
        while self.now_ns < until_ms * MSEC:
            self.run(1)
            server = self["fair_server"]
            due = server["deadline_ns"][0] - server["dl_defer_armed"][0] * server["runtime_ns"][0]
            if server["dl_throttled"][0] and self.now_ns >= due:
                update_rq_clock(self.w, 0, self.now_ns)
                dl_server_timer(self.w, 0)
                schedule(self.w, 0)
            if runs != (self.running() == [fair]):
                runs = not runs
                found.append(self.now_ns // MSEC)
        return list(zip(found[::2], found[1::2], strict=False))


def test_starving_fair_tasks_get_50_ms_a_second():
    """First at zero laxity, 950 ms, and at once again at the deadline; then, not deferred any more, at each period."""
    host = Served(1, [fifo(50), FAIR])
    host.start(0, 1)
    assert host.spans(4100, fair=1) == [(950, 1050), (2000, 2050), (3000, 3050), (4000, 4050)]


def test_the_server_defers_while_fair_tasks_get_their_time_anyway():
    """The real-time task sleeps for 60 ms: the fair task has had its 50, and the wait begins anew."""
    host = Served(1, [fifo(50), FAIR])
    host.start(0, 1)
    assert host.spans(900, fair=1) == []
    host.sleep(0)
    host.run(60)
    host.wake(0, 0)
    (first, last), *_ = host.spans(2100, fair=1)
    assert (first, last) == (1900, 2000) or 1890 <= first <= 1910


def test_no_server_no_time():
    host = started(1, fifo(50), FAIR, fair_server_runtime_ns=0)
    host.run(3000)
    assert host.service_ns().tolist() == [3000 * MSEC, 0]


def test_fair_tasks_leave_a_cpu_that_a_real_time_task_keeps():
    """Two CPUs, one kept by a pinned FIFO task: both fair tasks end up on the other one, which they share."""
    host = Host(2, [fifo(1), Task(cpu=0), Task(cpu=1)])
    host.pin(0, 0)
    host.start(0, 1, 2)
    host.run(600)
    assert capacity_of(host.w, 0) == 1 and capacity_of(host.w, 1) == 1024
    assert [host.cpu_of(p) for p in (1, 2)] == [1, 1]
    before = host.service_ns()
    host.run(200)
    got = host.service_ns() - before
    assert got[0] == 200 * MSEC and got[1:].sum() == 200 * MSEC and abs(int(got[1] - got[2])) < 10 * MSEC


def test_a_host_without_them_has_none_of_it():
    host = started(1, FAIR, Task())
    assert not host["sched_tunables"]["rt_used"][0] and "rt_rq" not in host.world.arrays
    assert host.running() != [NIL] and np.all(host["task_struct"]["policy"] == 0)
