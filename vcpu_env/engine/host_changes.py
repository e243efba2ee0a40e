"""What an administrator does during a run beside cgroups: files under /sys are written, vCPUs pinned, VMs stopped.

Each change owns a slot on the timeline, behind those of cgroups.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.structs import Struct, StructArray, write_word
from vcpu_env.base.timeline import NEVER, event, set_event
from vcpu_env.engine.vcpu_thread import leave_guest, switch_to
from vcpu_env.engine.vm_pause import pause_vm, resume_vm
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.entry_points import migration_cpu_stop, set_cpus_allowed
from vcpu_env.kernel.features import FEATURES
from vcpu_env.kernel.group_stats import cpu_allowed
from vcpu_env.kernel.runqueue import migrate_task
from vcpu_env.kernel.types import TASK_DEAD, TASK_NEW, cpu_rq, sched_features, sched_tunables, task_struct
from vcpu_env.kernel.yield_types import deboost_params
from vcpu_env.kvm.pcpu import GUEST, event_slots, pcpu
from vcpu_env.kvm.types import kvm_params

PARAMETERS: dict[str, Struct] = {
    **dict.fromkeys(
        ("halt_poll_ns", "halt_poll_ns_grow", "halt_poll_ns_grow_start", "halt_poll_ns_shrink"), kvm_params
    ),
    **dict.fromkeys(("ipi_tracking_enabled", "ipi_window_ns", "enable_relaxed_boost"), kvm_params),
    **dict.fromkeys(("base_slice_ns", "migration_cost_ns", "preempt"), sched_tunables),
    "vcpu_debooster_enabled": deboost_params,
    **dict.fromkeys(FEATURES, sched_features),
}
"""What can be written, by the names of files and scheduler features, and the struct that has it."""

FIELDS = {"preempt": "preempt_lazy"}
"""Fields that have another name than their file."""

host_change = Struct(
    "host_change",
    [
        ("struct", "i8"),  # of the struct that is written to; NIL: a vCPU's affinity is set, or a VM stops or goes on
        ("place", "i8"),  # of the field in it
        ("value", "i8"),
        ("vcpu", "i8"),
        ("cpus", "i8", (4,)),  # 64 CPUs a word
        ("pinned", "i8"),  # the affinity is set, and the vCPU may still have to leave its CPU
        ("vm", "i8"),  # NIL: of a vCPU
    ],
)


def place_of(parameter: str) -> tuple[int, int]:
    """Where a parameter lies in a world: its struct's number, and the field's place there."""
    struct = PARAMETERS[parameter]
    return struct.number, struct.place(FIELDS.get(parameter, parameter))


def host_change_arrays(count: int) -> list[StructArray]:
    """The struct array of so many changes."""
    return [host_change.array(count)]


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
        set_event(w, slot, max(now_ns, event(w, event_slots(w).run + cpu).when_ns))


@kjit
def host_change_is_due(w, slot, now_ns):
    """Do what the administrator does."""
    change = host_change(w, slot - event_slots(w).change)
    set_event(w, slot, NEVER)
    if change.vm != NIL:
        if change.value:
            pause_vm(w, change.vm, now_ns)
        else:
            resume_vm(w, change.vm, now_ns)
    elif change.struct == NIL:
        pin_vcpu(w, change, slot, now_ns)
    else:
        write_word(w, change.struct, change.place, change.value)
