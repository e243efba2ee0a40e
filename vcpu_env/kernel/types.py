"""The kernel's structs as dtypes, their accessors, and the layout of a kernel in a world.

Ids: a task's entity has the task's id; the entity of task group *tg* on a CPU is the queue's ``se``.
The queue of *tg* on a CPU is ``tg * nr_cpus + cpu``; task group 0 is the root, so the root queue of a CPU has its id.

Every field is 64 bits wide, small ones too: a function is compiled anew for every combination of argument types, and
ids of one type keep that to one.
"""

from vcpu_env.base.random import random_arrays
from vcpu_env.base.structs import Struct, StructArray
from vcpu_env.kernel.domain_types import domain_arrays
from vcpu_env.kernel.features import FEATURES_7_3

NSEC_PER_SEC = 1_000_000_000
INITIAL_VRUNTIME = -(1 << 20)
"""Where the virtual time of every new queue starts: 2^20 before the 64-bit wrap."""
ESRCH = 3

SCHED_NORMAL, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_IDLE = 0, 1, 2, 3, 5

TASK_RUNNING = 0
TASK_INTERRUPTIBLE = 0x1
TASK_UNINTERRUPTIBLE = 0x2
TASK_PARKED = 0x40
TASK_DEAD = 0x80
TASK_NEW = 0x800
TASK_SPECIAL = 0x80CC
"""States that must not see spurious wakeups (stopped, traced, parked, dead, frozen): never dequeued with a delay."""

ENQUEUE_WAKEUP = 0x1
ENQUEUE_RESTORE = 0x2
ENQUEUE_DELAYED = 0x20
ENQUEUE_MIGRATED = 0x40000
ENQUEUE_INITIAL = 0x80000
DEQUEUE_SLEEP = 0x1
DEQUEUE_SAVE = 0x2
DEQUEUE_MIGRATING = 0x10
DEQUEUE_DELAYED = 0x20
DEQUEUE_SPECIAL = 0x10000
DEQUEUE_THROTTLE = 0x20000

WF_FORK = 0x04
WF_TTWU = 0x08
WF_SYNC = 0x10
WF_RQ_SELECTED = 0x80

CSD_UNTHROTTLE, CSD_NOHZ, CSD_TTWU = 1, 2, 4

WORK_THROTTLE, WORK_SIGNAL = 1, 2
"""A throttled queue's task has to leave it; a signal is pending (of vCPU threads: they are to stop)."""

TIF_NEED_RESCHED = 1
TIF_NEED_RESCHED_LAZY = 2

KERNEL_6_19, KERNEL_7_3 = 0, 1
"""Whose fair class a machine has."""

CGROUP_UP, CGROUP_SMP, CGROUP_CONCUR, CGROUP_MAX, CGROUP_TASKS = range(5)
"""Places in `features.CGROUP_MODES`."""

REWEIGHT_V6_19, REWEIGHT_FIXED = 0, 1
LAG_CLAMP_6_19_0, LAG_CLAMP_6_19_9 = 0, 1

sched_tunables = Struct(
    "sched_tunables",
    [
        ("base_slice_ns", "i8"),
        ("normalized_base_slice_ns", "i8"),
        ("tick_ns", "i8"),
        ("migration_cost_ns", "i8"),
        ("newidle_cost_ns", "i8"),
        ("hz", "i8"),
        ("nr_cpus", "i8"),
        ("track_load", "i8"),  # on one CPU nothing depends on it
        ("nr_groups", "i8"),
        ("kernel", "i8"),  # KERNEL_*
        ("cgroup_mode", "i8"),  # of 7.3: CGROUP_*
        ("preempt_lazy", "i8"),
        ("reweight", "i8"),
        ("lag_clamp", "i8"),
        ("rb_copies_slices", "i8"),  # from 7.0 on, what moves within the tree hands on the least slice, too
        ("distribute_cost_ns", "i8"),  # what a timer of bandwidth control takes for each throttled queue
        ("unthrottle_cost_ns", "i8"),  # what it takes to unthrottle a queue,
        ("tg_walk_cost_ns", "i8"),  # and for each group below
        ("recorded_dice", "i8"),  # replay only: length of `newidle_dice`, which stands for the random numbers
        ("pf_idle", "i8"),  # idle tasks are known as such (PF_IDLE), as on every real host
        ("cfs_bandwidth_used", "i8"),  # a group may have a quota: the arrays of `bandwidth` are there
        ("rt_used", "i8"),  # a task may be of the real-time class: the arrays of `rt_types` are there
    ],
    single=True,
)

sched_features = Struct("sched_features", [(name, "i8") for name in FEATURES_7_3], single=True)

