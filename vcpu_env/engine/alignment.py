"""How the vCPUs of a VM lie and run together: stacked siblings, gang index, switches in unison. Statistics only.

Two vCPUs of a VM that share a CPU are *stacked*: they can never run at the same time. The *gang index* is the share of
the time with vCPUs on all CPUs in which they all belong to one VM. A switch to a vCPU is *in unison* if another CPU
switches to one within 50 us before or after. Between them the three tell a host that gang-schedules by accident from
one that does not.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.structs import Struct, StructArray
from vcpu_env.guest.types import guest_vm
from vcpu_env.kernel.types import TASK_RUNNING, cpu_rq, sched_entity, task_struct
from vcpu_env.kvm.pcpu import event_slots
from vcpu_env.kvm.types import kvm_vcpu

UNISON_NS = 50_000

alignment = Struct(
    "alignment",
    [
        ("since_ns", "i8"),  # up to when times are booked
        ("nr_busy", "i8"),  # CPUs that have a vCPU
        ("nr_vms", "i8"),  # VMs that have a CPU
        ("busy_ns", "i8"),  # time with a vCPU on every CPU
        ("gang_ns", "i8"),  # of it, all of one VM
        ("vcpu_switches", "i8"),
        ("unison_switches", "i8"),
        ("vcpu_ticks", "i8"),  # at the CPUs' ticks: runnable vCPUs there
        ("stacked_ticks", "i8"),  # of them, with a runnable sibling on the same CPU
        ("last_cpu", "i8"),  # the last switch to a vCPU
        ("last_ns", "i8"),
        ("last_counted", "i8"),
        ("other_ns", "i8"),  # the last one on another CPU than that
        ("other_counted", "i8"),
    ],
    single=True,
)
vm_alignment = Struct(
    "vm_alignment",
    [
        ("nr_running", "i8"),  # its vCPUs that have a CPU
        ("since_ns", "i8"),
        ("together_ns", "i8"),  # time in which all its vCPUs had one, or it had all CPUs
        ("mark", "i8"),  # of a tick: its runnable vCPUs there
    ],
)
ALIGNMENT_COUNTS = ("busy_ns", "gang_ns", "vcpu_switches", "unison_switches", "vcpu_ticks", "stacked_ticks")


LONG_AGO_NS = -1_000_000_000


def alignment_arrays(nr_vms: int) -> list[StructArray]:
    """The struct arrays of these statistics."""
    return [alignment.array(), vm_alignment.array(nr_vms)]


def init_alignment(world) -> None:
    """No vCPU has run yet."""
    its = world["alignment"]
    its["last_cpu"], its["last_ns"], its["other_ns"] = NIL, LONG_AGO_NS, LONG_AGO_NS
    its["last_counted"] = its["other_counted"] = 1


@kjit
def book_alignment(w, now_ns):
    """Book the time since the last change of what runs."""
    its = alignment(w)
    past = now_ns - its.since_ns
    its.since_ns = now_ns
    if its.nr_busy == event_slots(w).nr_cpus:
        its.busy_ns += past
        if its.nr_vms == 1:
            its.gang_ns += past


@kjit
def book_together(w, vm_id, now_ns):
    """Book the time since the last change of how many vCPUs of a VM run."""
    its = vm_alignment(w, vm_id)
    if its.nr_running == min(guest_vm(w, vm_id).nr_vcpus, event_slots(w).nr_cpus):
        its.together_ns += now_ns - its.since_ns
    its.since_ns = now_ns


@kjit
def count_switch(w, cpu, now_ns):
    """Count a switch to a vCPU, and whether another CPU's last one was so near that both are in unison."""
    its = alignment(w)
    its.vcpu_switches += 1
    counted = 0
    if cpu != its.last_cpu:
        if now_ns - its.last_ns <= UNISON_NS:
            its.unison_switches += 2 - its.last_counted
            its.last_counted = 1
            counted = 1
        its.other_ns, its.other_counted = its.last_ns, its.last_counted
    elif now_ns - its.other_ns <= UNISON_NS:
        its.unison_switches += 2 - its.other_counted
        its.other_counted = 1
        counted = 1
    its.last_cpu, its.last_ns, its.last_counted = cpu, now_ns, counted


@kjit
def vcpu_leaves(w, v, now_ns):
    """A vCPU loses its CPU."""
    vm_id = kvm_vcpu(w, v).vm
    book_alignment(w, now_ns)
    book_together(w, vm_id, now_ns)
    vm_alignment(w, vm_id).nr_running -= 1
    alignment(w).nr_busy -= 1
    if vm_alignment(w, vm_id).nr_running == 0:
        alignment(w).nr_vms -= 1


@kjit
def vcpu_comes(w, cpu, v, now_ns):
    """A vCPU gets a CPU."""
    vm_id = kvm_vcpu(w, v).vm
    book_alignment(w, now_ns)
    book_together(w, vm_id, now_ns)
    count_switch(w, cpu, now_ns)
    if vm_alignment(w, vm_id).nr_running == 0:
        alignment(w).nr_vms += 1
    vm_alignment(w, vm_id).nr_running += 1
    alignment(w).nr_busy += 1


@kjit
def settle_alignment(w, nr_vms, now_ns):
    """Book what is under way up to now."""
    book_alignment(w, now_ns)
    for vm_id in range(nr_vms):
        book_together(w, vm_id, now_ns)


@kjit
def runnable_vcpu(w, p):
    """Whether a task is a vCPU that runs or waits for a CPU."""
    if p >= event_slots(w).nr_vcpus or task_struct(w, p).state != TASK_RUNNING:
        return False
    return sched_entity(w, p).on_rq != 0


@kjit
def alignment_tick(w, cpu):
    """Count, at a CPU's tick, its runnable vCPUs and those that have a runnable sibling there."""
    its = alignment(w)
    p = cpu_rq(w, cpu).cfs_tasks_head
    while p != NIL:
        if runnable_vcpu(w, p):
            vm_alignment(w, kvm_vcpu(w, p).vm).mark += 1
        p = task_struct(w, p).group_next
    p = cpu_rq(w, cpu).cfs_tasks_head
    while p != NIL:
        if runnable_vcpu(w, p):
            mark = vm_alignment(w, kvm_vcpu(w, p).vm).mark
            its.vcpu_ticks += mark
            its.stacked_ticks += mark if mark > 1 else 0
            vm_alignment(w, kvm_vcpu(w, p).vm).mark = 0
        p = task_struct(w, p).group_next
