"""The paravirtual qspinlock step by step (kernel/locking/qspinlock_paravirt.h): lock kind "pvqspinlock".

Three kinds of waiters. A *stealer* spins beside the queue and takes the lock as soon as it is free; it queues up if
there is no queue, or once the queue head has set the pending bit. The *queue head* sets that bit and spins; after the
threshold it clears it, enters itself in the hash of waiters, turns the lock byte into "slow" and halts. A *queued*
waiter spins for its turn and halts after the threshold, or if it sees, once in 256 turns, that the one before it has.

Releasing a slow lock kicks the queue head by hypercall; it has to compete with stealers all the same. A waiter that
becomes head while it is halted is not woken: the lock becomes slow for it, so the next release does that. A head that
the host preempted before it saw its turn has not set the bit yet and does not keep stealers away.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.timeline import event
from vcpu_env.guest.spinning import note_lock_wait, notify_spinner, start_spinning, take
from vcpu_env.guest.thread_queue import append, remove
from vcpu_env.guest.types import (
    KVM_HC_KICK_CPU,
    SEG_SPIN,
    SPIN_LOCK,
    SPIN_STEAL,
    guest_costs,
    guest_lock,
    guest_thread,
    guest_vcpu,
)
from vcpu_env.kvm.pcpu import event_slots, set_run_event

PREV_CHECK_LOOPS = 256
"""Turns of a queued waiter's loop between two looks at the waiter before it (PV_PREV_CHECK_MASK + 1)."""


@kjit
def kick_waiter(w, v, waiter_vcpu):
    """pv_kick(): vCPU `v` leaves the guest to wake a halted waiter."""
    g = guest_vcpu(w, v)
    g.hypercall = KVM_HC_KICK_CPU
    g.hypercall_target = waiter_vcpu


@kjit
def notify_stealers(w, lock, now_ns):
    """Whoever spins beside the queue looks at the lock again."""
    u = guest_lock(w, lock).stealers.head
    while u != NIL:
        notify_spinner(w, guest_thread(w, u).vcpu, now_ns)
        u = guest_thread(w, u).next


@kjit
def set_pending(w, lock, t, now_ns):
    """set_pending(): the queue head begins a round of spinning; stealers queue up when they see it."""
    guest_lock(w, lock).pending = 1
    guest_thread(w, t).spun_ns = 0
    notify_stealers(w, lock, now_ns)


@kjit
def join_queue(w, lock, t, now_ns):
    """The thread becomes the last of the queue."""
    lk, th = guest_lock(w, lock), guest_thread(w, t)
    append(w, lk.spinners, t)
    th.activity = SPIN_LOCK
    th.spun_ns = 0
    th.pv_hashed = 0
    if lk.spinners.head == t:
        set_pending(w, lock, t, now_ns)


@kjit
def pvq_acquire(w, t, lock, now_ns):
    """pv_hybrid_queued_unfair_trylock(), for a lock that is not free: spin beside the queue, or in it."""
    lk = guest_lock(w, lock)
    start_spinning(w, t, guest_thread(w, t).vcpu, SPIN_STEAL)
    if lk.spinners.head == NIL or lk.pending:
        join_queue(w, lock, t, now_ns)
    else:
        append(w, lk.stealers, t)


@kjit
def pvq_look(w, t, now_ns):
    """A waiter runs and looks at the lock. 1: it is now its own. 0: it spins on."""
    th = guest_thread(w, t)
    lock = th.wait_lock
    lk = guest_lock(w, lock)
    if th.activity == SPIN_STEAL:
        if lk.owner == NIL and lk.pending == 0:
            remove(w, lk.stealers, t)
            note_lock_wait(w, th, t, now_ns)
            take(w, lock, t)
            return 1
        if lk.spinners.head != NIL and lk.pending == 0:
            return 0
        remove(w, lk.stealers, t)
        join_queue(w, lock, t, now_ns)
    if lk.spinners.head != t:
        return 0
    if lk.pending == 0:
        set_pending(w, lock, t, now_ns)
    if lk.owner != NIL:
        return 0
    remove(w, lk.spinners, t)
    lk.pending = 0
    note_lock_wait(w, th, t, now_ns)
    take(w, lock, t)
    pv_kick_node(w, lock, now_ns)
    return 1


