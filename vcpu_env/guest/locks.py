"""Locks of the guest kernel and of its user space: who gets them, who spins, who sleeps.

* pvqspinlock: the paravirtual qspinlock, as of a Linux guest on KVM (`guest.pvqspinlock`).
* fifo: native qspinlock. Strictly first come, first served; the next owner may be a waiter that the host has preempted.
* tas: test-and-set, as under a hypervisor without paravirtual locks. Whoever runs and sees it free takes it.
* mutex: sleeping lock with optimistic spinning while the owner runs (as far as the guest can tell).
* futex: user-space mutex; sleeps after one try. * rwsem: as mutex, with readers.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.random import LOCK_PICK, draw_of
from vcpu_env.guest.pvqspinlock import pvq_acquire, pvq_look, pvq_release
from vcpu_env.guest.spinning import note_lock_wait, notify_spinner, start_spinning, take
from vcpu_env.guest.steal_time import vcpu_is_preempted
from vcpu_env.guest.thread_queue import append, pop, push_front, remove
from vcpu_env.guest.threads import block_current, wake_thread
from vcpu_env.guest.trace import trace_lock_release, trace_lock_wait
from vcpu_env.guest.types import (
    KVM_HC_SCHED_YIELD,
    LOCK_FUTEX,
    LOCK_MUTEX,
    LOCK_PVQ,
    LOCK_RWSEM,
    LOCK_TAS,
    RUNNING,
    SPIN_LOCK,
    SPIN_OWNER,
    STEAL_REPORTED,
    guest_costs,
    guest_lock,
    guest_thread,
    guest_vcpu,
    guest_vm,
)


@kjit
def is_free(w, lock, t):
    """May the thread have the lock at once? A pv queue head that spins has set `pending`, which forbids stealing."""
    lk = guest_lock(w, lock)
    th = guest_thread(w, t)
    if lk.owner != NIL:
        return False
    if lk.kind == LOCK_RWSEM:
        if th.shared:
            return lk.sleepers.head == NIL or th.handoff == 1
        return lk.readers == 0
    if lk.kind == LOCK_PVQ:
        return lk.pending == 0
    return True


@kjit
def owner_runs(w, lock):
    """mutex_spin_on_owner(): the owner's thread is on a vCPU that, as far as the guest can tell, is running."""
    owner = guest_lock(w, lock).owner
    if owner == NIL:
        return guest_lock(w, lock).readers == 0
    th = guest_thread(w, owner)
    if th.state != RUNNING:
        return False
    return not vcpu_is_preempted(w, th.vcpu)


@kjit
def spinner_before(w, lock, t):
    """The thread before `t`, which is not the first, in the queue of spinners."""
    u = guest_lock(w, lock).spinners.head
    while guest_thread(w, u).next != t:
        u = guest_thread(w, u).next
    return u


@kjit
def spins_on(w, lock, t):
    """Whether an optimistic spinner goes on: the first for the owner, the others (osq_lock()) for the one before them.

    Where the guest is not told what KVM reports, all of them look at the owner.
    """
    if guest_vm(w, guest_thread(w, t).vm).steal_time != STEAL_REPORTED or guest_lock(w, lock).spinners.head == t:
        return owner_runs(w, lock)
    return not vcpu_is_preempted(w, guest_thread(w, spinner_before(w, lock, t)).vcpu)


@kjit
def osq_unlock(w, lock, t, now_ns):
    """Thread `t` has left the front of the queue of spinners: the next one looks at the owner from now on."""
    first = guest_lock(w, lock).spinners.head
    if first != NIL and guest_vm(w, guest_thread(w, t).vm).steal_time == STEAL_REPORTED:
        notify_spinner(w, guest_thread(w, first).vcpu, now_ns)


@kjit
def acquire(w, t, lock, shared, now_ns):
    """Try to take a spinning lock or begin to wait for it. 1: taken. 0: the thread spins. -1: it has to sleep."""
    th = guest_thread(w, t)
    lk = guest_lock(w, lock)
    th.shared = shared
    th.wait_lock = lock
    in_turn = lk.spinners.head == NIL
    if is_free(w, lock, t) and (in_turn or lk.kind == LOCK_TAS or lk.kind == LOCK_PVQ):
        take(w, lock, t)
        return 1
    th.wait_start_ns = now_ns
    trace_lock_wait(w, t, lock, now_ns)
    if lk.kind == LOCK_FUTEX:
        return -1
    if lk.kind >= LOCK_MUTEX:
        if shared or th.gave_up or not owner_runs(w, lock):
            return -1
        append(w, lk.spinners, t)
        start_spinning(w, t, th.vcpu, SPIN_OWNER)
        return 0
    if lk.kind == LOCK_PVQ:
        pvq_acquire(w, t, lock, now_ns)
        return 0
    append(w, lk.spinners, t)
    start_spinning(w, t, th.vcpu, SPIN_LOCK)
    return 0


@kjit
def sleep_on(w, t, lock, now_ns):
    """The thread gives its vCPU up until the lock is released. One that was woken in vain goes to the front."""
    lk = guest_lock(w, lock)
    th = guest_thread(w, t)
    if th.handoff:
        push_front(w, lk.sleepers, t)
    else:
        append(w, lk.sleepers, t)
    th.gave_up = 0
    block_current(w, th.vcpu, now_ns)


