"""What an administrator does during a run beside cgroups: files under /sys are written, vCPUs pinned to other CPUs.

Each change owns a slot on the timeline, behind those of cgroups.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.structs import Struct, StructArray
from vcpu_env.base.timeline import NEVER, event, set_event
from vcpu_env.engine.vcpu_thread import leave_guest, switch_to
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.entry_points import migration_cpu_stop, set_cpus_allowed
from vcpu_env.kernel.features import FEATURES
from vcpu_env.kernel.group_stats import cpu_allowed
from vcpu_env.kernel.runqueue import migrate_task
from vcpu_env.kernel.types import TASK_DEAD, TASK_NEW, cpu_rq, sched_features, sched_tunables, task_struct
from vcpu_env.kernel.yield_types import deboost_params
from vcpu_env.kvm.pcpu import GUEST, event_slots, pcpu
from vcpu_env.kvm.types import kvm_params

PARAMETERS = (
    *("halt_poll_ns", "halt_poll_ns_grow", "halt_poll_ns_grow_start", "halt_poll_ns_shrink"),
    *("ipi_tracking_enabled", "ipi_window_ns", "enable_relaxed_boost"),
    *("base_slice_ns", "migration_cost_ns", "preempt", "vcpu_debooster_enabled"),
    *FEATURES,
)
"""What can be written, by the names of files and scheduler features; a place here is a change's `parameter`."""

(
    HALT_POLL_NS, HALT_POLL_NS_GROW, HALT_POLL_NS_GROW_START, HALT_POLL_NS_SHRINK, IPI_TRACKING_ENABLED,
    IPI_WINDOW_NS, ENABLE_RELAXED_BOOST, BASE_SLICE_NS, MIGRATION_COST_NS, PREEMPT, VCPU_DEBOOSTER_ENABLED,
    PLACE_LAG, PLACE_DEADLINE_INITIAL, PLACE_REL_DEADLINE, RUN_TO_PARITY, PREEMPT_SHORT, NEXT_BUDDY, PICK_BUDDY,
    CACHE_HOT_BUDDY, DELAY_DEQUEUE, DELAY_ZERO, WAKEUP_PREEMPTION, TTWU_QUEUE, SIS_UTIL, WA_IDLE, WA_WEIGHT, WA_BIAS,
    UTIL_EST, NI_RANDOM,
) = range(len(PARAMETERS))  # fmt: skip

host_change = Struct(
    "host_change",
    [
        ("parameter", "i8"),  # a place in PARAMETERS; NIL: a vCPU's affinity
        ("value", "i8"),
        ("vcpu", "i8"),
        ("cpus", "i8", (4,)),  # 64 CPUs a word
        ("pinned", "i8"),  # the affinity is set, and the vCPU may still have to leave its CPU
    ],
)


def host_change_arrays(count: int) -> list[StructArray]:
    """The struct array of so many changes."""
    return [host_change.array(count)]


@kjit
def write_kvm(w, parameter, value):
    """/sys/module/kvm/parameters."""
    params = kvm_params(w, 0)
    if parameter == HALT_POLL_NS:
        params.halt_poll_ns = value
    elif parameter == HALT_POLL_NS_GROW:
        params.halt_poll_ns_grow = value
    elif parameter == HALT_POLL_NS_GROW_START:
        params.halt_poll_ns_grow_start = value
    elif parameter == HALT_POLL_NS_SHRINK:
        params.halt_poll_ns_shrink = value
    elif parameter == IPI_TRACKING_ENABLED:
        params.ipi_tracking_enabled = value
    elif parameter == IPI_WINDOW_NS:
        params.ipi_window_ns = value
    else:
        params.enable_relaxed_boost = value


@kjit
def write_sched(w, parameter, value):
    """/sys/kernel/debug/sched, features aside."""
    if parameter == BASE_SLICE_NS:
        sched_tunables(w, 0).base_slice_ns = value
    elif parameter == MIGRATION_COST_NS:
        sched_tunables(w, 0).migration_cost_ns = value
    elif parameter == PREEMPT:
        sched_tunables(w, 0).preempt_lazy = value
    else:
        deboost_params(w, 0).vcpu_debooster_enabled = value


