"""KVM's tracepoints: entries, exits, polling, interrupts, as records of `base.trace_ring`."""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.trace_ring import (
    HALT_POLL,
    IPI_SEND,
    IRQ,
    IRQ_ACCEPT,
    IRQ_HANDLE,
    KVM,
    KVM_ENTRY,
    KVM_EXIT,
    VM_LIFE,
    record,
    traced,
)


@kjit
def trace_kvm_entry(w, cpu, v, now_ns):
    """kvm_entry: the vCPU enters the guest."""
    if traced(w, KVM):
        record(w, now_ns, KVM_ENTRY, cpu, v, 0, 0, 0, 0)


@kjit
def trace_halt_poll(w, cpu, v, limit_ns, now_ns):
    """KVM begins to poll for a vCPU that has halted."""
    if traced(w, KVM):
        record(w, now_ns, HALT_POLL, cpu, v, limit_ns, 0, 0, 0)


@kjit
def trace_kvm_exit(w, cpu, v, reason, window_ns, thread, now_ns):
    """kvm_exit: the vCPU leaves the guest, in a thread or in none; `window_ns`: its PAUSE-loop window from now on."""
    if traced(w, KVM):
        record(w, now_ns, KVM_EXIT, cpu, v, reason, window_ns, thread, 0)


@kjit
def trace_vm_life(w, vm_id, begins, now_ns):
    """A VM begins or ends."""
    if traced(w, KVM):
        record(w, now_ns, VM_LIFE, NIL, vm_id, begins, 0, 0, 0)


@kjit
def trace_ipi_send(w, src, dst, vector, cpu, now_ns):
    """An IPI goes from one vCPU to another."""
    if traced(w, IRQ):
        record(w, now_ns, IPI_SEND, cpu, src, dst, vector, 0, 0)


@kjit
def trace_irq_accept(w, v, vector, merged, cpu, blocking, now_ns):
    """kvm_apic_accept_irq: `merged` with one that waits already; `cpu` is the one that the vCPU has."""
    if traced(w, IRQ):
        record(w, now_ns, IRQ_ACCEPT, cpu, v, vector, merged, blocking, 0)


@kjit
def trace_irq_handle(w, v, vector, work_ns, cpu, now_ns):
    """The guest takes a vector into service."""
    if traced(w, IRQ):
        record(w, now_ns, IRQ_HANDLE, cpu, v, vector, work_ns, 0, 0)
