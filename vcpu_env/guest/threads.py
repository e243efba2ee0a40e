"""Guest threads and the run queue of each vCPU: who runs next, blocking, waking, pulling work to an idle vCPU.

The guest's scheduler is a round robin with the slice of its own base slice; a sleeper is put back on its vCPU, or on an
idle one. One that a device wakes preempts half the time: as often as EEVDF's running task is not eligible. A vCPU
that the host has preempted still looks busy or idle as the guest last saw it.
"""

from vcpu_env._jit import NIL, kjit
from vcpu_env.guest.multicast import unicast_cost
from vcpu_env.guest.random import draw
from vcpu_env.guest.steal_time import vcpu_is_preempted
from vcpu_env.guest.thread_queue import append, pop, push_front
from vcpu_env.guest.types import (
    BLOCKED,
    HALTED_IDLE,
    RUNNABLE,
    RUNNING,
    guest_costs,
    guest_thread,
    guest_vcpu,
    guest_vm,
)
from vcpu_env.kvm.lapic import VECTOR_RESCHEDULE, send_ipi

WAKEUP_STREAM = 1 << 40
"""Stream keys of wakeup preemption start here; those of lock hand-overs are the vCPU ids."""


@kjit
def enqueue_thread(w, t, v):
    """Put a runnable thread at the tail of a vCPU's run queue."""
    g = guest_vcpu(w, v)
    th = guest_thread(w, t)
    th.vcpu = v
    th.state = RUNNABLE
    append(w, g.run_queue, t)
    g.nr_queued += 1


@kjit
def enqueue_in_front(w, t, v):
    """Put a runnable thread at the head of a vCPU's run queue."""
    g = guest_vcpu(w, v)
    th = guest_thread(w, t)
    th.vcpu = v
    th.state = RUNNABLE
    push_front(w, g.run_queue, t)
    g.nr_queued += 1


@kjit
def dequeue_first(w, v):
    """Take the thread at the head of a vCPU's run queue (which is not empty)."""
    g = guest_vcpu(w, v)
    g.nr_queued -= 1
    return pop(w, g.run_queue)


@kjit
def busiest_sibling(w, v):
    """The sibling with most threads queued, NIL if none has any."""
    vm = guest_vm(w, guest_vcpu(w, v).vm)
    busiest = NIL
    most = 0
    for u in range(vm.first_vcpu, vm.first_vcpu + vm.nr_vcpus):
        queued = guest_vcpu(w, u).nr_queued
        if queued > most and u != v:
            busiest = u
            most = queued
    return busiest


@kjit
def pull_thread(w, v):
    """newidle balance of the guest: take one queued thread from the sibling that has most of them, or NIL."""
    busiest = busiest_sibling(w, v)
    return NIL if busiest == NIL else dequeue_first(w, busiest)


@kjit
def pick_thread(w, v):
    """Switch to the next thread of the vCPU; its current one, if any, is runnable and goes to the tail. 0: none."""
    g = guest_vcpu(w, v)
    g.need_resched = 0
    if g.current != NIL:
        if g.nr_queued == 0:
            return 1
        enqueue_thread(w, g.current, v)
        g.nivcsw += 1
        g.current = NIL
    t = NIL
    if g.nr_queued > 0:
        t = dequeue_first(w, v)
    else:
        t = pull_thread(w, v)
    if t == NIL:
        return 0
    th = guest_thread(w, t)
    th.vcpu = v
    th.state = RUNNING
    g.current = t
    g.thread_start_ns = g.user_ns + g.kernel_ns
    g.overhead_ns += guest_costs(w, 0).switch_ns
    return 1


@kjit
def block_current(w, v):
    """The current thread sleeps; what wakes it holds its id in a queue of its own."""
    g = guest_vcpu(w, v)
    guest_thread(w, g.current).state = BLOCKED
    g.current = NIL
    g.nvcsw += 1


@kjit
def looks_idle(w, v):
    """available_idle_cpu() in the guest: nothing to run there and, if steal time says so, not preempted by the host."""
    g = guest_vcpu(w, v)
    if g.current != NIL or g.nr_queued > 0:
        return False
    return g.halted == HALTED_IDLE or not vcpu_is_preempted(w, v)


@kjit
def select_vcpu(w, t):
    """Where a woken thread goes: its vCPU if that is idle, else the next idle sibling, else its vCPU all the same."""
    prev = guest_thread(w, t).vcpu
    if looks_idle(w, prev):
        return prev
    vm = guest_vm(w, guest_thread(w, t).vm)
    for i in range(1, vm.nr_vcpus):
        v = vm.first_vcpu + (prev - vm.first_vcpu + i) % vm.nr_vcpus
        if looks_idle(w, v):
            return v
    return prev


@kjit
def wake_thread(w, t, waker, by_device, now_ns):
    """try_to_wake_up() of the guest, by a thread or a device's interrupt on vCPU `waker`.

    A remote vCPU that is idle or to be preempted gets a RESCHEDULE IPI.
    """
    v = select_vcpu(w, t)
    idle = looks_idle(w, v)
    g = guest_vcpu(w, waker)
    g.wake_draws += by_device
    preempts = by_device and not idle and draw(WAKEUP_STREAM + waker, g.wake_draws) & 1
    if preempts:
        enqueue_in_front(w, t, v)
        guest_vcpu(w, v).need_resched = 1
    else:
        enqueue_thread(w, t, v)
    g.overhead_ns += guest_costs(w, 0).wake_ns
    if (idle or preempts) and v != waker:
        g.overhead_ns += unicast_cost(w, v)
        send_ipi(w, waker, v, VECTOR_RESCHEDULE, now_ns)
