"""Periodic load balancing of the guest: sched_balance_trigger() and sched_balance_domains(), as far as queues go.

A busy vCPU looks every `busy_balance_ns`, at a tick, for a sibling that has at least two threads more than itself, and
pulls one. An idle one has no tick (NOHZ): it pulls when it becomes idle (`guest.threads`).
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.guest.eevdf import migrate_thread
from vcpu_env.guest.threads import busiest_sibling
from vcpu_env.guest.types import guest_vcpu, guest_vm

BUSY_FACTOR = 16
MSEC = 1_000_000


def busy_balance_ns(vcpus: int) -> int:
    """Time between two balances of a busy vCPU: a millisecond for each vCPU, times 16 (sd->busy_factor)."""
    return BUSY_FACTOR * vcpus * MSEC


@kjit
def periodic_balance(w, v, now_ns):
    """At a tick: pull a thread if it is time and the imbalance is worth it."""
    g = guest_vcpu(w, v)
    if now_ns < g.next_balance_ns:
        return
    g.next_balance_ns = now_ns + guest_vm(w, g.vm).balance_ns
    busiest = busiest_sibling(w, v)
    if busiest != NIL and guest_vcpu(w, busiest).nr_queued >= g.nr_queued + 2:
        migrate_thread(w, guest_vcpu(w, busiest).run_queue.head, busiest, v)
