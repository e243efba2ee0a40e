"""Bounded queues and barriers between guest threads: who waits sleeps, who makes progress possible wakes."""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.guest.thread_queue import append, pop
from vcpu_env.guest.threads import block_current, wake_thread
from vcpu_env.guest.types import guest_queue, guest_thread


@kjit
def put_items(w, t, q, items, now_ns):
    """Add items. 1: done. 0: the queue is full and the thread sleeps until there is room, then tries again."""
    qu = guest_queue(w, q)
    v = guest_thread(w, t).vcpu
    if qu.items + items > qu.capacity:
        guest_thread(w, t).want = items
        append(w, qu.producers, t)
        block_current(w, v, now_ns)
        return 0
    qu.items += items
    if qu.consumers.head != NIL and qu.items >= guest_thread(w, qu.consumers.head).want:
        wake_thread(w, pop(w, qu.consumers), v, now_ns)
    return 1


@kjit
def get_items(w, t, q, items, now_ns):
    """Remove items. 1: done. 0: there are too few and the thread sleeps until some come, then tries again.

    A producer that found the queue full goes on when it is half empty.
    """
    qu = guest_queue(w, q)
    v = guest_thread(w, t).vcpu
    if qu.items < items:
        guest_thread(w, t).want = items
        append(w, qu.consumers, t)
        block_current(w, v, now_ns)
        return 0
    qu.items -= items
    if qu.producers.head != NIL and qu.items <= qu.capacity >> 1:
        wake_thread(w, pop(w, qu.producers), v, now_ns)
    if qu.consumers.head != NIL and qu.items >= guest_thread(w, qu.consumers.head).want:
        wake_thread(w, pop(w, qu.consumers), v, now_ns)
    return 1


@kjit
def meet(w, t, q, now_ns):
    """Arrive at a barrier. 1: the last one, who wakes the others. 0: the thread sleeps; it goes on when woken."""
    qu = guest_queue(w, q)
    th = guest_thread(w, t)
    qu.items += 1
    if qu.items < qu.capacity:
        th.stage = 1
        append(w, qu.consumers, t)
        block_current(w, th.vcpu, now_ns)
        return 0
    qu.items = 0
    while qu.consumers.head != NIL:
        wake_thread(w, pop(w, qu.consumers), th.vcpu, now_ns)
    return 1