task_struct = Struct(
    "task_struct",
    [
        # cache line 0
        ("state", "i8"),
        ("cpu", "i8"),
        ("group_next", "i8"),  # in its CPU's `kernel.cfs_tasks`
        ("group_prev", "i8"),
        ("last_queued_ns", "i8"),
        ("last_arrival_ns", "i8"),
        ("run_delay_ns", "i8"),
        ("pcount", "i8"),
        # cache line 1
        ("on_rq", "i8"),
        ("exit_work", "i8"),  # WORK_*: to be done before the task returns to user mode or enters the guest
        ("throttle_next", "i8"),  # in its queue's limbo list; NIL
        ("policy", "i8"),
        ("nvcsw", "i8"),
        ("nivcsw", "i8"),
        ("tg", "i8"),
        ("nice", "i8"),
        # seldom used, or by few machines
        ("wake_next", "i8"),
        ("remote_wakeup", "i8"),  # while it is on its way: ENQUEUE_MIGRATED or 0
        ("cpus_allowed", "i8", (4,)),
        ("recent_used_cpu", "i8"),
        ("wakee_flips", "i8"),
        ("wakee_flip_decay_ns", "i8"),
        ("last_wakee", "i8"),
        ("nr_migrations", "i8"),
    ],
)

sched_entity = Struct(
    "sched_entity",
    [
        # cache line 0
        ("vruntime", "i8"),
        ("deadline", "i8"),
        ("weight", "i8"),
        ("slice_ns", "i8"),
        ("on_rq", "i8"),  # also of a real-time task on its own list
        ("cfs_rq", "i8"),
        ("my_q", "i8"),
        ("parent", "i8"),
        # cache line 1
        ("vlag", "i8"),  # of v6.19: shared with vprot of a running entity, as its union
        ("exec_start_ns", "i8"),
        ("sum_exec_runtime_ns", "i8"),
        ("sched_delayed", "i8"),
        ("delta_fact", "i8"),
        ("delta_shift", "i8"),
        ("runnable_avg", "i8"),
        ("util_est", "i8"),
        # cache line 2
        ("depth", "i8"),
        ("rb_parent", "i8"),
        ("rb_left", "i8"),
        ("rb_right", "i8"),
        ("rb_red", "i8"),
        ("min_vruntime", "i8"),
        ("min_slice_ns", "i8"),
        ("custom_slice", "i8"),
        # cache line 3
        ("period_contrib", "i8"),
        ("last_update_time_ns", "i8"),
        ("load_sum", "i8"),
        ("load_avg", "i8"),
        ("runnable_sum", "i8"),
        ("runnable_weight", "i8"),  # of a group: h_nr_runnable of its queue when it was last updated
        ("util_sum", "i8"),
        ("util_avg", "i8"),
        # seldom used, or by few machines
        ("vprot", "i8"),  # of 7.3
        ("h_load", "i8"),  # of 7.3: the weight of a task among all tasks of its CPU, scaled
        ("rel_deadline", "i8"),
    ],
)

cfs_rq = Struct(
    "cfs_rq",
    [
        # cache line 0
        ("avg_vruntime", "i8"),
        ("avg_load", "i8"),
        ("zero_vruntime", "i8"),
        ("curr", "i8"),  # the entity of this level that runs; 7.3 calls it h_curr
        ("nr_queued", "i8"),
        ("cpu", "i8"),
        ("runtime_enabled", "i8"),  # its group has a quota; what it has left is in `bandwidth`
        ("removed_nr", "i8"),  # tasks that woke elsewhere since the queue was last updated, and their averages
        # cache line 1
        ("load_weight", "i8"),
        ("h_nr_runnable", "i8"),
        ("period_contrib", "i8"),
        ("last_update_time_ns", "i8"),
        ("load_sum", "i8"),
        ("load_avg", "i8"),
        ("propagate", "i8"),  # load has come or gone that the group's entity does not show yet
        ("util_est", "i8"),  # of root queues only
        # cache line 2
        ("next", "i8"),
        (
            "next_slack_ns",
            "i8",
        ),  # service by which `next` may be early; 0 in every kernel, see `kernel.v6_19.yield_boost`
        ("rb_root", "i8"),
        ("rb_leftmost", "i8"),
        ("h_nr_queued", "i8"),
        ("idle", "i8"),
        ("runnable_sum", "i8"),
        ("util_sum", "i8"),
        # cache line 3
        ("runnable_avg", "i8"),
        ("util_avg", "i8"),
        ("tg", "i8"),
        ("se", "i8"),
        ("on_list", "i8"),  # its blocked load is aged
        ("tg_load_avg_contrib", "i8"),
        ("last_update_tg_load_avg_ns", "i8"),
        ("prop_runnable_sum", "i8"),
        # seldom used, or by few machines
        ("curr_task", "i8"),  # of root queues of 7.3: the task that runs; 7.3 calls it curr
        ("h_nr_idle", "i8"),
        ("tg_runnable_avg_contrib", "i8"),  # of 7.3
        ("removed_load", "i8"),
        ("removed_runnable", "i8"),
        ("removed_util", "i8"),
        ("h_load", "i8"),  # the queue's part of its CPU's load, looked up once a jiffy
        ("last_h_load_update_ns", "i8"),
        ("throttle_count", "i8"),  # how many of itself and its ancestors are throttled
    ],
)

