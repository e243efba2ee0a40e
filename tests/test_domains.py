"""Several scheduling domains: where tasks wake, start and are pulled to with SMT, several caches and NUMA nodes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.smp_driver import Host, reschedule_kicked
from tests.test_topology import chain, cpus_of, ring
from tests.twin import balancing
from vcpu_env._jit import NIL
from vcpu_env.kernel.balance import can_migrate_task, sched_balance_rq, should_we_balance
from vcpu_env.kernel.balance_trigger import NOHZ_BALANCE_KICK, nohz_balancer_kick, sched_balance_newidle
from vcpu_env.kernel.build import Group, Task
from vcpu_env.kernel.core import schedule
from vcpu_env.kernel.find_busiest import (
    CPU_IDLE,
    CPU_NEWLY_IDLE,
    CPU_NOT_IDLE,
    MIGRATE_LOAD,
    MIGRATE_TASK,
    MIGRATE_UTIL,
    sched_balance_find_src,
)
from vcpu_env.kernel.group_stats import (
    GROUP_FULLY_BUSY,
    GROUP_HAS_SPARE,
    GROUP_IMBALANCED,
    GROUP_OVERLOADED,
    GROUP_SMT_BALANCE,
    adjust_numa_imbalance,
    group_classify,
    sum_group,
)
from vcpu_env.kernel.runqueue import update_rq_clock
from vcpu_env.kernel.select_cpu import select_idle_cpu, wake_affine
from vcpu_env.kernel.select_idlest import sched_balance_find_dst_cpu
from vcpu_env.kernel.topology import Cpu
from vcpu_env.scenario.topology import parse_topology

pytestmark = pytest.mark.core
MS = 1_000_000


def started(topology: str, cpus: list[int], **options) -> Host:
    """Always-busy tasks, task p started on ``cpus[p]``, then free to go anywhere; 5 ms have passed on all CPUs."""
    host = Host(len(parse_topology(topology)), [Task(cpu=cpu) for cpu in cpus], topology=topology, **options)
    for p, cpu in enumerate(cpus):
        host.pin(p, cpu)
    host.start(*range(len(cpus)))
    host.run(5)
    host["task_struct"]["cpus_allowed"] = -1
    for cpu in range(host.nr_cpus):
        update_rq_clock(host.w, cpu, host.now_ns)
    return host


def settled(host: Host, **averages: int) -> Host:
    """What PELT says of CPUs with and without tasks once all has been as it is for long."""
    busy = host["rq"]["nr_running"] > 0
    host["rq"]["util_avg"], host["rq"]["runnable_avg"] = 1024 * busy, 1024 * host["rq"]["nr_running"]
    host["cfs_rq"]["load_avg"][: host.nr_cpus] = 1024 * host["rq"]["nr_running"]
    host["sched_entity"]["exec_start_ns"] -= 10 * MS
    return host


def search(host: Host, cpu: int, level: int, idle: int) -> tuple[int, int, int]:
    """The CPU to pull from, how it is counted, and how much."""
    env = host["lb_env"]
    env["sd"], env["dst_cpu"], env["idle"] = chain(host, cpu)[level], cpu, idle
    src = int(sched_balance_find_src(host.w))
    return src, int(env["migration_type"][0]), int(env["imbalance"][0])


def classify(host: Host, cpu: int, level: int, smt_balance: bool = True) -> int:
    """The kind of the group of `cpu` in its domain of this level."""
    sd = host["sched_domain"][chain(host, cpu)[level]]
    sum_group(host.w, 2, int(sd["group"]))
    return int(group_classify(host.w, 2, int(sd["imbalance_pct"]), smt_balance))


# Wakeups


def core_is_half_busy() -> Host:
    """Four cores of two threads; tasks 0 and 1 run on CPUs 0 and 1, task 2 slept on CPU 0. Cores 2 and 3 are idle."""
    host = started("4c2t", [0, 1, 0])
    while host.running()[0] != 2:
        host.run(1)
    host.sleep(2)
    host.run(20)
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
    host["sched_domain_shared"]["has_idle_cores"] = 1
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
    while host.running()[0] != 2:
        host.run(1)
    host.pin(0, 0)
    host.pin(1, 1)
    host.sleep(2)
    host.run(20)
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
    host["rq"]["idle_stamp_ns"] = [0, 5, 9, 7, 0, 0, 0, 0]
    host["sched_domain"]["imb_numa_nr"] = 4
    assert sched_balance_find_dst_cpu(host.w, 1, 4) == 4 or host.cpu_of(1) == 4
    host.pin(1, 2)
    assert sched_balance_find_dst_cpu(host.w, 1, 4) == 2


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
    host["rq"]["util_avg"][:4] = util
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
    host["rq"]["util_avg"][2:] = 1024
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
        rq["util_avg"][i], rq["runnable_avg"][i], rq["nr_running"][i] = cpu.util, cpu.runnable, cpu.nr_running
        rq["curr"][i] = 0 if cpu.nr_running else NIL
        cfs["load_avg"][i], cfs["h_nr_runnable"][i] = cpu.load, cpu.h_nr_runnable
    me = data.draw(st.integers(0, len(cpus) - 1))
    level = data.draw(st.integers(1, len(chain(host, me))))
    src, kind, amount = search(host, me, level - 1, CPU_NOT_IDLE if cpus[me].nr_running else CPU_IDLE)
    expected = balancing.find_source(cpus, me, level, cpus[me].nr_running == 0)
    names = {MIGRATE_TASK: "task", MIGRATE_LOAD: "load", MIGRATE_UTIL: "util"}
    assert (None if src == NIL else (src, names[kind], amount)) == expected


# Who balances, and what may go


def balances(host: Host, cpu: int, level: int, idle: int) -> bool:
    env = host["lb_env"]
    env["sd"], env["dst_cpu"], env["idle"] = chain(host, cpu)[level], cpu, idle
    return bool(should_we_balance(host.w))


def test_first_idle_cpu_of_a_group_balances_for_it():
    host = started("2s4c", [0, 2])
    assert [balances(host, cpu, 1, CPU_IDLE) for cpu in range(4)] == [False, True, False, False]
    assert [balances(host, cpu, 1, CPU_IDLE) for cpu in range(4, 8)] == [True, False, False, False]
    full = started("2s2c", [0, 1])
    assert [balances(full, cpu, 1, CPU_NOT_IDLE) for cpu in (0, 1)] == [True, False]
    assert balances(host, 3, 1, CPU_NEWLY_IDLE)
    assert all(balances(host, cpu, 0, CPU_IDLE) for cpu in range(8))


def test_thread_of_a_busy_core_balances_only_if_no_core_is_idle():
    """Node 0 has cores {0, 8} .. {3, 11}: CPU 8 is idle beside a busy thread, CPU 1 is on an idle core."""
    host = started("2s4c2t", [0])
    assert [cpu for cpu in (0, 1, 2, 3, 8, 9) if balances(host, cpu, 2, CPU_IDLE)] == [1]
    busy = started("2s4c2t", [0, 1, 2, 3])
    assert [cpu for cpu in range(16) if busy["rq"]["node"][cpu] == 0 and balances(busy, cpu, 2, CPU_IDLE)] == [8]


def test_siblings_are_never_hot():
    host = started("2c2t", [0, 0])
    waiting = 1 - host.running()[0]
    host["sched_entity"]["exec_start_ns"][waiting] = host.now_ns
    smt, mc = chain(host, 2)
    host["sched_features"]["PLACE_LAG"] = 0
    assert can_migrate_task(host.w, waiting, 0, 2, smt, False) == 2
    assert can_migrate_task(host.w, waiting, 0, 1, chain(host, 1)[1], False) == 1
    host["sched_domain"]["nr_balance_failed"] = 2
    assert can_migrate_task(host.w, waiting, 0, 1, chain(host, 1)[1], False) == 2


def test_nodes_are_asked_three_times_before_hot_tasks_move():
    host = started("2s2c", [0, 0, 1])
    waiting = next(p for p in (0, 1) if p not in host.running())
    host["sched_entity"]["exec_start_ns"][waiting] = host.now_ns
    numa = chain(host, 2)[1]
    for failed, verdict in ((1, 1), (2, 1), (3, 2)):
        host["sched_domain"]["nr_balance_failed"] = failed
        assert can_migrate_task(host.w, waiting, 0, 2, numa, False) == verdict


def test_running_task_is_pushed_off_a_shared_core():
    """Two lone tasks on one core have nobody waiting, so only the stopper can part them: at the fourth failure."""
    host = settled(started("2c2t", [0, 2]))
    sd = chain(host, 1)[1]
    host["sched_domain"]["nr_balance_failed"] = 0
    for failures in range(1, 5):
        assert host["rq"]["active_balance"].sum() == 0
        assert sched_balance_rq(host.w, 1, sd, CPU_IDLE) == 0
        assert host["sched_domain"]["nr_balance_failed"][sd] == failures
    assert host["rq"]["active_balance"][0] == 1 and host["rq"]["push_cpu"][0] == 1
    schedule(host.w, 0)
    reschedule_kicked(host.w, host.now_ns)
    assert host.running() == [NIL, 0, 1, NIL]
    assert host["sched_domain"]["nr_balance_failed"][sd] == 0


def test_tasks_on_one_core_part_by_themselves():
    host = started("2c2t", [0, 2])
    host.run(100)
    assert sorted(host.cpu_of(p) % 2 for p in range(2)) == [0, 1]


def test_affinity_within_a_node_is_seen_above_it():
    """CPU 0 has two tasks that must stay: its node is imbalanced, which is noted where the nodes are balanced."""
    host = settled(started("2s2c", [0, 0]))
    host["task_struct"]["cpus_allowed"] = [1, 0, 0, 0]
    mc, numa = chain(host, 1)
    group = int(host["sched_domain"]["group"][numa])
    assert sched_balance_rq(host.w, 1, mc, CPU_IDLE) == 0
    assert host["sched_group"]["imbalance"][group] == 1
    assert search(host, 2, 1, CPU_IDLE)[1:] == (MIGRATE_TASK, 1)
    host["task_struct"]["cpus_allowed"] = -1
    host["sched_features"]["PLACE_LAG"] = 0
    assert sched_balance_rq(host.w, 1, mc, CPU_IDLE) == 1
    sched_balance_rq(host.w, 1, mc, CPU_IDLE)
    assert host["sched_group"]["imbalance"][group] == 0


# When


def idle_with_newidle(topology: str, cpus: list[int], cpu: int) -> Host:
    host = settled(started(topology, cpus, features={"NI_RANDOM": 0, "PLACE_LAG": 0}))
    host["rq"]["idle_stamp_ns"][cpu] = 0
    return host


def test_newidle_looks_in_its_own_cache_first():
    host = idle_with_newidle("2s2c", [0, 0, 0, 2, 2], 3)
    assert sched_balance_newidle(host.w, 3)
    assert host["rq"]["nr_running"].tolist() == [3, 0, 1, 1]
    numa = chain(host, 3)[1]
    assert host["sched_domain"]["newidle_call"][[chain(host, 3)[0], numa]].tolist() == [513, 512]


def test_newidle_goes_on_to_the_other_node():
    host = idle_with_newidle("2s2c", [0, 0, 0, 1, 1, 2], 3)
    assert sched_balance_newidle(host.w, 3)
    assert host["rq"]["nr_running"][2:].tolist() == [1, 1]
    assert host["sched_domain"]["newidle_call"][chain(host, 3)].tolist() == [513, 513]


def test_newidle_stops_where_its_time_is_over():
    """A cost of 10 us a level: who idles for 15 us looks at one level."""
    host = idle_with_newidle("2s2c", [0, 0, 0, 1, 1, 2], 3)
    host["rq"]["avg_idle_ns"][3] = 15_000
    assert not sched_balance_newidle(host.w, 3)
    assert host["sched_domain"]["newidle_call"][chain(host, 3)].tolist() == [513, 512]


def test_busy_cache_wakes_idle_cpus_to_balance():
    """One task a CPU is reason enough where the ticking CPU's own cache has another busy CPU."""
    host = started("2l2c", [0, 1, 2])
    host["nohz"]["next_balance_ns"], host["nohz"]["next_blocked_ns"] = 0, 1 << 60
    assert nohz_balancer_kick(host.w, 0) == NOHZ_BALANCE_KICK
    assert nohz_balancer_kick(host.w, 2) == 0
    assert host["sched_domain_shared"]["nr_busy_cpus"].tolist() == [2, 1]


