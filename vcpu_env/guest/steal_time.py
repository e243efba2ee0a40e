"""What the guest knows of CPUs that its vCPUs have lost: the ``preempted`` byte of struct kvm_steal_time.

KVM sets it when the vCPU's thread is scheduled out, but only if the last exit was a host interrupt: a vCPU that lost
its CPU by its own PAUSE-loop exit, hypercall or HLT is not reported (`kvm.preempt`). The guest asks in the owner spin
of mutexes and rwsems, in their queue of spinners, when it looks for an idle CPU, and in the two features below.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.guest.multicast import bit
from vcpu_env.guest.types import KVM_HC_SCHED_YIELD, STEAL_EVERY, STEAL_OFF, guest_vcpu, guest_vm
from vcpu_env.kvm.preempt import KVM_VCPU_FLUSH_TLB, KVM_VCPU_PREEMPTED
from vcpu_env.kvm.types import kvm_vcpu


@kjit
def vcpu_is_preempted(w, v):
    """kvm.c (guest): __kvm_vcpu_is_preempted(). Steal time "every" knows more than the byte says."""
    told = guest_vm(w, guest_vcpu(w, v).vm).steal_time
    if told == STEAL_OFF:
        return False
    if told == STEAL_EVERY:
        return kvm_vcpu(w, v).preempted != 0
    return kvm_vcpu(w, v).st_preempted & KVM_VCPU_PREEMPTED != 0


@kjit
def kvm_flush_tlb_multi(w, v):
    """kvm.c (guest): kvm_flush_tlb_multi(). Leave preempted targets of the shootdown to the host: it flushes at entry.

    Returns how many remain to be called.
    """
    g = guest_vcpu(w, v)
    first = guest_vm(w, g.vm).first_vcpu
    left, remaining, i = g.csd_mask, 0, 0
    while left != 0:
        if left & 1:
            if vcpu_is_preempted(w, first + i):
                kvm_vcpu(w, first + i).st_preempted |= KVM_VCPU_FLUSH_TLB
                g.csd_mask &= ~bit(i)
                g.flushes_deferred += 1
            else:
                remaining += 1
        left = (left >> 1) & 0x7FFFFFFFFFFFFFFF
        i += 1
    return remaining


@kjit
def kvm_smp_send_call_func_ipi(w, v, mask):
    """kvm.c (guest): kvm_smp_send_call_func_ipi(). After an IPI to several: yield to the first that lost its CPU."""
    if mask & (mask - 1) == 0:
        return
    g = guest_vcpu(w, v)
    vm = guest_vm(w, g.vm)
    for i in range(vm.nr_vcpus):
        target = guest_vcpu(w, vm.first_vcpu + i)
        idle = target.current == NIL and target.nr_queued == 0
        if mask >> i & 1 and not idle and vcpu_is_preempted(w, vm.first_vcpu + i):
            g.hypercall = KVM_HC_SCHED_YIELD
            g.hypercall_target = vm.first_vcpu + i
            return
