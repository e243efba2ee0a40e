"""Synchronous cross-calls (TLB shootdowns): smp_call_function_many() and its interrupt.

The caller sends one IPI to each target and spins with guest preemption off and interrupts on, in CPU order, until all
have answered. Targets are the siblings that have a thread to run; an idle one has switched its page tables lazily.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.guest.multicast import bit, is_unicast
from vcpu_env.guest.spinning import notify_spinner, start_spinning
from vcpu_env.guest.types import COMPUTE, SPIN_CALL, guest_thread, guest_vcpu, guest_vm
from vcpu_env.kvm.lapic import VECTOR_CALL, deliver_ipi, send_ipi


@kjit
def choose_targets(w, v, wanted, first):
    """Whom to call: siblings that run a thread, from the `first`-th after `v` on, `wanted` at most (0: all)."""
    g = guest_vcpu(w, v)
    vm = guest_vm(w, g.vm)
    g.csd_mask = 0
    targets = 0
    others = vm.nr_vcpus - 1
    for step in range(others):
        i = (g.index + 1 + (first + step) % others) % vm.nr_vcpus
        if guest_vcpu(w, vm.first_vcpu + i).current != NIL:
            g.csd_mask |= bit(i)
            targets += 1
            if targets == wanted:
                return targets
    return targets


@kjit
def start_call(w, t, now_ns):
    """smp_call_function_many(): the IPIs to the chosen targets are out, the thread spins.

    Returns the targets that got one; the others had an unserved call already.
    """
    th = guest_thread(w, t)
    v = th.vcpu
    g = guest_vcpu(w, v)
    vm = guest_vm(w, th.vm)
    g.calls += 1
    g.call_start_ns = now_ns
    sent = 0
    for i in range(vm.nr_vcpus):
        if g.csd_mask >> i & 1:
            target = guest_vcpu(w, vm.first_vcpu + i)
            queued = target.call_mask
            target.call_mask |= bit(g.index)
            if queued != 0:
                continue
            sent |= bit(i)
            if is_unicast(w, th.vm, g.csd_mask, i):
                send_ipi(w, v, vm.first_vcpu + i, VECTOR_CALL, now_ns)
            else:
                deliver_ipi(w, v, vm.first_vcpu + i, VECTOR_CALL, now_ns)
    start_spinning(w, t, v, SPIN_CALL)
    return sent


@kjit
def answer_calls(w, v, now_ns):
    """The CALL interrupt's work is done: every caller that waited for this vCPU waits for one less."""
    g = guest_vcpu(w, v)
    vm = guest_vm(w, g.vm)
    callers = g.call_mask
    g.call_mask = 0
    i = 0
    while callers != 0:
        if callers & 1:
            caller = guest_vcpu(w, vm.first_vcpu + i)
            caller.csd_mask &= ~bit(g.index)
            if caller.csd_mask == 0:
                notify_spinner(w, vm.first_vcpu + i, now_ns)
        callers = (callers >> 1) & 0x7FFFFFFFFFFFFFFF
        i += 1


@kjit
def call_finished(w, t, now_ns):
    """csd_lock_wait(): have all targets answered? Then the caller goes on."""
    th = guest_thread(w, t)
    g = guest_vcpu(w, th.vcpu)
    if g.csd_mask != 0:
        return False
    g.call_wait_ns += now_ns - g.call_start_ns
    th.activity = COMPUTE
    return True