@pytest.mark.parametrize("topology", ["4c2t", "2s4c", "2l4c", "2s2l2c"])
def test_load_spreads_over_all_levels(topology):
    """16 busy tasks that all start on CPU 0 end up two to a CPU, on 8 CPUs however arranged."""
    host = Host(8, [Task(cpu=0)] * 16, topology=topology)
    for p in range(16):
        host.pin(p, 0)
    host.start(*range(16))
    host["task_struct"]["cpus_allowed"] = -1
    host.run(1500)
    assert host["rq"]["nr_running"].tolist() == [2] * 8


@pytest.mark.parametrize("topology", ["4c2t", "2s4c", "2s2c2t"])
def test_half_load_leaves_half_of_every_core_idle(topology):
    """4 busy tasks from one core: one to a core with SMT; else on two nodes, two each."""
    host = Host(8, [Task(cpu=0)] * 4, topology=topology)
    for p in range(4):
        host.pin(p, 0)
    host.start(*range(4))
    host["task_struct"]["cpus_allowed"] = -1
    host.run(1000)
    assert host["rq"]["nr_running"].max() == 1
    if topology.endswith("t"):
        assert sorted(host.cpu_of(p) % 4 for p in range(4)) == [0, 1, 2, 3]


@pytest.mark.parametrize("topology", ["4c2t", "2s2c2t", "2s2l2c", "4l2c", "4s1c2t"])
@pytest.mark.parametrize("seed", range(2))
def test_random_life(topology, seed):
    """Counts of caches, CPUs and lists stay right while tasks in groups sleep, wake, are pinned and freed."""
    rng = np.random.default_rng(seed)
    tasks = [Task(group=int(rng.integers(3)), cpu=int(rng.integers(8))) for _ in range(14)]
    host = Host(8, tasks, [Group(), Group(parent=1)], topology=topology)
    host.start(*range(14))
    for _ in range(150):
        p = int(rng.integers(14))
        match int(rng.integers(7)):
            case 0 | 1 if p in host.running():
                host.sleep(p)
            case 2 | 3 if host["task_struct"]["state"][p]:
                host.wake(p, int(rng.integers(8)))
            case 4 if host["task_struct"]["state"][p] and not host["task_struct"]["on_rq"][p]:
                host.pin(p, int(rng.integers(8)))
            case 5:
                host["task_struct"]["cpus_allowed"][p] = -1
            case _:
                host.run(int(rng.integers(1, 6)))
        check(host)