@kjit
def write_feature(w, parameter, value):
    """/sys/kernel/debug/sched/features: the first half of them."""
    features = sched_features(w, 0)
    if parameter == PLACE_LAG:
        features.PLACE_LAG = value
    elif parameter == PLACE_DEADLINE_INITIAL:
        features.PLACE_DEADLINE_INITIAL = value
    elif parameter == PLACE_REL_DEADLINE:
        features.PLACE_REL_DEADLINE = value
    elif parameter == RUN_TO_PARITY:
        features.RUN_TO_PARITY = value
    elif parameter == PREEMPT_SHORT:
        features.PREEMPT_SHORT = value
    elif parameter == NEXT_BUDDY:
        features.NEXT_BUDDY = value
    elif parameter == PICK_BUDDY:
        features.PICK_BUDDY = value
    elif parameter == CACHE_HOT_BUDDY:
        features.CACHE_HOT_BUDDY = value
    elif parameter == DELAY_DEQUEUE:
        features.DELAY_DEQUEUE = value
    else:
        write_other_feature(w, parameter, value)


@kjit
def write_other_feature(w, parameter, value):
    """/sys/kernel/debug/sched/features: the second half."""
    features = sched_features(w, 0)
    if parameter == DELAY_ZERO:
        features.DELAY_ZERO = value
    elif parameter == WAKEUP_PREEMPTION:
        features.WAKEUP_PREEMPTION = value
    elif parameter == TTWU_QUEUE:
        features.TTWU_QUEUE = value
    elif parameter == SIS_UTIL:
        features.SIS_UTIL = value
    elif parameter == WA_IDLE:
        features.WA_IDLE = value
    elif parameter == WA_WEIGHT:
        features.WA_WEIGHT = value
    elif parameter == WA_BIAS:
        features.WA_BIAS = value
    elif parameter == UTIL_EST:
        features.UTIL_EST = value
    else:
        features.NI_RANDOM = value


@kjit
def pin_vcpu(w, change, slot, now_ns):
    """sched_setaffinity() of a vCPU's thread. Off a CPU that it may not use it goes at once.

    Where the host kernel works for it there, or polls, that is when this is over: the change comes again then.
    """
    v = change.vcpu
    task = task_struct(w, v)
    cpu = task.cpu
    if task.state == TASK_NEW or task.state == TASK_DEAD:
        task.cpus_allowed[0], task.cpus_allowed[1] = change.cpus[0], change.cpus[1]
        task.cpus_allowed[2], task.cpus_allowed[3] = change.cpus[2], change.cpus[3]
        return
    update_rq_clock(w, cpu, now_ns)
    if not change.pinned:
        change.pinned = 1
        change.value = set_cpus_allowed(w, v, change.cpus[0], change.cpus[1], change.cpus[2], change.cpus[3], cpu)
    if change.value == NIL or cpu_allowed(w, v, cpu):
        return
    if cpu_rq(w, cpu).curr != v:
        if task.on_rq:
            migrate_task(w, v, change.value)
    elif pcpu(w, cpu).mode == GUEST:
        leave_guest(w, cpu, now_ns)
        switch_to(w, cpu, v, migration_cpu_stop(w, cpu, change.value), 0, now_ns)
    else:
        set_event(w, slot, max(now_ns, event(w, event_slots(w, 0).run + cpu).when_ns))


@kjit
def host_change_is_due(w, slot, now_ns):
    """Do what the administrator does."""
    change = host_change(w, slot - event_slots(w, 0).change)
    set_event(w, slot, NEVER)
    if change.parameter == NIL:
        pin_vcpu(w, change, slot, now_ns)
    elif change.parameter < BASE_SLICE_NS:
        write_kvm(w, change.parameter, change.value)
    elif change.parameter < PLACE_LAG:
        write_sched(w, change.parameter, change.value)
    else:
        write_feature(w, change.parameter, change.value)
