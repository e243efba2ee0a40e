"""Many CPUs: where tasks wake, start and are pulled to."""

import numpy as np
import pytest

from tests.helpers import domain_host
from tests.helpers.placed_host import pinned_start
from tests.helpers.smp_driver import Host
from vcpu_env.base.jit import NIL
from vcpu_env.kernel.balance import sched_balance_rq
from vcpu_env.kernel.build import Group, Task
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.core import schedule
from vcpu_env.kernel.find_busiest import CPU_IDLE, MIGRATE_LOAD, MIGRATE_TASK
from vcpu_env.kernel.runqueue import migrate_task
from vcpu_env.kernel.types import WF_SYNC
from vcpu_env.kernel.v6_19.entity import avg_vruntime
from vcpu_env.kernel.v6_19.queue import set_next_buddy

pytestmark = pytest.mark.core

MS = 1_000_000


@pytest.mark.parametrize("groups", [0, 2])
def test_load_spreads_evenly(groups):
    """32 busy tasks that all start on CPU 0 end up two to a CPU, each with half of one, and stay there."""
    tasks = [Task(group=p % groups + 1 if groups else 0) for p in range(32)]
    host = Host(16, tasks, [Group()] * groups)
    for p in range(32):
        host.pin(p, 0)
    host.start(*range(32))
    host["task_struct"]["cpus_allowed"] = -1
    host.run(1500)
    assert host["rq"]["nr_running"].tolist() == [2] * 16
    migrations, before = host["task_struct"]["nr_migrations"].sum(), host.service_ns()
    host.run(1000)
    assert host["task_struct"]["nr_migrations"].sum() == migrations
    assert (host.service_ns() - before)[:32] / 1e9 == pytest.approx([0.5] * 32, rel=0.02)


def test_pinned_tasks_never_move():
    host = Host(4, [Task()] * 8)
    for p in range(8):
        host.pin(p, p % 2)
    host.start(*range(8))
    host.run(1500)
    assert host["rq"]["nr_running"].tolist() == [4, 4, 0, 0]
    assert [host.cpu_of(p) for p in range(8)] == [0, 1] * 4
    assert host["task_struct"]["nr_migrations"].sum() == 0


def test_three_tasks_share_two_cpus():
    """The odd task out changes now and then, so in the long run nobody runs alone for ever."""
    host = pinned_start(2, [0, 0, 1])
    host.run(20_000)
    service = host.service_ns() / 20e9
    assert service.sum() == pytest.approx(2, rel=0.001)
    assert service == pytest.approx([2 / 3] * 3, abs=0.15)


def test_idle_cpu_is_served_by_a_busy_tick():
    host = pinned_start(2, [0, 0])
    host.run(40)
    assert sorted(host.running()) == [0, 1]


def newidle_host(**features: int) -> Host:
    """CPU 0 has three tasks, CPU 1 one that is about to sleep."""
    host = pinned_start(2, [0, 0, 0, 1], features={"NI_RANDOM": 0, **features})
    host.run(9)
    return host


def test_newidle_pulls_one_task():
    host = newidle_host()
    host.sleep(3)
    assert host["rq"]["nr_running"].tolist() == [2, 1]
    assert host["rq"]["idle_stamp_ns"][1] == NIL
    assert host.running()[1] in (0, 1, 2)


def test_newidle_takes_from_the_tail():
    """The list has the task that was queued or began to run last at its head."""
    host = newidle_host()
    head, tail = int(host["rq"]["cfs_tasks_head"][0]), int(host["rq"]["cfs_tasks_tail"][0])
    assert head == host.running()[0]
    host.sleep(3)
    assert host.running()[1] == tail


def test_newidle_not_worth_it_after_short_idle_times():
    host = newidle_host()
    host["rq"]["avg_idle_ns"][1] = host["sched_tunables"]["newidle_cost_ns"][0] - 1
    host.sleep(3)
    assert host.running()[1] == NIL
    assert host["rq"]["idle_stamp_ns"][1] == host.now_ns


def test_newidle_only_if_somebody_has_two():
    host = pinned_start(3, [0, 1, 2], features={"NI_RANDOM": 0})
    host.run(5)
    host.sleep(2)
    assert host["sched_domain"]["newidle_call"][2] == 512