@kjit
def try_spinner(w, t, now_ns):
    """A spinning waiter runs and looks at the lock. 1: it is now its own. 0: spin on. -1: stop spinning and sleep."""
    th = guest_thread(w, t)
    lock = th.wait_lock
    lk = guest_lock(w, lock)
    if lk.kind == LOCK_PVQ:
        return pvq_look(w, t, now_ns)
    if th.granted == 0:
        ready = is_free(w, lock, t) and (lk.kind == LOCK_TAS or lk.spinners.head == t)
        if not ready:
            if th.activity == SPIN_OWNER and not spins_on(w, lock, t):
                remove(w, lk.spinners, t)
                osq_unlock(w, lock, t, now_ns)
                th.gave_up = guest_vm(w, th.vm).steal_time == STEAL_REPORTED
                return -1
            return 0
        remove(w, lk.spinners, t)
    note_lock_wait(w, th, t, now_ns)
    take(w, lock, t)
    return 1


@kjit
def yields_to_holder(w, t):
    """spinlock.c of s390: arch_spin_lock_wait(). Once in `spin_retry` turns of its loop a waiter looks at the holder.

    1: the holder is known to have no CPU, and the vCPU leaves the guest to yield to it.
    """
    th = guest_thread(w, t)
    if th.activity != SPIN_LOCK or th.spun_ns < th.yield_spun_ns:
        return False
    th.yield_spun_ns = th.spun_ns + guest_costs(w).spin_retry_ns
    owner = guest_lock(w, th.wait_lock).owner
    if owner == NIL or not vcpu_is_preempted(w, guest_thread(w, owner).vcpu):
        return False
    g = guest_vcpu(w, th.vcpu)
    g.hypercall = KVM_HC_SCHED_YIELD
    g.hypercall_target = guest_thread(w, owner).vcpu
    return True


@kjit
def grant(w, lock, t, now_ns):
    """Hand the lock to a waiter that spins; it notices when it runs."""
    lk = guest_lock(w, lock)
    remove(w, lk.spinners, t)
    th = guest_thread(w, t)
    th.granted = 1
    lk.owner = t
    notify_spinner(w, th.vcpu, now_ns)
    if lk.kind >= LOCK_MUTEX:
        osq_unlock(w, lock, t, now_ns)


@kjit
def running_spinner(w, lock):
    """One of the waiters that are spinning in guest mode right now, each with equal chance, or NIL."""
    lk = guest_lock(w, lock)
    count = 0
    t = lk.spinners.head
    while t != NIL:
        count += guest_vcpu(w, guest_thread(w, t).vcpu).cpu != NIL
        t = guest_thread(w, t).next
    if count == 0:
        return NIL
    lk.draws += 1
    pick = (draw_of(w, LOCK_PICK, lock, lk.draws) * count) >> 32
    t = lk.spinners.head
    while True:
        if guest_vcpu(w, guest_thread(w, t).vcpu).cpu != NIL:
            if pick == 0:
                return t
            pick -= 1
        t = guest_thread(w, t).next


@kjit
def release(w, t, now_ns):
    """Release the lock that the thread took last."""
    th = guest_thread(w, t)
    th.nr_held -= 1
    lock = th.held[th.nr_held]
    lk = guest_lock(w, lock)
    trace_lock_release(w, t, lock, now_ns)
    if th.held_shared[th.nr_held]:
        lk.readers -= 1
        if lk.readers > 0:
            return
    else:
        lk.owner = NIL
    if lk.kind >= LOCK_MUTEX:
        release_sleeping(w, lock, t, now_ns)
        return
    if lk.kind == LOCK_PVQ:
        pvq_release(w, lock, th.vcpu, now_ns)
        return
    if lk.spinners.head == NIL:
        return
    if lk.kind == LOCK_TAS:
        winner = running_spinner(w, lock)
        if winner != NIL:
            grant(w, lock, winner, now_ns)
        return
    grant(w, lock, lk.spinners.head, now_ns)


@kjit
def release_sleeping(w, lock, t, now_ns):
    """Unlock a mutex, futex or rwsem: a spinner has it at once; else the first sleeper is woken and tries again."""
    lk = guest_lock(w, lock)
    waker = guest_thread(w, t).vcpu
    first = lk.sleepers.head
    if lk.spinners.head != NIL and (first == NIL or guest_thread(w, first).handoff == 0) and lk.readers == 0:
        grant(w, lock, lk.spinners.head, now_ns)
        return
    while lk.sleepers.head != NIL:
        u = pop(w, lk.sleepers)
        th = guest_thread(w, u)
        if th.handoff and not th.shared:
            th.granted = 1
            lk.owner = u
        th.handoff = 1
        wake_thread(w, u, waker, now_ns)
        if lk.sleepers.head == NIL or not (th.shared and guest_thread(w, lk.sleepers.head).shared):
            return


@kjit
def notify_owner_spinners(w, t, now_ns):
    """The thread loses its vCPU: whoever spins only because it runs has to look again."""
    th = guest_thread(w, t)
    for i in range(th.nr_held):
        lk = guest_lock(w, th.held[i])
        if lk.kind >= LOCK_MUTEX:
            u = lk.spinners.head
            while u != NIL:
                notify_spinner(w, guest_thread(w, u).vcpu, now_ns)
                u = guest_thread(w, u).next


@kjit
def notify_preempted(w, t, now_ns):
    """The host takes the CPU from the thread's vCPU and reports it: whoever polls for that looks again."""
    notify_owner_spinners(w, t, now_ns)
    th = guest_thread(w, t)
    if th.activity == SPIN_OWNER and th.granted == 0 and th.next != NIL:
        notify_spinner(w, guest_thread(w, th.next).vcpu, now_ns)