@kjit
def pv_kick_node(w, lock, now_ns):
    """pv_kick_node(): the queue has a new head. If it has halted, the lock's next release is to kick it."""
    lk = guest_lock(w, lock)
    if lk.spinners.head == NIL:
        return
    head = guest_thread(w, lk.spinners.head)
    if head.pv_halted:
        head.pv_hashed = 1
        lk.slow = 1
    else:
        notify_spinner(w, head.vcpu, now_ns)


@kjit
def pvq_release(w, lock, v, now_ns):
    """__pv_queued_spin_unlock(): the lock is free; a slow one has a halted head, which is kicked by vCPU `v`."""
    lk = guest_lock(w, lock)
    if lk.slow:
        lk.slow = 0
        kick_waiter(w, v, guest_thread(w, lk.spinners.head).vcpu)
    elif lk.spinners.head != NIL:
        notify_spinner(w, guest_thread(w, lk.spinners.head).vcpu, now_ns)
    if lk.pending == 0:
        notify_stealers(w, lock, now_ns)


@kjit
def waits_behind_halted(w, lk, t):
    """pv_wait_early(): whether the waiter before `t`, which is queued and not the head, has halted."""
    u = lk.spinners.head
    while guest_thread(w, u).next != t:
        u = guest_thread(w, u).next
    return guest_thread(w, u).pv_halted == 1


@kjit
def pvq_halts(w, t, now_ns):
    """pv_wait_node(), pv_wait_head_or_lock(): whether a waiter that has just looked at the lock in vain halts now.

    A head that was kicked and lost the lock to a stealer finds the lock byte no longer slow: it spins another round.
    """
    th = guest_thread(w, t)
    lk, costs = guest_lock(w, th.wait_lock), guest_costs(w)
    if lk.spinners.head != t:
        if th.spun_ns >= costs.spin_threshold_ns:
            return True
        return th.spun_ns % (PREV_CHECK_LOOPS * costs.spin_iteration_ns) == 0 and waits_behind_halted(w, lk, t)
    if th.spun_ns < costs.spin_threshold_ns:
        return False
    if th.pv_hashed == 0:
        th.pv_hashed = 1
        lk.slow = 1
    if lk.slow:
        lk.pending = 0
        return True
    set_pending(w, th.wait_lock, t, now_ns)
    return False


@kjit
def pvq_spin_ns(w, t):
    """How long a queued waiter, or the head, spins until it has something to decide itself."""
    th, costs = guest_thread(w, t), guest_costs(w)
    lk = guest_lock(w, th.wait_lock)
    left = costs.spin_threshold_ns - th.spun_ns
    if lk.spinners.head != t and waits_behind_halted(w, lk, t):
        check_ns = PREV_CHECK_LOOPS * costs.spin_iteration_ns
        left = min(left, check_ns - th.spun_ns % check_ns)
    return left


@kjit
def pv_wait(w, t, now_ns):
    """The waiter halts. The one behind it, if it is spinning, sees that at the next of its looks at this one."""
    th = guest_thread(w, t)
    th.pv_halted = 1
    if th.next == NIL:
        return
    u = guest_thread(w, th.next)
    g = guest_vcpu(w, u.vcpu)
    if g.cpu == NIL or g.segment != SEG_SPIN:
        return
    check_ns = PREV_CHECK_LOOPS * guest_costs(w).spin_iteration_ns
    spun_ns = u.spun_ns + now_ns - g.segment_start_ns
    look_ns = now_ns + check_ns - spun_ns % check_ns
    if look_ns < event(w, event_slots(w).run + g.cpu).when_ns:
        set_run_event(w, g.cpu, look_ns)


@kjit
def pvq_still_waits(w, t):
    """Whether the lock is still not to be had for this waiter."""
    th = guest_thread(w, t)
    lk = guest_lock(w, th.wait_lock)
    if lk.owner != NIL:
        return True
    return lk.pending != 0 if th.activity == SPIN_STEAL else lk.spinners.head != t