cpu_rq = Struct(
    "rq",
    [
        # cache line 0
        ("clock_ns", "i8"),
        ("curr", "i8"),
        ("need_resched", "i8"),
        ("nr_running", "i8"),
        ("sibling", "i8"),  # the other hardware thread of its core, NIL without SMT
        ("llc", "i8"),  # last-level cache: its number, and that of its `sched_domain_shared`
        ("node", "i8"),
        ("nohz_tick_stopped", "i8"),
        # cache line 1
        ("clock_read_ns", "i8"),
        ("sched_count", "i8"),
        ("yld_count", "i8"),
        ("forced", "i8"),  # oracles only: a task that is picked next, eligible or not; NIL
        ("cfs_tasks_head", "i8"),
        ("active_balance", "i8"),
        ("next_balance_ns", "i8"),
        ("yield_deboost_last_time_ns", "i8"),
        # cache line 2
        ("csd_pending", "i8"),  # CSD_*: functions that other CPUs have asked this one to run
        ("kicked", "i8"),
        ("kicked_next", "i8"),
        ("nr_switches", "i8"),
        ("rq_cpu_time_ns", "i8"),
        ("run_delay_ns", "i8"),
        ("pcount", "i8"),
        ("cfs_tasks_tail", "i8"),
        # seldom used, or by few machines
        ("clock_skip", "i8"),  # the next schedule() leaves the clock alone
        ("cpu", "i8"),
        ("sched_goidle", "i8"),
        ("ttwu_count", "i8"),
        ("ttwu_local", "i8"),
        ("avg_idle_ns", "i8"),
        ("idle_stamp_ns", "i8"),  # since when it has been idle; NIL
        ("max_idle_balance_cost_ns", "i8"),
        ("newidle_draws", "i8"),
        ("excluded", "i8"),  # an attempt to balance under way looks at all CPUs but this one
        ("push_cpu", "i8"),
        ("ttwu_pending", "i8"),  # tasks that were woken by other CPUs are on their way to this one
        ("wake_list_head", "i8"),  # these tasks, by `task.wake_next`
        ("wake_list_tail", "i8"),
        # of the idle task, which wakes others while the CPU is idle (interrupts)
        ("wakee_flips", "i8"),
        ("wakee_flip_decay_ns", "i8"),
        ("last_wakee", "i8"),
        # idle balancing (`kernel.nohz`), and where the CPU is (`kernel.topology`)
        ("nohz_flags", "i8"),
        ("nohz_newidle", "i8"),
        ("has_blocked_load", "i8"),
        ("last_blocked_load_update_ns", "i8"),
        ("sd", "i8"),  # its lowest scheduling domain, NIL on a host of one CPU
        ("position", "i8"),  # in `span_cpu`, where the CPUs of an LLC follow each other
        ("distribute_cpu_mask_prev", "i8"),  # the last CPU that a change of affinity made here has chosen
        ("hrtick_expires_ns", "i8"),  # of 7.3: when the running task's request is over; NIL: nobody asked
        ("hrtick_timer", "i8"),  # its slot on the timeline; NIL on a machine without one
        ("yield_deboost_last_pair_time_ns", "i8"),
        ("yield_deboost_last_src_pid", "i8"),
        ("yield_deboost_last_dst_pid", "i8"),
    ],
)

task_group = Struct(
    "task_group",
    [
        ("shares", "i8"),
        ("load_avg", "i8"),
        ("runnable_avg", "i8"),  # of 7.3
        ("nr_cpus", "i8"),  # of its cpuset
        ("parent", "i8"),
        ("idle", "i8"),
        ("depth", "i8"),
    ],
)

rq_totals = Struct(
    "rq_totals",
    [
        ("nr_running", "i8"),
        ("nr_busy_cpus", "i8"),
        ("overloaded", "i8"),  # the root domain's hint that some CPU has two tasks; cleared by a balance of all CPUs
        ("now_ns", "i8"),  # the latest time of any CPU's clock
        ("nr_switches", "i8"),
        ("nr_dice", "i8"),  # taken from `newidle_dice`
    ],
    single=True,
)
"""What concerns all run queues. Sums are kept since a look at every one costs more than a step of the machine."""

kicked_cpus = Struct("kicked_cpus", [("head", "i8"), ("tail", "i8")], single=True)


def kernel_arrays(nr_cpus: int, nr_tasks: int, nr_groups: int, levels: int = 1, nr_llcs: int = 1) -> list[StructArray]:
    """Struct arrays of a kernel; `nr_groups` does not count the root group, `levels` are those of domains."""
    return [
        sched_tunables.array(),
        sched_features.array(),
        task_struct.array(nr_tasks),
        sched_entity.array(nr_tasks + nr_groups * nr_cpus),
        cfs_rq.array((nr_groups + 1) * nr_cpus),
        cpu_rq.array(nr_cpus),
        task_group.array(nr_groups + 1),
        kicked_cpus.array(),
        rq_totals.array(),
        *domain_arrays(nr_cpus, levels, nr_llcs),
        *random_arrays(),
    ]
