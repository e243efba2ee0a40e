"""RCU of the guest kernel: synchronize_rcu() and synchronize_rcu_expedited(), as far as a preempted vCPU delays them.

A grace period ends when every vCPU that was not idle at its begin has passed a quiescent state: a context switch, or a
tick outside of spin locks; if expedited, the interrupt of a unicast IPI that each of them gets. A vCPU that the host
has preempted passes none. Who waits sleeps; who comes during a grace period waits for the next one. The grace-period
thread, its timers and callbacks are left out: a grace period begins at once, and wakes its waiters as the last vCPU
passes.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.structs import Struct, StructArray
from vcpu_env.guest.multicast import bit, unicast_cost
from vcpu_env.guest.thread_queue import append, pop
from vcpu_env.guest.threads import block_current, wake_thread
from vcpu_env.guest.types import THREAD_QUEUE, guest_thread, guest_vcpu, guest_vm
from vcpu_env.kvm.lapic import VECTOR_CALL, send_ipi

grace_period = Struct(
    "grace_period",
    [
        ("awaited", "i8"),  # vCPUs (bits) that have not passed a quiescent state yet; 0: no grace period
        ("waiters", THREAD_QUEUE),
        ("next_waiters", THREAD_QUEUE),
        ("start_ns", "i8"),
        ("completed", "i8"),
        ("total_ns", "i8"),
    ],
)
NORMAL, EXPEDITED = range(2)

"""A VM has two: ``grace_period(w, 2 * vm + kind)``."""


def rcu_arrays(nr_vms: int) -> list[StructArray]:
    """The struct arrays of RCU."""
    return [grace_period.array(2 * nr_vms)]


def init_rcu(world) -> None:
    """Nobody waits."""
    world["grace_period"]["waiters"] = world["grace_period"]["next_waiters"] = (NIL, NIL)


@kjit
def begin_grace_period(w, vm_id, kind, v, now_ns):
    """Begin a grace period on vCPU `v`: all vCPUs that run a thread are awaited; expedited, they get an IPI each."""
    vm, gp = guest_vm(w, vm_id), grace_period(w, 2 * vm_id + kind)
    gp.start_ns = now_ns
    gp.awaited = 0
    for i in range(vm.nr_vcpus):
        target = vm.first_vcpu + i
        if guest_vcpu(w, target).current == NIL:
            continue
        if kind == NORMAL:
            gp.awaited |= bit(i)
        elif target != v:
            gp.awaited |= bit(i)
            guest_vcpu(w, v).overhead_ns += unicast_cost(w, target)
            send_ipi(w, v, target, VECTOR_CALL, now_ns)


@kjit
def end_grace_period(w, vm_id, kind, v, now_ns):
    """Wake who waited. If others have come meanwhile, the next grace period begins."""
    gp = grace_period(w, 2 * vm_id + kind)
    while gp.awaited == 0:
        gp.completed += 1
        gp.total_ns += now_ns - gp.start_ns
        while gp.waiters.head != NIL:
            wake_thread(w, pop(w, gp.waiters), v, now_ns)
        if gp.next_waiters.head == NIL:
            return
        gp.waiters.head, gp.waiters.tail = gp.next_waiters.head, gp.next_waiters.tail
        gp.next_waiters.head, gp.next_waiters.tail = NIL, NIL
        begin_grace_period(w, vm_id, kind, v, now_ns)


@kjit
def note_quiescent_state(w, v, kind, now_ns):
    """The vCPU has passed a quiescent state."""
    g = guest_vcpu(w, v)
    gp = grace_period(w, 2 * g.vm + kind)
    if gp.awaited & bit(g.index):
        gp.awaited &= ~bit(g.index)
        if gp.awaited == 0:
            end_grace_period(w, g.vm, kind, v, now_ns)


@kjit
def synchronize_rcu(w, t, kind, now_ns):
    """Wait for a grace period. 1: it is over. 0: the thread sleeps."""
    th = guest_thread(w, t)
    if th.stage == 1:
        return 1
    th.stage = 1
    th.in_kernel = 1
    gp = grace_period(w, 2 * th.vm + kind)
    under_way = gp.awaited != 0
    v = th.vcpu
    if under_way:
        append(w, gp.next_waiters, t)
        block_current(w, v, now_ns)
        return 0
    append(w, gp.waiters, t)
    block_current(w, v, now_ns)
    begin_grace_period(w, th.vm, kind, v, now_ns)
    if gp.awaited == 0:
        end_grace_period(w, th.vm, kind, v, now_ns)
    return 0
