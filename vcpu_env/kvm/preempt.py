"""What KVM notes when the host scheduler takes a vCPU's thread off a CPU, brings it back, or wakes it from a halt.

These flags are all that `on_spin` knows about a sibling: whether it waits for a CPU, and what it did when it lost one.
"""

from vcpu_env.base.jit import kjit
from vcpu_env.kvm.ple import shrink_ple_window
from vcpu_env.kvm.types import kvm_vcpu

KVM_VCPU_PREEMPTED, KVM_VCPU_FLUSH_TLB = 1, 2
"""Flags of the steal-time byte."""


@kjit
def kvm_sched_out(w, v, runnable, cpl_kernel, wants_to_run):
    """kvm_main.c: kvm_sched_out(), the preempt notifier. With `runnable` 0 the thread sleeps in kvm_vcpu_block().

    A vCPU that left by its own yield is runnable too: it becomes preempted and ready like one that lost its CPU, and
    only ``in_spin_loop`` tells them apart.
    """
    vcpu = kvm_vcpu(w, v)
    vcpu.scheduled_out = 1
    if runnable:
        if wants_to_run:
            vcpu.preempted = 1
            vcpu.ready = 1
    else:
        vcpu.blocking = 1
        vcpu.asleep = 1
    if vcpu.preempted:
        # the CPL of an unloaded vCPU cannot be read, so it is sampled here
        vcpu.preempted_in_kernel = cpl_kernel
    if vcpu.at_instruction_boundary:
        # kvm_steal_time_set_preempted(): after any exit but a host interrupt the guest is not told
        vcpu.preemption_reported += 1
        vcpu.st_preempted |= KVM_VCPU_PREEMPTED
    else:
        vcpu.preemption_other += 1


@kjit
def kvm_sched_in(w, v):
    """kvm_main.c: kvm_sched_in(), the preempt notifier; a thread that slept in kvm_vcpu_block() leaves it."""
    vcpu = kvm_vcpu(w, v)
    vcpu.preempted = 0
    vcpu.ready = 0
    vcpu.blocking = 0
    vcpu.asleep = 0
    vcpu.ipi_senders = 0
    if vcpu.scheduled_out:
        shrink_ple_window(w, v)
    vcpu.scheduled_out = 0


@kjit
def kvm_vcpu_wake_up(w, v):
    """kvm_main.c: kvm_vcpu_wake_up(). True if it ended a sleep; the caller then wakes the host task."""
    vcpu = kvm_vcpu(w, v)
    if not vcpu.asleep:
        return False
    vcpu.asleep = 0
    vcpu.ready = 1
    vcpu.halt_wakeup += 1
    return True


@kjit
def record_steal_time(w, v):
    """x86.c: record_steal_time(). At guest entry: clear the byte the guest reads; returns its flags."""
    vcpu = kvm_vcpu(w, v)
    flags = vcpu.st_preempted
    vcpu.st_preempted = 0
    return flags
