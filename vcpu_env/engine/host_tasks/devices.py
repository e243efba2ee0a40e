"""Device requests that a host thread (vhost worker, I/O thread) serves: they end when it has spent its time on them."""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.timeline import NEVER, set_event
from vcpu_env.engine.host_tasks.program import SIGNAL_KEPT
from vcpu_env.engine.host_tasks.signals import send_signal
from vcpu_env.engine.host_tasks.types import host_signal
from vcpu_env.guest.run import device_done
from vcpu_env.guest.thread_queue import append, pop
from vcpu_env.guest.types import guest_thread, guest_vcpu
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.types import task_struct
from vcpu_env.kvm.lapic import VECTOR_IO, accept_interrupt
from vcpu_env.kvm.pcpu import event_slots


@kjit
def device_event(w, t, now_ns):
    """The device that guest thread `t` waits for is done: the guest is told by it, or by the thread that serves it."""
    slots = event_slots(w)
    if slots.vm == slots.task or host_signal(w, guest_thread(w, t).vm).server == NIL:
        device_done(w, t, now_ns)
        return
    set_event(w, slots.io + t, NEVER)
    append(w, host_signal(w, guest_thread(w, t).vm).requests, t)
    cpu = task_struct(w, slots.nr_vcpus + host_signal(w, guest_thread(w, t).vm).server).cpu
    update_rq_clock(w, cpu, now_ns)
    send_signal(w, cpu, guest_thread(w, t).vm, SIGNAL_KEPT)


@kjit
def request_served(w, cpu, vm_id, now_ns):
    """irqfd: the server injects the interrupt for the request that came first."""
    t = pop(w, host_signal(w, vm_id).requests)
    th = guest_thread(w, t)
    g = guest_vcpu(w, th.vcpu)
    th.next = g.io_head
    g.io_head = t
    accept_interrupt(w, th.vcpu, VECTOR_IO, 0, cpu, now_ns)
