"""Where tasks wake and start with SMT, several caches and NUMA nodes."""

import pytest

from tests.helpers.domain_host import settled, started
from tests.helpers.smp_driver import Host
from vcpu_env.base.jit import NIL
from vcpu_env.kernel.build import Task
from vcpu_env.kernel.select_cpu import select_idle_cpu, wake_affine
from vcpu_env.kernel.select_idlest import sched_balance_find_dst_cpu

pytestmark = pytest.mark.core


# Wakeups


def sleep_on_its_cpu(host: Host, p: int) -> None:
    """Task `p` falls asleep on the CPU where it was started, and the others have stayed on theirs."""
    for task in range(len(host["task_struct"])):
        host.pin(task, host.cpu_of(task))
    while host.running()[host.cpu_of(p)] != p:
        host.run(1)
    host.sleep(p)
    host.run(20)
    host["task_struct"]["cpus_allowed"] = -1


def core_is_half_busy() -> Host:
    """Four cores of two threads; tasks 0 and 1 run on CPUs 0 and 1, task 2 slept on CPU 0. Cores 2 and 3 are idle."""
    host = started("4c2t", [0, 1, 0])
    sleep_on_its_cpu(host, 2)
    assert host.running() == [0, 1] + [NIL] * 6 and host["task_struct"]["on_rq"][2] == 0
    return host


def test_wakeup_prefers_an_idle_core():
    host = core_is_half_busy()
    host["sched_domain_shared"]["has_idle_cores"] = 1
    host.wake(2, 0)
    assert host.cpu_of(2) == 2


def test_without_idle_cores_a_wakeup_takes_the_idle_thread_of_its_core():
    host = core_is_half_busy()
    host["sched_domain_shared"]["has_idle_cores"] = 0
    host.wake(2, 0)
    assert host.cpu_of(2) == 4


def test_search_that_finds_no_idle_core_clears_the_hint():
    """CPUs 0..3 are busy, each the first thread of its core: the first idle thread behind the target has to do."""
    host = started("4c2t", [0, 1, 2, 3])
    host["sched_domain_shared"]["has_idle_cores"], host["sched_domain_shared"]["nr_idle_scan"] = 1, 8
    assert select_idle_cpu(host.w, 0, 1, 1) == 6
    assert host["sched_domain_shared"]["has_idle_cores"][0] == 0


def test_core_that_goes_idle_sets_the_hint():
    host = started("2c2t", [0, 2, 1])
    shared = host["sched_domain_shared"]
    shared["has_idle_cores"] = 0
    host.sleep(0)
    assert shared["has_idle_cores"][0] == 0
    host.sleep(1)
    assert shared["has_idle_cores"][0] == 1


def test_scan_ends_at_the_cache():
    """CPUs 0 and 1 share a cache and are busy; CPUs 2 and 3 are idle, but far."""
    host = started("2l2c", [0, 1])
    assert select_idle_cpu(host.w, 0, 0, 0) == NIL
    assert select_idle_cpu(host.w, 0, 2, 0) == 3


def test_scan_goes_round_within_the_cache():
    host = started("2l4c", [5, 6, 7])
    assert select_idle_cpu(host.w, 0, 6, 0) == 4


def test_recent_cpu_of_another_cache_does_not_count():
    host = started("2l2c", [0, 1, 0])
    sleep_on_its_cpu(host, 2)
    host.pin(0, 0)
    host.pin(1, 1)
    host["task_struct"]["recent_used_cpu"][2] = 3
    host.wake(2, 1)
    assert host.cpu_of(2) in (0, 1)


def test_idle_waker_takes_the_wakee_only_within_its_cache():
    """An interrupt on idle CPU 1 or 2 wakes a task whose CPU 0 is busy (light load on both sides: weight says stay)."""
    host = settled(started("2l2c", [0, 3]), **{})
    host["cfs_rq"]["load_avg"][0] = 0
    host["sched_features"]["WA_WEIGHT"] = 0
    assert wake_affine(host.w, 0, 1, 0, 0) == 1
    assert wake_affine(host.w, 0, 2, 0, 0) == 0


@pytest.mark.parametrize(("waker_load", "sibling", "cache"), [(1075, 4, 1), (1076, 0, 1), (1105, 0, 1), (1106, 0, 0)])
def test_bias_towards_the_waker_is_smaller_between_threads(waker_load, sibling, cache):
    """100 * load < 105 * 1024 = 107520 between the threads of a core, < 108 * 1024 = 110592 further away."""
    host = settled(started("4c2t", [0, 1, 4]))
    host["sched_entity"]["load_avg"] = 0
    load = host["cfs_rq"]["load_avg"]
    load[0], load[4], load[1] = 1024, waker_load, waker_load
    assert wake_affine(host.w, 0, 4, 0, 0) == sibling
    assert wake_affine(host.w, 0, 1, 0, 0) == cache


# Forks


def test_forks_fill_cores_first():
    host = Host(8, [Task(cpu=0)] * 4, topology="4c2t")
    host.start(*range(4))
    assert sorted(host.cpu_of(p) % 4 for p in range(4)) == [0, 1, 2, 3]


def test_forks_stay_on_their_node_while_it_has_room():
    """imb_numa_nr of a node of 8 is 1: a fork leaves when one task runs here and an idle CPU more is elsewhere.

    With one task the next would make two, more than allowed, and the other node has 8 idle CPUs against 7.
    """
    host = Host(16, [Task(cpu=0)] * 4, topology="2s8c")
    host.start(0)
    assert host["rq"]["node"][host.cpu_of(0)] == 0
    host.start(1, 2, 3)
    nodes = [int(host["rq"]["node"][host.cpu_of(p)]) for p in range(4)]
    assert nodes == [0, 1, 0, 1]


def test_fork_takes_the_cpu_that_went_idle_last():
    host = started("2s4c", [0, 4])
    host["rq"]["idle_stamp_ns"] = [NIL, 5, 9, 7, NIL, NIL, NIL, NIL]
    host["sched_domain"]["imb_numa_nr"] = 4
    assert sched_balance_find_dst_cpu(host.w, 1, 4) == 4 or host.cpu_of(1) == 4
    host.pin(1, 2)
    assert sched_balance_find_dst_cpu(host.w, 1, 4) == 2
