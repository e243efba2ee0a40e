"""KVM's tracepoints: modes of CPUs, exits, interrupts, as records of `base.trace_ring`."""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.trace_ring import (
    CPU_MODE,
    IPI_SEND,
    IRQ,
    IRQ_ACCEPT,
    IRQ_HANDLE,
    KVM,
    KVM_EXIT,
    VM_LIFE,
    record,
    trace_ring,
)


@kjit
def trace_cpu_mode(w, cpu, vcpu, old, mode, now_ns):
    """A CPU goes from one mode of `kvm.pcpu` to another; into guest mode it is kvm_entry."""
    if mode != old and trace_ring(w, 0).on & KVM:
        record(w, now_ns, CPU_MODE, cpu, vcpu, mode, old, 0, 0)


@kjit
def trace_kvm_exit(w, cpu, v, reason, window_ns, thread, now_ns):
    """kvm_exit: the vCPU leaves the guest, in a thread or in none; `window_ns`: its PAUSE-loop window from now on."""
    if trace_ring(w, 0).on & KVM:
        record(w, now_ns, KVM_EXIT, cpu, v, reason, window_ns, thread, 0)


@kjit
def trace_vm_life(w, vm, begins, now_ns):
    """A VM begins or ends."""
    if trace_ring(w, 0).on & KVM:
        record(w, now_ns, VM_LIFE, NIL, vm, begins, 0, 0, 0)


@kjit
def trace_ipi_send(w, src, dst, vector, cpu, now_ns):
    """An IPI goes from one vCPU to another."""
    if trace_ring(w, 0).on & IRQ:
        record(w, now_ns, IPI_SEND, cpu, src, dst, vector, 0, 0)


@kjit
def trace_irq_accept(w, v, vector, merged, cpu, blocking, now_ns):
    """kvm_apic_accept_irq: `merged` with one that waits already; `cpu` is the one that the vCPU has."""
    if trace_ring(w, 0).on & IRQ:
        record(w, now_ns, IRQ_ACCEPT, cpu, v, vector, merged, blocking, 0)


@kjit
def trace_irq_handle(w, v, vector, work_ns, cpu, now_ns):
    """The guest takes a vector into service."""
    if trace_ring(w, 0).on & IRQ:
        record(w, now_ns, IRQ_HANDLE, cpu, v, vector, work_ns, 0, 0)
