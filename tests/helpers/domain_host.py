"""Hosts of several scheduling domains, started and settled, for tests of wakeups and of balancing."""

from tests.helpers.smp_driver import Host
from vcpu_env.base.jit import NIL
from vcpu_env.kernel.balance import can_migrate_task
from vcpu_env.kernel.build import Task
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.find_busiest import CPU_IDLE, MIGRATE_TASK, sched_balance_find_src
from vcpu_env.kernel.group_stats import (
    group_classify,
    sum_group,
)
from vcpu_env.scenario.topology import parse_topology

MS = 1_000_000


def chain(kernel: Host, cpu: int) -> list[int]:
    """The domains of a CPU, lowest first."""
    found, sd = [], int(kernel["rq"]["sd"][cpu])
    while sd != NIL:
        found.append(sd)
        sd = int(kernel["sched_domain"]["parent"][sd])
    return found


def ring(kernel: Host, sd: int) -> list[int]:
    """The groups of a domain, from the CPU's own."""
    first = int(kernel["sched_domain"]["group"][sd])
    found, g = [first], int(kernel["sched_group"]["next"][first])
    while g != first:
        found.append(g)
        g = int(kernel["sched_group"]["next"][g])
    return found


def cpus_of(kernel: Host, array: str, i: int) -> list[int]:
    entry = kernel[array][i]
    first, weight = int(entry["first"]), int(entry["span_weight" if array == "sched_domain" else "weight"])
    return kernel["span_cpu"]["cpu"][first : first + weight].tolist()


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
    root, nr_running = host["cfs_rq"][: host.nr_cpus], host["rq"]["nr_running"]
    root["util_avg"], root["runnable_avg"], root["load_avg"] = 1024 * busy, 1024 * nr_running, 1024 * nr_running
    root["util_est"] = 0
    host["sched_entity"]["exec_start_ns"] -= 10 * MS
    return host


def search(host: Host, cpu: int, level: int, idle: int) -> tuple[int, int, int]:
    """The CPU to pull from, how it is counted, and how much."""
    env = host["lb_env"]
    env["sd"], env["dst_cpu"], env["idle"] = chain(host, cpu)[level], cpu, idle
    src = int(sched_balance_find_src(host.w))
    return src, int(env["migration_type"][0]), int(env["imbalance"][0])


def movable(host: Host, p: int, dst: int, sd: int, migration_type: int = MIGRATE_TASK) -> bool:
    """Whether task `p` may be pulled to CPU `dst`."""
    env = host["lb_env"]
    env["sd"], env["src_cpu"], env["dst_cpu"], env["migration_type"] = sd, host.cpu_of(p), dst, migration_type
    env["idle"], env["active"] = CPU_IDLE, 0
    return bool(can_migrate_task(host.w, p))


def classify(host: Host, cpu: int, level: int, smt_balance: bool = True) -> int:
    """The kind of the group of `cpu` in its domain of this level."""
    sd = host["sched_domain"][chain(host, cpu)[level]]
    sum_group(host.w, 2, int(sd["group"]), NIL)
    return int(group_classify(host.w, 2, int(sd["imbalance_pct"]), smt_balance))