def check(host: Host) -> None:
    """What is counted along the way equals what is there."""
    rq, task, totals = host["rq"], host["task_struct"], host["rq_totals"][0]
    busy = rq["nr_running"] > 0
    assert totals["nr_busy_cpus"] == busy.sum() and totals["nr_overloaded_cpus"] == (rq["nr_running"] > 1).sum()
    for llc, shared in enumerate(host["sched_domain_shared"]):
        assert shared["nr_busy_cpus"] == busy[rq["llc"] == llc].sum()
        assert 0 <= shared["nr_idle_scan"] <= shared["weight"]
    assert not rq["all_pinned"].any()
    for cpu in range(host.nr_cpus):
        listed, p = [], int(rq["first_task"][cpu])
        while p != NIL:
            listed.append(p)
            p = int(task["cpu_next"][p])
        assert sorted(listed) == np.flatnonzero(task["cpu"] == cpu).tolist()
    for p in np.flatnonzero(task["on_rq"]):
        assert task["cpus_allowed"][p][0] >> task["cpu"][p] & 1


def test_one_cache_by_name_is_the_default():
    """The topology "4c" and none give the same kernel, word by word, also after a while."""
    worlds = []
    for topology in (None, "4c"):
        host = Host(4, [Task(cpu=0)] * 6, topology=topology)
        host.start(*range(6))
        host.run(50)
        worlds.append(host.world.words.copy())
    assert (worlds[0] == worlds[1]).all()


def test_rings_start_at_the_own_group():
    host = Host(8, [Task()], topology="2s4c")
    assert cpus_of(host, "sched_group", ring(host, chain(host, 6)[1])[0]) == [4, 5, 6, 7]
