"""Bounded queues and barriers between guest threads: who waits sleeps, who makes progress possible wakes."""

from vcpu_env._jit import NIL, kjit
from vcpu_env.guest.threads import block_current, wake_thread
from vcpu_env.guest.types import guest_queue, guest_thread


@kjit
def append_consumer(w, q, t):
    """Let the thread wait for an item (or for the others at a barrier)."""
    qu = guest_queue(w, q)
    guest_thread(w, t).next = NIL
    if qu.tail == NIL:
        qu.head = t
    else:
        guest_thread(w, qu.tail).next = t
    qu.tail = t


@kjit
def pop_consumer(w, q):
    """The first thread that waits for an item."""
    qu = guest_queue(w, q)
    t = qu.head
    qu.head = guest_thread(w, t).next
    if qu.head == NIL:
        qu.tail = NIL
    return t


@kjit
def append_producer(w, q, t):
    """Let the thread wait for room."""
    qu = guest_queue(w, q)
    guest_thread(w, t).next = NIL
    if qu.full_tail == NIL:
        qu.full_head = t
    else:
        guest_thread(w, qu.full_tail).next = t
    qu.full_tail = t


@kjit
def pop_producer(w, q):
    """The first thread that waits for room."""
    qu = guest_queue(w, q)
    t = qu.full_head
    qu.full_head = guest_thread(w, t).next
    if qu.full_head == NIL:
        qu.full_tail = NIL
    return t


@kjit
def put_items(w, t, q, items, now_ns):
    """Add items. 1: done. 0: the queue is full and the thread sleeps until there is room, then tries again."""
    qu = guest_queue(w, q)
    v = guest_thread(w, t).vcpu
    if qu.items + items > qu.capacity:
        guest_thread(w, t).want = items
        append_producer(w, q, t)
        block_current(w, v)
        return 0
    qu.items += items
    if qu.head != NIL and qu.items >= guest_thread(w, qu.head).want:
        wake_thread(w, pop_consumer(w, q), v, 0, now_ns)
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
        append_consumer(w, q, t)
        block_current(w, v)
        return 0
    qu.items -= items
    if qu.full_head != NIL and qu.items <= qu.capacity >> 1:
        wake_thread(w, pop_producer(w, q), v, 0, now_ns)
    if qu.head != NIL and qu.items >= guest_thread(w, qu.head).want:
        wake_thread(w, pop_consumer(w, q), v, 0, now_ns)
    return 1


@kjit
def meet(w, t, q, now_ns):
    """Arrive at a barrier. 1: the last one, who wakes the others. 0: the thread sleeps; it goes on when woken."""
    qu = guest_queue(w, q)
    th = guest_thread(w, t)
    qu.items += 1
    if qu.items < qu.capacity:
        th.stage = 1
        append_consumer(w, q, t)
        block_current(w, th.vcpu)
        return 0
    qu.items = 0
    while qu.head != NIL:
        wake_thread(w, pop_consumer(w, q), th.vcpu, 0, now_ns)
    return 1
