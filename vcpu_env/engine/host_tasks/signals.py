"""What host tasks wait for: signals (a pipe, an eventfd, a condition variable), barriers and mutexes."""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.engine.host_tasks.program import SIGNAL_ALL, SIGNAL_KEPT, SIGNAL_SYNC
from vcpu_env.engine.host_tasks.types import STAGE_CALLED, STAGE_WOKEN, host_signal, host_task
from vcpu_env.kernel.entry_points import try_to_wake_up
from vcpu_env.kernel.types import WF_SYNC
from vcpu_env.kvm.pcpu import event_slots


@kjit
def wait_for(w, h, s):
    """A task joins those that wait."""
    signal = host_signal(w, s)
    host_task(w, h).next = NIL
    if signal.head == NIL:
        signal.head = h
    else:
        host_task(w, signal.tail).next = h
    signal.tail = h


@kjit
def wake_first(w, cpu, s, wake_flags):
    """Wake the task that has waited longest; one that is still on its way to sleep turns round."""
    signal = host_signal(w, s)
    h = signal.head
    ht = host_task(w, h)
    signal.head = ht.next
    if ht.stage == STAGE_CALLED:
        ht.stage = STAGE_WOKEN
        return
    ht.wakeups += 1
    try_to_wake_up(w, event_slots(w).nr_vcpus + h, cpu, wake_flags)


@kjit
def begin_wait(w, cpu, h, s, mutex):
    """Take a signal that was kept; without one the task joins those that wait, and sleeps if none comes meanwhile.

    `mutex`, 0 for none, is one more than that of the mutex which is let go then, as pthread_cond_wait() does.
    """
    signal = host_signal(w, s)
    if signal.count > 0:
        signal.count -= 1
        host_task(w, h).stage = STAGE_WOKEN
    else:
        wait_for(w, h, s)
    if mutex > 0:
        unlock(w, cpu, mutex - 1)


@kjit
def send_signal(w, cpu, s, how):
    """Wake one that waits, or all, from `cpu`, whose clock is current; with nobody there it is kept or lost."""
    signal = host_signal(w, s)
    flags = WF_SYNC if how & SIGNAL_SYNC else 0
    if signal.head == NIL:
        if how & SIGNAL_KEPT:
            signal.count += 1
        return
    wake_first(w, cpu, s, flags)
    while how & SIGNAL_ALL and signal.head != NIL:
        wake_first(w, cpu, s, flags)


@kjit
def try_lock(w, s):
    """Take a mutex if it is free: a compare-and-swap in user mode."""
    mutex = host_signal(w, s)
    if mutex.count:
        return False
    mutex.count = 1
    return True


@kjit
def unlock(w, cpu, s):
    """Let a mutex go and wake the first that waits, which tries again: a running task may be faster."""
    host_signal(w, s).count = 0
    if host_signal(w, s).head != NIL:
        wake_first(w, cpu, s, 0)


@kjit
def wait_at_barrier(w, cpu, h, s):
    """The last of a barrier's parties wakes the others; whether the task is the last."""
    signal = host_signal(w, s)
    signal.count += 1
    if signal.count < signal.parties:
        wait_for(w, h, s)
        return False
    signal.count = 0
    while signal.head != NIL:
        wake_first(w, cpu, s, 0)
    return True
