"""Worked scenarios of several CPUs or long runs."""

import numpy as np
import pytest

from tests.helpers.smp_driver import Host
from vcpu_env.base.jit import NIL
from vcpu_env.kernel.build import Task
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.core import schedule, yield_to
from vcpu_env.kernel.types import TIF_NEED_RESCHED
from vcpu_env.kernel.v6_19.entity import avg_vruntime, entity_eligible, update_curr
from vcpu_env.kernel.yield_types import init_yield, yield_arrays

pytestmark = pytest.mark.core
MS = 1_000_000


def three_tasks(topology: str, offset_ns: int) -> Host:
    """Task 0 alone on CPU 0, tasks 1 and 2 on CPU 1, some time after 0."""
    host = Host(2, [Task(cpu=0), Task(cpu=1), Task(cpu=1)], topology=topology, base_slice_ns=2_800_000)
    host.world = host.world.extended(yield_arrays())
    host.w = host.world.handle
    init_yield(host.world)
    for p, cpu in enumerate((0, 1, 1)):
        host.pin(p, cpu)
    host.start(0, 1, 2)
    host.run(offset_ns // MS)
    host.now_ns += offset_ns % MS
    for cpu in range(2):
        update_rq_clock(host.w, cpu, host.now_ns)
        update_curr(host.w, cpu)
    return host


@pytest.mark.parametrize("topology", ["2c", "1c2t", "2l1c", "2s1c"])
def test_t24_hint_to_another_cpu_preempts_for_an_eligible_target(topology):
    """The remote task runs protected, yet the hinted one is picked; it is the same on every kind of host."""
    host = three_tasks(topology, MS)
    running = host.running()[1]
    target = 3 - running
    assert (
        entity_eligible(host.w, 1, target)
        and host["sched_entity"]["vlag"][running] > host["sched_entity"]["vruntime"][running]
    )
    assert yield_to(host.w, 0, target) == 1
    assert host["cfs_rq"]["next"][1] == target and host["rq"]["need_resched"][1] == TIF_NEED_RESCHED
    assert schedule(host.w, 1) == target
    assert host["cfs_rq"]["next"][1] == NIL


@pytest.mark.parametrize("topology", ["2c", "2s1c"])
def test_t24_ineligible_target_keeps_the_hint(topology):
    """Half a millisecond after a switch the other one is ahead: the remote CPU picks its own task again."""
    host = three_tasks(topology, 3 * MS + MS // 2)
    running = host.running()[1]
    target = 3 - running
    assert not entity_eligible(host.w, 1, target)
    assert yield_to(host.w, 0, target) == 1
    assert schedule(host.w, 1) == running
    assert host["cfs_rq"]["next"][1] == target


@pytest.mark.parametrize("nr_tasks", [2, 3, 5])
def test_t47_eligibility_in_the_steady_state(nr_tasks):
    """At a random instant a waiter is eligible with probability 1/2, some waiter with (k - 1) / k."""
    rng = np.random.default_rng(nr_tasks)
    host = Host(1, [Task()] * nr_tasks)
    host.start(*range(nr_tasks))
    host.run(100)
    waiters = some = samples = 0
    for _ in range(3000):
        host.run(1)
        update_rq_clock(host.w, 0, host.now_ns + int(rng.integers(MS)))
        update_curr(host.w, 0)
        eligible = [entity_eligible(host.w, 0, p) for p in range(nr_tasks) if p != host.running()[0]]
        waiters += sum(map(bool, eligible))
        some += any(eligible)
        samples += 1
    assert avg_vruntime(host.w, 0) > 0
    assert waiters / samples / (nr_tasks - 1) == pytest.approx(0.5, abs=0.03)
    assert some / samples == pytest.approx((nr_tasks - 1) / nr_tasks, abs=0.04)
