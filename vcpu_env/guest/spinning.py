"""What all lock kinds share: how a spin begins, the notice that ends it, and taking a lock."""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.log2 import log2_bin
from vcpu_env.base.random import VCPU_NOTICE, draw_of
from vcpu_env.base.timeline import event
from vcpu_env.guest.trace import trace_lock_take
from vcpu_env.guest.types import (
    COMPUTE,
    SEG_SPIN,
    guest_costs,
    guest_lock,
    guest_thread,
    guest_vcpu,
    guest_vm,
)
from vcpu_env.kvm.pcpu import event_slots, set_run_event


@kjit
def notify_spinner(w, v, now_ns):
    """What the vCPU spins for has changed: if it is in guest mode it notices after a cache-line transfer."""
    g = guest_vcpu(w, v)
    if g.cpu == NIL or g.segment != SEG_SPIN:
        return
    costs = guest_costs(w)
    g.notice_draws += 1
    iteration = (draw_of(w, VCPU_NOTICE, v, g.notice_draws) * costs.spin_iteration_ns) >> 32
    when = now_ns + costs.notice_ns + iteration
    if when < event(w, event_slots(w).run + g.cpu).when_ns:
        set_run_event(w, g.cpu, when)


@kjit
def start_spinning(w, t, v, activity):
    """Begin a spin episode of the vCPU's current thread."""
    g = guest_vcpu(w, v)
    th = guest_thread(w, t)
    th.activity = activity
    th.in_kernel = 1
    th.spun_ns = 0
    th.yield_spun_ns = guest_costs(w).spin_retry_ns
    g.lock_spins += 1


@kjit
def note_lock_wait(w, th, t, now_ns):
    """Book how long a thread (`t`, its struct `th`) has waited for the lock that it takes now."""
    waited_ns = now_ns - th.wait_start_ns
    guest_vcpu(w, th.vcpu).lock_wait_ns += waited_ns
    guest_vm(w, th.vm).lock_wait_log2[log2_bin(waited_ns)] += 1
    trace_lock_take(w, t, th.wait_lock, waited_ns, now_ns)


@kjit
def take(w, lock, t):
    """The lock is the thread's from now on."""
    lk = guest_lock(w, lock)
    th = guest_thread(w, t)
    if th.shared:
        lk.readers += 1
    else:
        lk.owner = t
    lk.acquisitions += 1
    th.held[th.nr_held] = lock
    th.held_shared[th.nr_held] = th.shared
    th.nr_held += 1
    th.activity = COMPUTE
    th.granted = 0
    th.handoff = 0
    th.gave_up = 0
    th.wait_lock = NIL
