"""Wakeups that the other CPU completes, and what a task takes along from an idle CPU."""

import pytest

from tests.helpers.smp_driver import Host, reschedule_kicked
from vcpu_env.base.jit import NIL
from vcpu_env.kernel.build import Task
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.core import try_to_wake_up
from vcpu_env.kernel.exit import kill_waiting_task
from vcpu_env.kernel.group_stats import idle_cpu

pytestmark = pytest.mark.core


def sleeper_on_idle_cpu(topology: str = "2c", **features: int) -> Host:
    """Task 0 runs on CPU 0, task 1 has slept for 20 ms and left CPU 1 idle."""
    host = Host(2, [Task(cpu=0), Task(cpu=1)], topology=topology, features=features)
    host.pin(0, 0)
    host.pin(1, 1)
    host.start(0, 1)
    host.run(200)
    host.sleep(1)
    host.run(20)
    return host


def wake(host: Host, waker_cpu: int) -> None:
    """Wake task 1; the interrupt has not arrived yet."""
    update_rq_clock(host.w, waker_cpu, host.now_ns)
    assert try_to_wake_up(host.w, 1, waker_cpu, 0) == 1


@pytest.mark.parametrize("topology", ["2c", "2s1c"])
def test_idle_cpu_queues_the_task_when_the_interrupt_arrives(topology):
    host = sleeper_on_idle_cpu(topology)
    wake(host, 0)
    assert host["rq"]["nr_running"][1] == 0 and host["rq"]["ttwu_pending"][1] == 1
    assert not idle_cpu(host.w, 1)  # nobody else is sent there meanwhile
    reschedule_kicked(host.w, host.now_ns)
    assert host.running() == [0, 1] and host["rq"]["ttwu_pending"][1] == 0


def test_busy_cpu_of_another_cache_does_it_too():
    host = sleeper_on_idle_cpu("2s1c")
    host["task_struct"]["cpus_allowed"] = -1
    host.pin(1, 0)
    wake(host, 1)
    assert host["rq"]["nr_running"][0] == 1
    reschedule_kicked(host.w, host.now_ns)
    assert host["rq"]["nr_running"][0] == 2


def test_waker_does_it_for_its_own_cpu_and_without_the_feature():
    host = sleeper_on_idle_cpu()
    wake(host, 1)
    assert host["rq"]["nr_running"][1] == 1
    host = sleeper_on_idle_cpu(TTWU_QUEUE=0)
    wake(host, 0)
    assert host["rq"]["nr_running"][1] == 1


def test_a_task_killed_on_its_way_does_not_arrive():
    host = sleeper_on_idle_cpu()
    wake(host, 0)
    kill_waiting_task(host.w, 1)
    reschedule_kicked(host.w, host.now_ns)
    assert host.running() == [0, NIL] and host["rq"]["nr_running"][1] == 0
    assert idle_cpu(host.w, 1)


@pytest.mark.parametrize(("pf_idle", "load"), [(1, 664), (0, 1024)])
def test_load_from_an_idle_cpu_is_aged_to_now(pf_idle, load):
    """20 ms of sleep leave y^20 of the load. A kernel that does not know its idle tasks takes it as it was."""
    host = sleeper_on_idle_cpu()
    host["sched_tunables"]["pf_idle"] = pf_idle
    host["nohz"]["next_blocked_ns"] = 1 << 60
    host.pin(1, 0)
    wake(host, 0)
    assert host["sched_entity"]["load_avg"][1] == pytest.approx(load, rel=0.05)
