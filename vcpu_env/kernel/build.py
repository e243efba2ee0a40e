"""Filling a world with a kernel: task groups, tasks and idle run queues, as sched_init() and fork leave them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.world import World
from vcpu_env.kernel.bandwidth import Bandwidth
from vcpu_env.kernel.features import FEATURES, FEATURES_7_3, NORMALIZED_BASE_SLICE_NS, scaled_base_slice_ns
from vcpu_env.kernel.load_avg import online_fair_sched_group
from vcpu_env.kernel.rt_types import init_rt
from vcpu_env.kernel.topology import Cpu, build_domains, one_llc
from vcpu_env.kernel.types import (
    CGROUP_CONCUR,
    CGROUP_TASKS,
    INITIAL_VRUNTIME,
    KERNEL_6_19,
    KERNEL_7_3,
    LAG_CLAMP_6_19_0,
    NSEC_PER_SEC,
    REWEIGHT_V6_19,
    SCHED_FIFO,
    SCHED_IDLE,
    SCHED_NORMAL,
    SCHED_RR,
    TASK_NEW,
    sched_entity,
)
from vcpu_env.kernel.v6_19.shares import UPDATE_TG_INTERVAL_NS
from vcpu_env.kernel.weights import (
    NICE_0_LOAD,
    SCHED_PRIO_TO_WEIGHT,
    SCHED_PRIO_TO_WMULT,
    WEIGHT_IDLEPRIO,
    WMULT_IDLEPRIO,
    update_load_set,
)

KERNEL_FEATURES = {KERNEL_6_19: FEATURES, KERNEL_7_3: FEATURES_7_3}

LONG_AGO_NS = -60 * NSEC_PER_SEC
"""When something last happened that never has, at time 0."""

FAIR_SERVER_RUNTIME_NS, FAIR_SERVER_PERIOD_NS = 50_000_000, 1_000_000_000
"""What every CPU keeps for fair tasks beside real-time ones (/sys/kernel/debug/sched/fair_server) [source]."""

MIN_CUSTOM_SLICE_NS, MAX_CUSTOM_SLICE_NS = 100_000, 100_000_000


@dataclass(frozen=True)
class Task:
    """A task: its task group, weight, policy, slice and CPU.

    Attributes:
        group: task group id, 0 = root.
        nice: -20..19; the weight comes from the kernel's tables.
        weight: a weight (nice 0 = 1024) that overrides `nice`.
        policy: SCHED_NORMAL, SCHED_BATCH, SCHED_IDLE, SCHED_FIFO or SCHED_RR.
        priority: of the latter two, 1..99; the higher goes first.
        slice_ns: a custom slice (sched_attr.sched_runtime), clamped to 0.1..100 ms; 0 = the base slice.
        cpu: where it first wakes.
    """

    group: int = 0
    nice: int = 0
    weight: int | None = None
    policy: int = SCHED_NORMAL
    priority: int = 0
    slice_ns: int = 0
    cpu: int = 0


@dataclass(frozen=True)
class Group:
    """A task group. Groups are numbered from 1 in the order given; a parent comes before its children.

    Attributes:
        parent: task group id, 0 = root.
        shares: scaled (nice 0 = 2^20); those of an idle group are WEIGHT_IDLEPRIO, scaled.
        idle: cpu.idle.
        bandwidth: cpu.max; takes effect by `kernel.cgroup.init_cgroups`.
        owner: what a user calls it: its kind and its name.
        nr_cpus: CPUs of its cpuset, 0: all.
    """

    parent: int = 0
    shares: int = NICE_0_LOAD
    idle: bool = False
    bandwidth: Bandwidth = Bandwidth()
    owner: tuple[str, str] = ("", "")
    nr_cpus: int = 0


@dataclass(frozen=True)
class Tunables:
    """What an administrator can set. `base_slice_ns` 0 = the kernel's own scaling of the normalized slice.

    `newidle_cost_ns` stands for what the kernel measures a balance before idling to cost: a CPU whose mean idle time is
    shorter does not try. `track_load`: keep load averages on one CPU as well. What bandwidth control costs
    (`scenario.host.Costs`) says when a period is too short for it. The fair server's are of hosts with real-time tasks.
    """

    hz: int = 1000
    base_slice_ns: int = 0
    normalized_base_slice_ns: int = NORMALIZED_BASE_SLICE_NS
    migration_cost_ns: int = 500_000
    newidle_cost_ns: int = 10_000
    track_load: bool = False
    distribute_cost_ns: int = 0
    unthrottle_cost_ns: int = 0
    tg_walk_cost_ns: int = 0
    preempt_lazy: bool = False
    reweight: int = REWEIGHT_V6_19
    lag_clamp: int = LAG_CLAMP_6_19_0
    kernel: int = KERNEL_6_19
    cgroup_mode: int = CGROUP_CONCUR
    fair_server_runtime_ns: int = FAIR_SERVER_RUNTIME_NS
    fair_server_period_ns: int = FAIR_SERVER_PERIOD_NS


@kjit
def set_load(w, se_id, weight, inv_weight):
    """Set the weight of entity `se_id`."""
    update_load_set(sched_entity(w, se_id), weight, inv_weight)


def build_kernel(
    world: World,
    nr_cpus: int,
    tasks: Sequence[Task],
    groups: Sequence[Group] = (),
    tunables: Tunables = Tunables(),
    features: dict[str, int] | None = None,
    cpus: Sequence[Cpu] | None = None,
    first_server: int = NIL,
) -> None:
    """Initialise the kernel's structs in `world` (laid out by `kernel_arrays`): all CPUs idle, no task started.

    `cpus` says where each CPU is (default: cores of one last-level cache), `first_server` where on the timeline the
    timers of fair servers begin, if there are real-time tasks.
    """
    tun = world["sched_tunables"]
    normalized = tunables.normalized_base_slice_ns
    tun["base_slice_ns"] = tunables.base_slice_ns or scaled_base_slice_ns(nr_cpus, normalized)
    tun["normalized_base_slice_ns"] = normalized
    tun["tick_ns"] = (NSEC_PER_SEC + tunables.hz // 2) // tunables.hz
    tun["migration_cost_ns"] = tunables.migration_cost_ns
    tun["hz"] = tunables.hz
    tun["nr_cpus"], tun["nr_groups"] = nr_cpus, len(groups)
    counts_tasks = tunables.kernel == KERNEL_7_3 and tunables.cgroup_mode == CGROUP_TASKS
    tun["track_load"] = nr_cpus > 1 or tunables.track_load or counts_tasks
    tun["kernel"], tun["cgroup_mode"] = tunables.kernel, tunables.cgroup_mode
    tun["rb_copies_slices"] = tunables.kernel == KERNEL_7_3
    tun["preempt_lazy"] = tunables.preempt_lazy
    tun["reweight"], tun["lag_clamp"] = tunables.reweight, tunables.lag_clamp
    for name, default in KERNEL_FEATURES[tunables.kernel].items():
        world["sched_features"][name] = (features or {}).get(name, default)
    tun["newidle_cost_ns"], tun["pf_idle"] = tunables.newidle_cost_ns, 1
    for name in ("distribute_cost_ns", "unthrottle_cost_ns", "tg_walk_cost_ns"):
        tun[name] = getattr(tunables, name)
    world["kicked_cpus"]["head"] = world["kicked_cpus"]["tail"] = NIL
    build_run_queues(world, nr_cpus)
    build_domains(world, cpus or one_llc(nr_cpus))
    build_groups(world, nr_cpus, len(tasks), groups)
    build_tasks(world, nr_cpus, tasks)
    priorities = {p: task.priority for p, task in enumerate(tasks) if task.policy in (SCHED_FIFO, SCHED_RR)}
    if priorities:
        init_rt(world, priorities, tunables.fair_server_runtime_ns, tunables.fair_server_period_ns, first_server)


def build_run_queues(world: World, nr_cpus: int) -> None:
    """sched_init(): every run queue idle, every queue of entities empty."""
    rq, cfs = world["rq"], world["cfs_rq"]
    lists = ("cfs_tasks_head", "cfs_tasks_tail", "wake_list_head", "wake_list_tail", "kicked_next")
    for field in ("curr", "forced", "last_wakee", "hrtick_expires_ns", "hrtick_timer", *lists):
        rq[field] = NIL
    rq["wakee_flip_decay_ns"] = LONG_AGO_NS
    rq["nohz_tick_stopped"] = rq["has_blocked_load"] = 1
    nohz = world["nohz"]
    nohz["nr_cpus"], nohz["has_blocked"], nohz["needs_update"] = nr_cpus, 1, 1
    rq["cpu"] = np.arange(nr_cpus)
    rq["avg_idle_ns"], rq["max_idle_balance_cost_ns"] = 1_000_000, 500_000
    rq["yield_deboost_last_src_pid"] = rq["yield_deboost_last_dst_pid"] = NIL
    cfs["zero_vruntime"] = INITIAL_VRUNTIME
    cfs["last_update_tg_load_avg_ns"] = -UPDATE_TG_INTERVAL_NS
    cfs["last_h_load_update_ns"] = NIL
    for field in ("rb_root", "rb_leftmost", "curr", "curr_task", "next", "se"):
        cfs[field] = NIL
    ids = np.arange(len(cfs))
    cfs["cpu"], cfs["tg"] = ids % nr_cpus, ids // nr_cpus


def build_groups(world: World, nr_cpus: int, nr_tasks: int, groups: Sequence[Group]) -> None:
    """alloc_fair_sched_group(): a group's entity and queue on every CPU, below its parent's."""
    entity, cfs, tg = world["sched_entity"], world["cfs_rq"], world["task_group"]
    for field in ("cfs_rq", "my_q", "parent", "rb_parent", "rb_left", "rb_right"):
        entity[field] = NIL
    tg["parent"] = NIL
    tg["shares"][0] = NICE_0_LOAD
    cpus = np.arange(nr_cpus)
    for number, group in enumerate(groups, start=1):
        for field in ("shares", "parent", "idle"):
            tg[field][number] = getattr(group, field)
        tg["nr_cpus"][number] = group.nr_cpus or nr_cpus
        tg["depth"][number] = tg["depth"][group.parent] + 1
        first = nr_tasks + (number - 1) * nr_cpus
        se, own, upper = first + cpus, number * nr_cpus + cpus, group.parent * nr_cpus + cpus
        cfs["se"][own], cfs["idle"][own] = se, group.idle
        entity["my_q"][se], entity["cfs_rq"][se] = own, upper
        entity["parent"][se] = cfs["se"][upper]
        entity["depth"][se] = tg["depth"][number] - 1
        set_load(world.handle, first, NICE_0_LOAD, 0)
        for field in ("weight", "delta_fact", "delta_shift"):
            entity[field][se] = entity[field][first]
        entity["last_update_time_ns"][se] = NIL
        online_fair_sched_group(world.handle, number)


def build_tasks(world: World, nr_cpus: int, tasks: Sequence[Task]) -> None:
    """sched_fork(): tasks that have never run."""
    entity, task, cfs = world["sched_entity"], world["task_struct"], world["cfs_rq"]
    task["state"] = TASK_NEW
    task["recent_used_cpu"] = task["last_wakee"] = NIL
    task["cpus_allowed"] = -1
    task["last_queued_ns"] = NIL
    task["group_prev"] = task["group_next"] = task["wake_next"] = NIL
    task["wakee_flip_decay_ns"] = LONG_AGO_NS
    for p, spec in enumerate(tasks):
        task["cpu"][p], task["tg"][p], task["policy"][p], task["nice"][p] = spec.cpu, spec.group, spec.policy, spec.nice
        queue = spec.group * nr_cpus + spec.cpu
        entity["cfs_rq"][p], entity["parent"][p] = queue, cfs["se"][queue]
        entity["depth"][p] = world["task_group"]["depth"][spec.group]
        entity["slice_ns"][p] = world["sched_tunables"]["base_slice_ns"][0]
        if spec.slice_ns:
            entity["slice_ns"][p] = min(max(spec.slice_ns, MIN_CUSTOM_SLICE_NS), MAX_CUSTOM_SLICE_NS)
            entity["custom_slice"][p] = 1
        if spec.weight is not None:
            weight, inverse = spec.weight, 0
        elif spec.policy == SCHED_IDLE:
            weight, inverse = WEIGHT_IDLEPRIO, WMULT_IDLEPRIO
        else:
            weight, inverse = int(SCHED_PRIO_TO_WEIGHT[spec.nice + 20]), int(SCHED_PRIO_TO_WMULT[spec.nice + 20])
        set_load(world.handle, p, weight << 10, inverse)
        entity["load_avg"][p], entity["last_update_time_ns"][p] = weight, NIL
