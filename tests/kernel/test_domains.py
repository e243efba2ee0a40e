"""Several scheduling domains at work: who balances when, what may go, and how load spreads."""

import numpy as np
import pytest

from tests.helpers.domain_host import chain, cpus_of, movable, ring, search, settled, started
from tests.helpers.smp_driver import Host, reschedule_kicked
from vcpu_env.base.jit import NIL
from vcpu_env.kernel.balance import sched_balance_rq, should_we_balance
from vcpu_env.kernel.balance_trigger import sched_balance_newidle
from vcpu_env.kernel.build import Group, Task
from vcpu_env.kernel.core import schedule
from vcpu_env.kernel.find_busiest import (
    CPU_IDLE,
    CPU_NEWLY_IDLE,
    CPU_NOT_IDLE,
    MIGRATE_TASK,
)
from vcpu_env.kernel.nohz import NOHZ_BALANCE_KICK, nohz_balancer_kick

pytestmark = pytest.mark.core


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
    assert movable(host, waiting, 2, smt)
    assert not movable(host, waiting, 1, chain(host, 1)[1])
    host["sched_domain"]["nr_balance_failed"] = 2
    assert movable(host, waiting, 1, chain(host, 1)[1])


def test_nodes_are_asked_three_times_before_hot_tasks_move():
    host = started("2s2c", [0, 0, 1])
    waiting = next(p for p in (0, 1) if p not in host.running())
    host["sched_entity"]["exec_start_ns"][waiting] = host.now_ns
    numa = chain(host, 2)[1]
    for failed in (1, 2, 3):
        host["sched_domain"]["nr_balance_failed"] = failed
        assert movable(host, waiting, 2, numa) == (failed == 3)


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
    assert host["sched_domain_shared"]["nr_busy_cpus"].tolist() == [2, 1]
    for cpu, kicked in ((2, False), (0, True)):
        host["nohz"]["next_balance_ns"], host["nohz"]["next_blocked_ns"] = 0, 1 << 60
        nohz_balancer_kick(host.w, cpu)
        assert bool(host["rq"]["nohz_flags"][3] & NOHZ_BALANCE_KICK) == kicked


@pytest.mark.parametrize("topology", ["4c2t", "2s4c", "2l4c", "2s2l2c"])
def test_load_spreads_over_all_levels(topology):
    """16 busy tasks that all start on CPU 0 end up two to a CPU, on 8 CPUs however arranged."""
    host = Host(8, [Task(cpu=0)] * 16, topology=topology)
    for p in range(16):
        host.pin(p, 0)
    host.start(*range(16))
    host["task_struct"]["cpus_allowed"] = -1
    host.run(700)
    assert host["rq"]["nr_running"].tolist() == [2] * 8


@pytest.mark.parametrize("topology", ["4c2t", "2s4c", "2s2c2t"])
def test_half_load_leaves_half_of_every_core_idle(topology):
    """4 busy tasks from one core: one to a core with SMT; else on two nodes, two each."""
    host = Host(8, [Task(cpu=0)] * 4, topology=topology)
    for p in range(4):
        host.pin(p, 0)
    host.start(*range(4))
    host["task_struct"]["cpus_allowed"] = -1
    host.run(400)
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
    for _ in range(80):
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
    assert totals["nr_busy_cpus"] == busy.sum() and totals["overloaded"] >= (rq["nr_running"] > 1).any()
    for llc, shared in enumerate(host["sched_domain_shared"]):
        assert shared["nr_busy_cpus"] == (rq["nohz_tick_stopped"][rq["llc"] == llc] == 0).sum()
        assert 0 <= shared["nr_idle_scan"] <= shared["weight"]
    assert not rq["excluded"].any()
    queued = host["sched_entity"]["on_rq"][: len(task)] == 1
    for cpu in range(host.nr_cpus):
        listed, p = [], int(rq["cfs_tasks_head"][cpu])
        while p != NIL:
            listed.append(p)
            p = int(task["group_next"][p])
        assert sorted(listed) == np.flatnonzero((task["cpu"] == cpu) & queued).tolist()
        assert rq["cfs_tasks_tail"][cpu] == (listed[-1] if listed else NIL)
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
