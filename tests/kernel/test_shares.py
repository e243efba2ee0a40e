"""Group shares on many CPUs: the formula's worked values, and what they mean for VMs."""

import pytest

from tests.helpers.smp_driver import Host
from vcpu_env.kernel.build import Group, Task
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.group_weight import sched_group_set_shares
from vcpu_env.kernel.v6_19.shares import calc_group_shares, update_tg_load_avg

pytestmark = pytest.mark.core
SHARES = 1 << 20


def queue_of(host: Host, tg: int, cpu: int) -> int:
    return tg * host.nr_cpus + cpu


def set_load(host: Host, tg: int, cpu: int, weight: int, load_avg: int, contrib: int) -> None:
    """What a CPU has queued of a group, its load there, and what the group's total counts of it."""
    queue = host["cfs_rq"][queue_of(host, tg, cpu) : queue_of(host, tg, cpu) + 1]
    host["task_group"]["load_avg"][tg] += contrib - int(queue["tg_load_avg_contrib"][0])
    queue["load_weight"], queue["load_avg"], queue["tg_load_avg_contrib"] = weight << 10, load_avg, contrib


def shares(host: Host, cpu: int) -> int:
    return int(calc_group_shares(host.w, queue_of(host, 1, cpu)))


def test_busy_on_every_cpu():
    host = Host(16, [Task()], [Group()])
    for cpu in range(16):
        set_load(host, 1, cpu, 1024, 1024, 1024)
    assert [shares(host, cpu) for cpu in range(16)] == [65536] * 16


def test_busy_on_two_cpus():
    host = Host(16, [Task()], [Group()])
    for cpu in (3, 9):
        set_load(host, 1, cpu, 1024, 1024, 1024)
    assert shares(host, 3) == shares(host, 9) == 524288


def test_newly_active_on_the_last_cpu():
    """What is queued counts at once, before any load has built up."""
    host = Host(16, [Task()], [Group()])
    for cpu in range(15):
        set_load(host, 1, cpu, 1024, 1024, 1024)
    set_load(host, 1, 15, 1024, 0, 0)
    assert shares(host, 15) == 65536


def test_old_cpu_still_counts():
    """A vCPU that has moved is worth half until its old CPU notices."""
    host = Host(16, [Task()], [Group()])
    set_load(host, 1, 0, 0, 0, 1024)
    set_load(host, 1, 1, 1024, 0, 0)
    assert shares(host, 1) == 524288
    set_load(host, 1, 0, 0, 0, 0)
    assert shares(host, 1) == SHARES


def test_limits():
    host = Host(4, [Task()], [Group(shares=3 << 10)])
    set_load(host, 1, 0, 1, 1, 1)
    set_load(host, 1, 1, 88761, 88761, 88761 << 8)
    assert shares(host, 0) == 2
    set_load(host, 1, 1, 0, 0, 0)
    assert shares(host, 0) == 3 << 10


def test_one_cpu_has_all_shares():
    host = Host(1, [Task(group=1)], [Group(shares=777 << 10)])
    host.start(0)
    assert shares(host, 0) == 777 << 10
    assert host["sched_entity"]["weight"][1] == 777 << 10


def test_contribution_is_refreshed_seldom():
    """Not before a millisecond is over, and not for 1/64 or less."""
    host = Host(2, [Task()], [Group()])
    queue = queue_of(host, 1, 0)
    cfs, tg = host["cfs_rq"], host["task_group"]

    def refreshed(now_ns: int, load_avg: int) -> int:
        cfs["load_avg"][queue] = load_avg
        update_rq_clock(host.w, 0, now_ns)
        update_tg_load_avg(host.w, queue)
        return int(tg["load_avg"][1])

    assert refreshed(10_000_000, 1024) == 1024
    assert refreshed(10_999_999, 500) == 1024
    assert refreshed(11_000_000, 1024 - 16) == 1024
    assert refreshed(11_000_001, 1024 - 17) == 1007


def vms(host_cpus: int, sizes: list[int], groups: list[Group] | None = None) -> Host:
    """VMs of always-busy vCPUs, each pinned: vCPU i of every VM to CPU i. VM v is in group v + 1."""
    tasks = [Task(group=vm + 1, cpu=i) for vm, size in enumerate(sizes) for i in range(size)]
    host = Host(host_cpus, tasks, groups or [Group() for _ in sizes])
    for p, task in enumerate(tasks):
        host.pin(p, task.cpu)
    host.start(*range(len(tasks)))
    return host


@pytest.mark.parametrize("reweight", [0, 1])
def test_small_vm_beats_big_vm(reweight):
    """A VM's share is independent of its size: on a common CPU 4 vCPUs get 80 % against 16."""
    host = vms(16, [16, 4])
    host["sched_tunables"]["reweight"] = reweight
    host.run(300)
    before = host.service_ns()
    host.run(1500)
    service = (host.service_ns() - before) / 1e9
    assert service[16:20] == pytest.approx([1.2] * 4, rel=0.02)
    assert service[:4] == pytest.approx([0.3] * 4, rel=0.06)
    assert service[4:16] == pytest.approx([1.5] * 12, rel=0.001)


def test_weights_cover_the_shares():
    """I15: settled, a group's weights add up to its shares at least, less rounding."""
    host = vms(16, [16, 4])
    host.run(500)
    entity, first = host["sched_entity"], len(host["task_struct"])
    for tg, cpus in ((1, 16), (2, 4)):
        weights = [int(entity["weight"][first + (tg - 1) * 16 + cpu]) for cpu in range(cpus)]
        assert sum(weights) >= SHARES - cpus
        assert weights == pytest.approx([SHARES / cpus] * cpus, rel=0.02)


def test_nested_groups_multiply_down():
    """machine.slice / VM: beside one task of the root group, a CPU with a part of the VMs gets what is left of it."""
    groups = [Group(), Group(parent=1), Group(parent=1)]
    tasks = [Task(group=2, cpu=i) for i in range(4)] + [Task(group=3, cpu=0), Task(cpu=0)]
    host = Host(4, tasks, groups)
    for p, task in enumerate(tasks):
        host.pin(p, task.cpu)
    host.start(*range(6))
    host.run(500)
    before = host.service_ns()
    host.run(3000)
    service = (host.service_ns() - before) / 3e9
    # Inside machine.slice CPU 0 weighs 1024/4 + 1024 of 2048, so machine.slice has 640 of its 1024 there.
    assert service[5] == pytest.approx(1024 / (1024 + 640), rel=0.05)
    assert service[4] / service[0] == pytest.approx(4, rel=0.1)


def test_new_shares_reach_every_cpu():
    host = vms(4, [4, 4])
    host.run(200)
    for cpu in range(4):
        update_rq_clock(host.w, cpu, host.now_ns)
    sched_group_set_shares(host.w, 1, 3 * SHARES)
    host.run(200)
    before = host.service_ns()
    host.run(1000)
    assert (host.service_ns() - before)[:4] / 1e9 == pytest.approx([0.75] * 4, rel=0.05)


def test_sleepers_leave_their_share_to_the_others():
    """While one of two vCPUs of a VM sleeps, the other one gets nearly all of the VM's shares.

    What is left of the sleeper's load is looked at by its CPU's balances, ever more rarely since all tasks are pinned.
    """
    host = vms(2, [2, 2])
    host.run(200)
    while host.running()[0] != 0:
        host.run(1)
    host.sleep(0)
    host.run(300)
    first = len(host["task_struct"])
    assert host["sched_entity"]["weight"][first + 1] == pytest.approx(SHARES, rel=0.06)
