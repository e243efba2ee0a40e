"""The steal governor: a guest that loses much CPU time keeps to fewer of its vCPUs (accepted for Linux 7.4).

Once in an interval the guest looks at the steal time of all its vCPUs. Above the high threshold it gives up a vCPU, the
highest; at or below the low one it takes one back. Threads wake on *preferred* vCPUs only, and no other pulls any; one
that runs on another is pushed from there at the tick. At least one vCPU is preferred always.

What the driver leaves to the scheduler is done simply here: a thread that has to leave goes to the lowest idle
preferred vCPU, or to the preferred one with the fewest threads. A guest's core is a vCPU.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.guest.eevdf import migrate_thread, nr_runnable, put_prev_thread, update_curr
from vcpu_env.guest.threads import is_preferred, looks_idle
from vcpu_env.guest.types import guest_costs, guest_vcpu, guest_vm
from vcpu_env.kvm.lapic import VECTOR_RESCHEDULE, send_ipi

WHOLE_BP = 10_000
"""Ratios are in hundredths of a per cent."""


@kjit
def govern(w, vm_id, now_ns):
    """Look at the steal time since the last interval, if one has passed, and give up a vCPU or take one back."""
    vm = guest_vm(w, vm_id)
    if now_ns < vm.governor_next_ns:
        return
    steal_ns = 0
    for v in range(vm.first_vcpu, vm.first_vcpu + vm.nr_vcpus):
        steal_ns += guest_vcpu(w, v).steal_ns
    past_ns = now_ns - vm.governor_last_ns
    ratio_bp = (steal_ns - vm.governor_steal_ns) * WHOLE_BP // (past_ns * vm.nr_vcpus) if past_ns > 0 else 0
    if vm.governor_last_ns == 0:
        pass  # nothing to compare with yet
    elif ratio_bp > vm.governor_high_bp:
        vm.nr_preferred = max(vm.nr_preferred - 1, 1)
    elif ratio_bp <= vm.governor_low_bp:
        vm.nr_preferred = min(vm.nr_preferred + 1, vm.nr_vcpus)
    vm.governor_steal_ns, vm.governor_last_ns = steal_ns, now_ns
    vm.governor_next_ns = now_ns + vm.governor_interval_ns


@kjit
def refuge(w, v):
    """The preferred vCPU that a thread goes to that has to leave `v`."""
    vm = guest_vm(w, guest_vcpu(w, v).vm)
    best = vm.first_vcpu
    for u in range(vm.first_vcpu, vm.first_vcpu + vm.nr_preferred):
        if looks_idle(w, u):
            return u
        if nr_runnable(w, u) < nr_runnable(w, best):
            best = u
    return best


@kjit
def send_away(w, v, t, now_ns):
    """A thread that waits on `v` moves to a preferred vCPU, which is told if it idles."""
    target = refuge(w, v)
    idle = looks_idle(w, target)
    if guest_vcpu(w, target).current != NIL:
        update_curr(w, target, now_ns)
    migrate_thread(w, t, v, target)
    guest_vcpu(w, v).overhead_ns += guest_costs(w).switch_ns
    if idle:
        send_ipi(w, v, target, VECTOR_RESCHEDULE, now_ns)


@kjit
def evacuate(w, v, now_ns):
    """The stopper of a vCPU that is not preferred: everything that is runnable there leaves.

    Called where the guest would schedule anyway, its current thread having been charged.
    """
    g = guest_vcpu(w, v)
    if g.current != NIL:
        put_prev_thread(w, v)
        g.nivcsw += 1
    while g.run_queue.head != NIL:
        send_away(w, v, g.run_queue.head, now_ns)


@kjit
def governor_tick(w, v, now_ns):
    """The tick's part: the interval; a vCPU that is not preferred is to be left."""
    g = guest_vcpu(w, v)
    govern(w, g.vm, now_ns)
    if g.current != NIL and not is_preferred(w, v):
        g.need_resched = 1
