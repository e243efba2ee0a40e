"""Guest threads and the run queue of each vCPU: who runs next, blocking, waking, pulling work to an idle vCPU.

Who runs on a vCPU is its fair class's choice (`guest.eevdf`). A sleeper is put back on its vCPU, or on an idle one. A
vCPU that the host has preempted still looks busy or idle as the guest last saw it.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.guest.eevdf import (
    is_delayed,
    migrate_thread,
    pick_eevdf,
    place_sleeper,
    put_prev_sleeper,
    put_prev_thread,
    set_next_thread,
    update_curr,
)
from vcpu_env.guest.multicast import unicast_cost
from vcpu_env.guest.steal_time import vcpu_is_preempted
from vcpu_env.guest.trace import trace_guest_waking
from vcpu_env.guest.types import (
    BLOCKED,
    HALTED_IDLE,
    guest_costs,
    guest_thread,
    guest_vcpu,
    guest_vm,
)
from vcpu_env.kvm.lapic import VECTOR_RESCHEDULE, send_ipi


@kjit
def is_preferred(w, v):
    """Whether a vCPU is one that the guest's threads should use; without a steal governor all are."""
    vm = guest_vm(w, guest_vcpu(w, v).vm)
    return v - vm.first_vcpu < vm.nr_preferred


@kjit
def busiest_sibling(w, v):
    """The sibling with most threads queued, NIL if none has any."""
    vm = guest_vm(w, guest_vcpu(w, v).vm)
    busiest = NIL
    most = 0
    for u in range(vm.first_vcpu, vm.first_vcpu + vm.nr_vcpus):
        queued = guest_vcpu(w, u).nr_queued
        if queued > most and u != v:
            busiest = u
            most = queued
    return busiest


@kjit
def pull_thread(w, v):
    """newidle balance of the guest: move one queued thread here from the sibling that has most of them."""
    busiest = busiest_sibling(w, v) if is_preferred(w, v) else NIL
    if busiest != NIL:
        migrate_thread(w, guest_vcpu(w, busiest).run_queue.head, busiest, v)


@kjit
def run_kernel_thread(w, v):
    """A kernel thread of the vCPU that was woken takes it for its little work: always behind V, it preempts."""
    g, costs = guest_vcpu(w, v), guest_costs(w)
    g.kernel_thread_woken = 0
    g.nivcsw += g.current != NIL
    g.overhead_ns += 2 * costs.switch_ns + costs.kernel_thread_ns


@kjit
def pick_thread(w, v, now_ns):
    """__schedule() of the guest: switch to the thread that its fair class picks, maybe a sibling's. 0: none."""
    g = guest_vcpu(w, v)
    g.need_resched = 0
    if g.kernel_thread_woken:
        run_kernel_thread(w, v)
    if g.current != NIL:
        update_curr(w, v, now_ns)
    elif g.nr_queued == 0:
        pull_thread(w, v)
    t = pick_eevdf(w, v)
    if t == NIL:
        return 0
    if t == g.current:
        return 1
    if g.current != NIL:
        put_prev_thread(w, v)
        g.nivcsw += 1
    set_next_thread(w, v, t)
    g.overhead_ns += guest_costs(w).switch_ns
    return 1


@kjit
def block_current(w, v, now_ns):
    """The current thread sleeps; what wakes it holds its id in a queue of its own."""
    g = guest_vcpu(w, v)
    guest_thread(w, g.current).state = BLOCKED
    put_prev_sleeper(w, v, now_ns)
    g.nvcsw += 1


@kjit
def looks_idle(w, v):
    """available_idle_cpu() in the guest: nothing to run there and, if steal time says so, not preempted by the host."""
    g = guest_vcpu(w, v)
    if g.current != NIL or g.nr_queued > 0:
        return False
    return g.halted == HALTED_IDLE or not vcpu_is_preempted(w, v)


@kjit
def select_vcpu(w, t):
    """Where a woken thread goes: its vCPU if that is idle, else the next idle sibling, else its vCPU all the same.

    One whose dequeue would still be delayed has never left its vCPU. Of vCPUs only preferred ones count; one whose own
    is none goes to the lowest idle one, else to a preferred one by its number.
    """
    th = guest_thread(w, t)
    prev, vm = th.vcpu, guest_vm(w, th.vm)
    wanted = is_preferred(w, prev)
    if (wanted and looks_idle(w, prev)) or is_delayed(w, t):
        return prev
    first = prev - vm.first_vcpu + 1 if wanted else 0
    for i in range(vm.nr_vcpus - 1):
        v = vm.first_vcpu + (first + i) % vm.nr_vcpus
        if looks_idle(w, v) and is_preferred(w, v):
            return v
    return prev if wanted else vm.first_vcpu + th.index % vm.nr_preferred


@kjit
def wake_thread(w, t, waker, now_ns):
    """try_to_wake_up() of the guest, by a thread or a device's interrupt on vCPU `waker`.

    A remote vCPU that is idle or to be preempted gets a RESCHEDULE IPI.
    """
    v = select_vcpu(w, t)
    idle = looks_idle(w, v)
    g, target = guest_vcpu(w, waker), guest_vcpu(w, v)
    if target.current != NIL:
        update_curr(w, v, now_ns)
    place_sleeper(w, v, t)
    preempts = target.current != NIL and target.need_resched == 0 and pick_eevdf(w, v) == t
    if preempts:
        target.need_resched = 1
    g.overhead_ns += guest_costs(w).wake_ns
    interrupts = (idle or preempts) and v != waker
    trace_guest_waking(w, t, v, waker, interrupts, now_ns)
    if interrupts:
        g.overhead_ns += unicast_cost(w, v)
        send_ipi(w, waker, v, VECTOR_RESCHEDULE, now_ns)
