"""Lists of guest threads linked by ``guest_thread.next``: run queues, and who waits for a lock, an item or room.

A thread is on one list at most. Arguments ``q`` are `types.THREAD_QUEUE` fields of other structs.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.guest.types import guest_thread


@kjit
def append(w, q, t):
    """Put a thread at the tail."""
    guest_thread(w, t).next = NIL
    if q.tail == NIL:
        q.head = t
    else:
        guest_thread(w, q.tail).next = t
    q.tail = t


@kjit
def push_front(w, q, t):
    """Put a thread at the head."""
    guest_thread(w, t).next = q.head
    q.head = t
    if q.tail == NIL:
        q.tail = t


@kjit
def pop(w, q):
    """Take the thread at the head off the list (which is not empty)."""
    t = q.head
    q.head = guest_thread(w, t).next
    if q.head == NIL:
        q.tail = NIL
    guest_thread(w, t).next = NIL
    return t


@kjit
def remove(w, q, t):
    """Take a thread off the list, wherever it stands."""
    previous = NIL
    u = q.head
    while u != t:
        previous = u
        u = guest_thread(w, u).next
    following = guest_thread(w, t).next
    if previous == NIL:
        q.head = following
    else:
        guest_thread(w, previous).next = following
    if q.tail == t:
        q.tail = previous
    guest_thread(w, t).next = NIL
