"""What a guest does, as records of `base.trace_ring`: pieces of guest time, threads that wake, contended locks.

Of locks only what somebody waits for is written: a free lock that is taken at once leaves no record.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.trace_ring import (
    GUEST,
    GUEST_SEGMENT,
    GUEST_WAKING,
    LOCK,
    LOCK_RELEASE,
    LOCK_TAKE,
    LOCK_WAIT,
    record,
    traced,
)
from vcpu_env.guest.types import SEG_COMPUTE, SEG_IRQ, SEG_SPIN, guest_lock, guest_thread, guest_vcpu


@kjit
def trace_segment(w, v, now_ns):
    """A segment begins; the one before it has ended, at the latest now."""
    if traced(w, GUEST):
        g = guest_vcpu(w, v)
        on, how = NIL, 0
        if g.segment == SEG_IRQ:
            on = g.irq
        elif g.current != NIL:
            th = guest_thread(w, g.current)
            if g.segment == SEG_SPIN:
                on, how = th.wait_lock, th.activity
            elif g.segment == SEG_COMPUTE:
                how = th.in_kernel
        record(w, now_ns, GUEST_SEGMENT, g.cpu, v, g.segment, g.current, on, how)


@kjit
def trace_guest_waking(w, t, v, waker, ipi, now_ns):
    """A thread becomes runnable on vCPU `v`, woken on vCPU `waker`."""
    if traced(w, GUEST):
        record(w, now_ns, GUEST_WAKING, guest_vcpu(w, waker).cpu, t, v, waker, guest_vcpu(w, waker).current, ipi)


@kjit
def trace_lock_wait(w, t, lock, now_ns):
    """A thread finds a lock taken and begins to wait."""
    if traced(w, LOCK):
        v = guest_thread(w, t).vcpu
        lk = guest_lock(w, lock)
        record(w, now_ns, LOCK_WAIT, guest_vcpu(w, v).cpu, t, lock, lk.owner, lk.kind, v)


@kjit
def trace_lock_take(w, t, lock, waited_ns, now_ns):
    """A thread that has waited has the lock."""
    if traced(w, LOCK):
        v = guest_thread(w, t).vcpu
        record(w, now_ns, LOCK_TAKE, guest_vcpu(w, v).cpu, t, lock, waited_ns, 0, v)


@kjit
def trace_lock_release(w, t, lock, now_ns):
    """A lock is released, and somebody waits for it."""
    if traced(w, LOCK):
        lk, v = guest_lock(w, lock), guest_thread(w, t).vcpu
        if lk.spinners.head != NIL or lk.sleepers.head != NIL or lk.stealers.head != NIL:
            record(w, now_ns, LOCK_RELEASE, guest_vcpu(w, v).cpu, t, lock, 0, 0, v)