def test_newidle_dice_follow_success():
    """Half of the attempts are made at first; attempts that never find anything become rare."""
    host = pinned_start(2, [0, 0, 0, 1])
    host["task_struct"]["cpus_allowed"][:3] = [1, 0, 0, 0]
    failed_ratio = []
    for _ in range(1700):
        host.run(1)
        host.sleep(3)
        host.run(1)
        host.wake(3, 1)
        failed_ratio.append(int(host["sched_domain"]["newidle_ratio"][1]))
    assert failed_ratio[0] == 512 and failed_ratio[-1] < 80
    assert host["rq"]["newidle_draws"][1] == 1700


def test_average_idle_time():
    host = pinned_start(2, [0, 1])
    host.run(5)
    host.sleep(1)
    host.now_ns += 200_000
    host.wake(1, 0)
    assert host["rq"]["avg_idle_ns"][1] == 1_000_000 - 100_000
    assert host["rq"]["idle_stamp_ns"][1] == NIL


def movable(host: Host, p: int, dst: int, by_load: bool = False, failed: int = 0) -> bool:
    host["sched_domain"]["nr_balance_failed"][dst] = failed
    return domain_host.movable(host, p, dst, dst, MIGRATE_LOAD if by_load else MIGRATE_TASK)


def test_what_may_be_pulled():
    """Running, cache-hot, pinned and delayed tasks stay where they are, some of them only until asked harder."""
    host = pinned_start(2, [0, 0, 1])
    host["task_struct"]["cpus_allowed"][:2] = [1, 0, 0, 0]
    host.run(8)
    host["task_struct"]["cpus_allowed"] = -1
    running = host.running()[0]
    waiting = 1 - running
    entity = host["sched_entity"]
    assert not movable(host, running, 1, failed=1)

    entity["exec_start_ns"][waiting] = host.now_ns - 499_999
    assert not movable(host, waiting, 1, failed=1)
    assert movable(host, waiting, 1, failed=2)
    entity["exec_start_ns"][waiting] = host.now_ns - 500_000
    assert movable(host, waiting, 1, failed=1)

    set_next_buddy(host.w, waiting)
    assert not movable(host, waiting, 1, failed=1)
    host["cfs_rq"]["next"][0] = NIL

    host.pin(waiting, 0)
    assert not movable(host, waiting, 1, failed=9)
    host["task_struct"]["cpus_allowed"] = -1

    entity["sched_delayed"][waiting] = 1
    assert not movable(host, waiting, 1, failed=1)
    assert movable(host, waiting, 1, by_load=True, failed=1)


def test_ineligible_task_is_not_pulled_onto_a_busy_queue():
    host = pinned_start(2, [0, 0, 1])
    host["task_struct"]["cpus_allowed"][:2] = [1, 0, 0, 0]
    entity = host["sched_entity"]
    for _ in range(50):
        host.run(1)
        waiting = 1 - host.running()[0]
        if entity["vruntime"][waiting] > avg_vruntime(host.w, 0) and host.now_ns > entity["exec_start_ns"][waiting]:
            break
    host["task_struct"]["cpus_allowed"] = -1
    entity["exec_start_ns"][waiting] -= MS
    assert not movable(host, waiting, 1)
    assert movable(host, waiting, 1, failed=1)
    host["cfs_rq"]["nr_queued"][1] = 0
    assert movable(host, waiting, 1)


def test_pull_passes_over_a_cpu_whose_tasks_are_pinned():
    host = pinned_start(3, [0, 0, 0, 0, 1, 1])
    host["task_struct"]["cpus_allowed"][:4] = [1, 0, 0, 0]
    host["task_struct"]["cpus_allowed"][4:] = [2, 0, 0, 0]
    host.run(20)
    host["task_struct"]["cpus_allowed"][4:] = -1
    host["sched_entity"]["exec_start_ns"] -= MS
    update_rq_clock(host.w, 2, host.now_ns)
    assert sched_balance_rq(host.w, 2, 2, CPU_IDLE) == 1
    assert host["rq"]["nr_running"].tolist() == [4, 1, 1]


