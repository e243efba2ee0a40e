"""Where tasks wake and start, on hosts of a few CPUs."""

import pytest

from tests.helpers.placed_host import pinned_start
from tests.helpers.smp_driver import Host
from vcpu_env.base.jit import NIL
from vcpu_env.kernel.build import Task
from vcpu_env.kernel.find_busiest import update_idle_cpu_scan
from vcpu_env.kernel.select_cpu import wake_wide
from vcpu_env.kernel.types import WF_SYNC
from vcpu_env.kernel.v6_19.entity import avg_vruntime

pytestmark = pytest.mark.core


def until_running(host: Host, p: int) -> None:
    while p not in host.running():
        host.run(1)


def test_sleeper_wakes_where_it_was_if_idle():
    host = pinned_start(4, [0, 1, 2])
    host.run(5)
    host.sleep(1)
    host.run(5)
    host.wake(1, 0)
    assert host.cpu_of(1) == 1 and host.running() == [0, 1, 2, NIL]


def sleeper_without_its_cpu() -> Host:
    """Six CPUs. Task 1 sleeps and task 0 has taken its CPU 3 meanwhile; task 2 runs on CPU 4. The others are idle."""
    host = pinned_start(6, [0, 3, 4])
    host.run(5)
    host.sleep(1)
    host.run(5)
    host.sleep(0)
    host.pin(0, 3)
    host.wake(0, 4)
    assert host.running() == [NIL, NIL, NIL, 0, 2, NIL]
    return host


@pytest.mark.parametrize("nr_scan, expected", [(16, 5), (0, 3)])
def test_sleeper_wakes_on_the_next_idle_cpu(nr_scan, expected):
    """The scan starts behind the target and goes round; without a scan (SIS_UTIL) the task stays."""
    host = sleeper_without_its_cpu()
    host["sched_domain_shared"]["nr_idle_scan"] = nr_scan
    host.wake(1, 4)
    assert host.cpu_of(1) == expected


def test_recently_used_cpu_comes_before_the_scan():
    host = sleeper_without_its_cpu()
    host["task_struct"]["recent_used_cpu"][1] = 2
    host.wake(1, 4)
    assert host.cpu_of(1) == 2
    assert host["task_struct"]["recent_used_cpu"][1] == 3


def all_busy_with_a_sleeper() -> Host:
    """Task 0 sleeps; its CPU 0 has three other tasks, CPU 1 has one, nobody is idle."""
    host = pinned_start(2, [0, 0, 0, 0, 1])
    host["task_struct"]["cpus_allowed"][:4] = [1, 0, 0, 0]
    host.pin(4, 1)
    host.run(100)
    until_running(host, 0)
    host.sleep(0)
    host["task_struct"]["cpus_allowed"][0] = -1
    host.run(30)
    assert host["task_struct"]["on_rq"][0] == 0
    return host


def test_wake_affine_weighs_loads():
    host = all_busy_with_a_sleeper()
    host.wake(0, 1)
    assert host.cpu_of(0) == 1
    host = all_busy_with_a_sleeper()
    host["cfs_rq"]["load_avg"][1] *= 2
    host.wake(0, 1)
    assert host.cpu_of(0) == 0


def test_wake_affine_needs_few_partners():
    host = all_busy_with_a_sleeper()
    host["task_struct"]["wakee_flips"][[0, host.running()[1]]] = 2, 8  # the waker's are halved, once a second
    assert wake_wide(host.w, 1, 4, 0) and not wake_wide(host.w, 1, 3, 0)
    host.wake(0, 1)
    assert host.cpu_of(0) == 0


def test_sync_wakeup_follows_a_lone_waker():
    host = all_busy_with_a_sleeper()
    host["cfs_rq"]["load_avg"][1] *= 2
    host.wake(0, 1, WF_SYNC)
    assert host.cpu_of(0) == 1


def test_delayed_task_wakes_in_place():
    """It never left its queue, so no CPU is chosen although others are idle."""
    host = pinned_start(4, [0, 0])
    host["task_struct"]["cpus_allowed"][:] = [1, 0, 0, 0]
    host.run(1)
    p = host.running()[0]
    while host["sched_entity"]["vruntime"][p] <= avg_vruntime(host.w, 0):
        host.run(1)
        p = host.running()[0]
    host["task_struct"]["cpus_allowed"] = -1
    host.sleep(p)
    assert host["sched_entity"]["sched_delayed"][p] == 1
    host.wake(p, 2)
    assert host.cpu_of(p) == 0 and host["sched_entity"]["sched_delayed"][p] == 0


def test_pinned_task_wakes_where_it_must():
    host = pinned_start(4, [0, 1])
    host.run(5)
    host.sleep(0)
    host.pin(0, 1)
    host.wake(0, 2)
    assert host.cpu_of(0) == 1
    assert host["task_struct"]["nr_migrations"][0] == 1


@pytest.mark.parametrize(
    "percent, nr_scan", [(0, 16), (25, 14), (50, 10), (60, 8), (75, 3), (80, 2), (86, 0), (100, 0)]
)
def test_idle_scan_table(percent, nr_scan):
    host = Host(16, [Task()])
    update_idle_cpu_scan(host.w, 0, percent * 1024 * 16 // 100)
    assert host["sched_domain_shared"]["nr_idle_scan"][0] == nr_scan


def test_forks_fill_idle_cpus_first():
    host = Host(8, [Task(cpu=3)] * 8)
    host.start(*range(8))
    assert sorted(host.running()) == list(range(8))


def test_fork_goes_to_the_least_loaded_cpu():
    host = Host(3, [Task(cpu=0), Task(cpu=1), Task(cpu=2), Task(cpu=0), Task(cpu=2), Task(cpu=0)])
    for p, cpu in enumerate([0, 1, 2, 0, 2]):
        host.pin(p, cpu)
    host.start(0, 1, 2, 3, 4)
    host.run(500)
    host.start(5)
    assert host.cpu_of(5) == 1
