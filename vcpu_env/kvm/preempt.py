"""What KVM notes when the host scheduler takes a vCPU's thread off a CPU, brings it back, or wakes it from a halt.

These flags are all that `on_spin` knows about a sibling: whether it waits for a CPU, and what it did when it lost one.
"""

from vcpu_env.base.jit import kjit
from vcpu_env.kvm.ple import shrink_ple_window
from vcpu_env.kvm.types import kvm_vcpu

KVM_VCPU_PREEMPTED, KVM_VCPU_FLUSH_TLB = 1, 2
"""Flags of the steal-time byte."""


@kjit
def kvm_sched_out(w, vcpu, runnable, cpl_kernel, wants_to_run):
    """kvm_main.c: kvm_sched_out(), the preempt notifier. With `runnable` 0 the thread sleeps in kvm_vcpu_block().

    A vCPU that left by its own yield is runnable too: it becomes preempted and ready like one that lost its CPU, and
    only ``in_spin_loop`` tells them apart.
    """
    v = kvm_vcpu(w, vcpu)
    v.scheduled_out = 1
    if runnable:
        if wants_to_run:
            v.preempted = 1
            v.ready = 1
    else:
        v.blocking = 1
        v.asleep = 1
    if v.preempted:
        # the CPL of an unloaded vCPU cannot be read, so it is sampled here
        v.preempted_in_kernel = cpl_kernel
    if v.at_instruction_boundary:
        # kvm_steal_time_set_preempted(): after any exit but a host interrupt the guest is not told
        v.preemption_reported += 1
        v.st_preempted |= KVM_VCPU_PREEMPTED
    else:
        v.preemption_other += 1


@kjit
def kvm_sched_in(w, vcpu):
    """kvm_main.c: kvm_sched_in(), the preempt notifier; a thread that slept in kvm_vcpu_block() leaves it."""
    v = kvm_vcpu(w, vcpu)
    v.preempted = 0
    v.ready = 0
    v.blocking = 0
    v.asleep = 0
    v.ipi_senders = 0
    if v.scheduled_out:
        shrink_ple_window(w, vcpu)
    v.scheduled_out = 0


@kjit
def kvm_vcpu_wake_up(w, vcpu):
    """kvm_main.c: kvm_vcpu_wake_up(). True if it ended a sleep; the caller then wakes the host task."""
    v = kvm_vcpu(w, vcpu)
    if not v.asleep:
        return False
    v.asleep = 0
    v.ready = 1
    v.halt_wakeup += 1
    return True


@kjit
def record_steal_time(w, vcpu):
    """x86.c: record_steal_time(). At guest entry: clear the byte the guest reads; returns its flags."""
    v = kvm_vcpu(w, vcpu)
    flags = v.st_preempted
    v.st_preempted = 0
    return flags