def test_running_task_is_pushed_after_many_failures():
    """Only the running task may leave a CPU: the fifth failure sends the stopper."""
    host = pinned_start(2, [0, 0])
    host["task_struct"]["cpus_allowed"] = [1, 0, 0, 0]
    host.run(20)
    free = host.running()[0]
    host["task_struct"]["cpus_allowed"][free] = -1
    update_rq_clock(host.w, 1, host.now_ns)
    for _ in range(3):
        assert sched_balance_rq(host.w, 1, 1, CPU_IDLE) == 0
        assert host["rq"]["active_balance"][0] == 0
    sched_balance_rq(host.w, 1, 1, CPU_IDLE)
    assert host["rq"]["active_balance"][0] == 1 and host["rq"]["need_resched"][0]
    assert schedule(host.w, 0) == 1 - free
    assert host.cpu_of(free) == 1 and host["rq"]["need_resched"][1]
    assert host["sched_domain"]["nr_balance_failed"][1] == 0
    assert host["task_struct"]["nivcsw"][free] >= 1


def test_migration_keeps_lag_and_relative_deadline():
    """Lag 0.5 and deadline 1.2 away; beside one entity at V the task arrives at V - 1.0, and V moves by 0.5."""
    host = pinned_start(2, [0, 0, 1], base_slice_ns=2_400_000)
    host.run(1)
    waiting = 1 - host.running()[0]
    entity = host["sched_entity"]
    assert avg_vruntime(host.w, 0) - entity["vruntime"][waiting] == MS // 2
    assert entity["deadline"][waiting] - entity["vruntime"][waiting] == 1_200_000
    there = avg_vruntime(host.w, 1)
    migrate_task(host.w, waiting, 1)
    assert entity["vruntime"][waiting] == there - MS
    assert entity["deadline"][waiting] == there + 200_000
    assert avg_vruntime(host.w, 1) == there - MS // 2


def check_counts(host: Host) -> None:
    """I5, I6 for every queue of every CPU; the groups' totals; no load is left negative."""
    cfs, entity, task = host["cfs_rq"], host["sched_entity"], host["task_struct"]
    on_rq = entity["on_rq"] == 1
    for q in range(len(cfs)):
        here = on_rq & (entity["cfs_rq"] == q)
        assert cfs["nr_queued"][q] == here.sum()
        assert cfs["load_weight"][q] == entity["weight"][here].sum()
    assert (host["rq"]["nr_running"] == cfs["h_nr_queued"][: host.nr_cpus]).all()
    assert cfs["h_nr_queued"][: host.nr_cpus].sum() == task["on_rq"].sum()
    delayed = entity["sched_delayed"][: len(task)].sum()
    assert (cfs["h_nr_queued"] - cfs["h_nr_runnable"])[: host.nr_cpus].sum() == delayed
    contributions = cfs["tg_load_avg_contrib"].reshape(-1, host.nr_cpus).sum(1)
    assert (host["task_group"]["load_avg"] == contributions).all()
    assert (cfs["load_avg"] >= 0).all() and (cfs["load_sum"] >= 0).all()
    for p in np.flatnonzero(task["on_rq"]):
        assert task["cpus_allowed"][p][0] >> task["cpu"][p] & 1


@pytest.mark.parametrize("seed", range(4))
def test_random_life(seed):
    """Tasks in nested groups start, sleep, wake, are pinned and freed on four CPUs."""
    rng = np.random.default_rng(seed)
    groups = [Group(), Group(parent=1), Group(parent=1), Group(shares=300 << 10)]
    tasks = [
        Task(group=int(rng.integers(5)), cpu=int(rng.integers(4)), nice=int(rng.integers(-5, 6))) for _ in range(12)
    ]
    host = Host(4, tasks, groups)
    host["sched_tunables"]["reweight"] = seed % 2
    host.start(*range(12))
    for _ in range(400):
        p = int(rng.integers(12))
        match int(rng.integers(8)):
            case 0 | 1 if p in host.running():
                host.sleep(p)
            case 2 | 3 if host["task_struct"]["state"][p]:
                host.wake(p, int(rng.integers(4)), WF_SYNC * int(rng.integers(2)))
            case 4 if host["task_struct"]["state"][p] and not host["task_struct"]["on_rq"][p]:
                host.pin(p, int(rng.integers(4)))
            case 5 if rng.random() < 0.5:
                host["task_struct"]["cpus_allowed"][p] = -1
            case _:
                host.run(int(rng.integers(1, 6)))
        check_counts(host)
    assert host["task_struct"]["nr_migrations"].sum() > 0
    busy = (np.array(host.running()) != NIL).sum()
    assert busy == 4 or (host["rq"]["nr_running"] <= 1).all() or host["rq"]["nr_running"].sum() > busy
