"""Rivals of directed yield that act on the host scheduler itself: VMs run together, or lock holders run on.

They are driven by the host's tick and by reschedules, so they are as coarse as these; the scheduler's own accounts stay
as they are.

* gang: VMs take turns; at each tick every CPU that has a vCPU of the VM whose turn it is runs it. Work-conserving.
* relaxed: while one vCPU of a VM runs, siblings that have waited longer than a bound for a CPU are run (VMware's
  relaxed co-scheduling, by co-starting laggards).
* delayed preemption: a vCPU whose guest says that it holds a lock keeps the CPU a little longer when it is to be
  preempted (as eCS). Needs a guest that says so.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.structs import Struct, StructArray
from vcpu_env.guest.types import guest_thread, guest_vcpu
from vcpu_env.kernel.forced import run_next, waits_in_queue
from vcpu_env.kernel.types import cpu_rq, task_struct
from vcpu_env.kvm.pcpu import event_slots
from vcpu_env.kvm.types import kvm, kvm_vcpu

coscheduling = Struct(
    "coscheduling",
    [
        ("mode", "i8"),
        ("nr_vms", "i8"),
        ("period_ns", "i8"),  # gang: each VM's turn
        ("skew_ns", "i8"),  # relaxed: how long a sibling may wait while others run
        ("delay_ns", "i8"),  # delayed preemption: most time that a lock holder is given
    ],
    single=True,
)


def coscheduling_arrays() -> list[StructArray]:
    """The struct array of what acts on the host scheduler itself."""
    return [coscheduling.array()]


COSCHED_OFF, COSCHED_GANG, COSCHED_RELAXED, COSCHED_DELAY = range(4)


@kjit
def gang_tick(w, cpu, now_ns):
    """Run this CPU's vCPU of the VM whose turn it is."""
    params = coscheduling(w)
    if params.nr_vms == 0:
        return
    vm = kvm(w, now_ns // params.period_ns % params.nr_vms)
    curr = cpu_rq(w, cpu).curr
    if curr != NIL and vm.first_vcpu <= curr < vm.first_vcpu + vm.nr_vcpus:
        cpu_rq(w, cpu).forced = curr
        return
    for v in range(vm.first_vcpu, vm.first_vcpu + vm.nr_vcpus):
        if task_struct(w, v).cpu == cpu and waits_in_queue(w, v):
            run_next(w, v)
            return


@kjit
def relaxed_tick(w, cpu, now_ns):
    """Run the siblings of this CPU's vCPU that have waited too long."""
    curr = cpu_rq(w, cpu).curr
    if curr == NIL or curr >= event_slots(w).nr_vcpus:
        return
    vm = kvm(w, kvm_vcpu(w, curr).vm)
    for v in range(vm.first_vcpu, vm.first_vcpu + vm.nr_vcpus):
        task = task_struct(w, v)
        if task.cpu != cpu and waits_in_queue(w, v) and task.last_queued_ns != NIL:
            if now_ns - task.last_queued_ns > coscheduling(w).skew_ns:
                run_next(w, v)


@kjit
def coscheduling_tick(w, cpu, now_ns):
    """At the host's tick of a CPU that is not idle."""
    mode = coscheduling(w).mode
    if mode == COSCHED_GANG:
        gang_tick(w, cpu, now_ns)
    elif mode == COSCHED_RELAXED:
        relaxed_tick(w, cpu, now_ns)


@kjit
def delays_preemption(w, v, now_ns):
    """Whether a vCPU that is to be preempted may enter the guest once more, because a lock is held there."""
    params, g = coscheduling(w), guest_vcpu(w, v)
    if params.mode != COSCHED_DELAY or g.current == NIL or guest_thread(w, g.current).nr_held == 0:
        g.delayed_since_ns = NIL
        return False
    if g.delayed_since_ns == NIL:
        g.delayed_since_ns = now_ns
    if now_ns - g.delayed_since_ns < params.delay_ns:
        return True
    g.delayed_since_ns = NIL
    return False
