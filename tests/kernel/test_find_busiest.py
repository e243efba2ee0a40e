"""Which CPU to pull from, and how much: kinds of groups and imbalances, by hand and beside a plain model."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.domain_host import chain, classify, search, settled, started
from tests.helpers.smp_driver import Host
from tests.twin import balancing
from vcpu_env.base.jit import NIL
from vcpu_env.kernel.build import Task
from vcpu_env.kernel.find_busiest import (
    CPU_IDLE,
    CPU_NOT_IDLE,
    MIGRATE_LOAD,
    MIGRATE_TASK,
    MIGRATE_UTIL,
)
from vcpu_env.kernel.group_stats import (
    GROUP_FULLY_BUSY,
    GROUP_HAS_SPARE,
    GROUP_IMBALANCED,
    GROUP_OVERLOADED,
    GROUP_SMT_BALANCE,
    adjust_numa_imbalance,
)
from vcpu_env.kernel.topology import Cpu
from vcpu_env.scenario.topology import parse_topology

pytestmark = pytest.mark.core


# Kinds of groups


def test_kinds_of_a_core():
    host = settled(started("2c2t", [0, 2, 1]))
    assert classify(host, 0, 1) == GROUP_SMT_BALANCE
    assert classify(host, 0, 1, smt_balance=False) == GROUP_FULLY_BUSY
    assert classify(host, 1, 1) == GROUP_HAS_SPARE
    crowded = settled(started("2c2t", [0, 0, 2]))
    assert classify(crowded, 0, 1) == GROUP_OVERLOADED
    crowded["sched_group"]["imbalance"] = 1
    assert classify(crowded, 0, 1) == GROUP_OVERLOADED
    host["sched_group"]["imbalance"] = 1
    assert classify(host, 0, 1) == GROUP_IMBALANCED


@pytest.mark.parametrize(("util", "kind"), [(874, GROUP_HAS_SPARE), (876, GROUP_FULLY_BUSY)])
def test_spare_capacity_is_measured_with_the_domains_margin(util, kind):
    """4 tasks on 4 CPUs: 4096 * 100 > 4 util * 117 up to a utilisation of 875."""
    host = settled(started("2s4c", [0, 1, 2, 3]))
    host["cfs_rq"]["util_avg"][:4] = util
    assert classify(host, 0, 1) == kind


@pytest.mark.parametrize(
    ("imbalance", "running", "allowed", "result"),
    [(2, 1, 1, 0), (3, 1, 1, 3), (2, 2, 1, 2), (2, 2, 2, 0), (1, 5, 4, 1)],
)
def test_small_imbalance_between_nodes_is_fine(imbalance, running, allowed, result):
    assert adjust_numa_imbalance(imbalance, running, allowed) == result


# What to pull, and how much


def test_core_with_two_tasks_helps_an_idle_core():
    """Both threads of core 0 run a task: one of them belongs on core 1, whichever thread asks."""
    host = settled(started("2c2t", [0, 2]))
    assert search(host, 1, 1, CPU_IDLE) == (0, MIGRATE_TASK, 1)
    assert search(host, 1, 1, CPU_NOT_IDLE)[0] == NIL
    one = settled(started("2c2t", [0]))
    assert search(one, 1, 1, CPU_IDLE)[0] == NIL


def test_thread_does_not_take_the_only_task_of_its_sibling():
    host = settled(started("2c2t", [0, 1]))
    assert search(host, 2, 0, CPU_IDLE)[0] == NIL
    assert search(host, 2, 1, CPU_IDLE)[0] == NIL


def test_two_tasks_more_on_a_node_are_left_alone_and_three_are_not():
    """imb_numa_nr 1, an idle node: an imbalance of 2 becomes 0, of 3 becomes 3 >> 1."""
    assert search(settled(started("2s4c", [0, 1])), 4, 1, CPU_IDLE)[0] == NIL
    assert search(settled(started("2s4c", [0, 1, 2])), 4, 1, CPU_IDLE) == (0, MIGRATE_TASK, 1)


def test_overloaded_node_gives_utilisation_to_one_with_spare_cpus():
    """5 tasks on 2 CPUs of node 0, 1 on node 1: as much as node 1 has not in use, 2 * 1024 - 1024."""
    host = settled(started("2s2c", [0, 0, 0, 1, 1, 2]))
    assert search(host, 3, 1, CPU_IDLE) == (0, MIGRATE_UTIL, 1024)
    host["cfs_rq"]["util_avg"][2:4] = 1024
    assert search(host, 3, 1, CPU_IDLE) == (0, MIGRATE_TASK, 1)


def test_within_a_cache_tasks_are_counted():
    """The same 3 against 2: an overloaded CPU in the own cache gives a task, (3 - 0) >> 1."""
    host = settled(started("2s2c", [0, 0, 0, 2, 3]))
    assert search(host, 1, 0, CPU_IDLE) == (0, MIGRATE_TASK, 1)


def test_busy_nodes_even_out_load():
    """Loads 6 * 1024 and 2 * 1024 on nodes of 2: averages 3072 and 1024, mean 2048; (3072 - 2048) * 2 may move."""
    host = settled(started("2s2c", [0, 0, 0, 1, 1, 1, 2, 3]))
    assert search(host, 2, 1, CPU_NOT_IDLE) == (0, MIGRATE_LOAD, 2048)


def test_nearly_even_loads_stay():
    """Both overloaded: 100 * busiest must be more than 117 * local."""
    host = settled(started("2s2c", [0, 0, 1, 1, 2, 2, 3, 3]))
    load = host["cfs_rq"]["load_avg"]
    load[:4] = [2396, 2396, 2048, 2048]  # 2396 / 2048 = 1.1699
    assert search(host, 2, 1, CPU_NOT_IDLE)[0] == NIL
    load[:2] = 2397
    assert search(host, 2, 1, CPU_NOT_IDLE) == (0, MIGRATE_LOAD, 2 * 174)


def test_threads_are_balanced_with_a_smaller_margin():
    """110 % between the threads of a core."""
    host = settled(started("1c2t", [0, 0, 1, 1]))
    load = host["cfs_rq"]["load_avg"]
    load[:2] = 2252, 2048  # 1.0996
    assert search(host, 1, 0, CPU_NOT_IDLE)[0] == NIL
    load[0] = 2254
    assert search(host, 1, 0, CPU_NOT_IDLE) == (0, MIGRATE_LOAD, 103)


@st.composite
def loaded_hosts(draw):
    """A host of equal nodes, and what its CPUs have; whoever has a task runs it."""
    table = parse_topology(draw(st.sampled_from(["3c", "2c2t", "2s2c", "2l3c", "2s2c2t", "2s2l2c", "3s1c2t", "2s8c"])))
    cpus = []
    for core, llc, node in table:
        waiting = draw(st.integers(0, 4))
        delayed = draw(st.integers(0, 1)) if waiting else 0
        averages = [draw(st.sampled_from(values)) for values in ((0, 700, 1024, 2048, 3000), (0, 500, 870, 880, 1024))]
        runnable = draw(st.sampled_from([0, 900, 1190, 1200, 3000]))
        cpus.append(balancing.Cpu(core, llc, node, *averages, runnable, waiting + delayed, waiting))
    return cpus


@settings(max_examples=400)
@given(cpus=loaded_hosts(), data=st.data())
def test_search_finds_what_a_plain_model_finds(cpus, data):
    table = [Cpu(cpu.core, cpu.llc, cpu.node) for cpu in cpus]
    host = Host(len(cpus), [Task()], cpus=table)
    rq, cfs = host["rq"], host["cfs_rq"]
    for i, cpu in enumerate(cpus):
        cfs["util_avg"][i], cfs["runnable_avg"][i], rq["nr_running"][i] = cpu.util, cpu.runnable, cpu.nr_running
        rq["curr"][i] = 0 if cpu.nr_running else NIL
        cfs["load_avg"][i], cfs["h_nr_runnable"][i] = cpu.load, cpu.h_nr_runnable
    me = data.draw(st.integers(0, len(cpus) - 1))
    level = data.draw(st.integers(1, len(chain(host, me))))
    src, kind, amount = search(host, me, level - 1, CPU_NOT_IDLE if cpus[me].nr_running else CPU_IDLE)
    expected = balancing.find_source(cpus, me, level, cpus[me].nr_running == 0)
    names = {MIGRATE_TASK: "task", MIGRATE_LOAD: "load", MIGRATE_UTIL: "util"}
    assert (None if src == NIL else (src, names[kind], amount)) == expected
