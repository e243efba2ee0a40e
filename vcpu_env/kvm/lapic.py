"""Interrupt delivery to a vCPU: the matrix of target state x APIC virtualisation.

One bit a vector. Without APICv a running target is kicked out of the guest and injected on re-entry; with APICv the
interrupt is posted and a running target takes it without an exit; with IPI virtualisation the sender of a unicast IPI
does not exit either and the host sees nothing. AVIC spares the sender the exit only if the target has a CPU; if not,
the write ends in an "incomplete IPI" exit that kicks or wakes the target. A preempted target waits for its CPU in every
mode; a blocked one is woken.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.log2 import LOG2_BINS, log2_bin
from vcpu_env.base.structs import Struct, StructArray
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.entry_points import try_to_wake_up
from vcpu_env.kernel.types import task_struct
from vcpu_env.kvm.ipi import kvm_clear_ipi_on_eoi, kvm_track_ipi_communication
from vcpu_env.kvm.on_spin import sender_bit
from vcpu_env.kvm.pcpu import GUEST, HOST, KICK_EVENT, KICK_POSTED, POLL, kick, pcpu
from vcpu_env.kvm.preempt import kvm_vcpu_wake_up
from vcpu_env.kvm.pvsched import preempt_for, pvsched, pvsched_inject
from vcpu_env.kvm.trace import trace_ipi_send, trace_irq_accept
from vcpu_env.kvm.types import APICV_AVIC, APICV_IPIV, APICV_OFF, FILTER_STRICT, kvm_params, kvm_vcpu

VECTOR_TIMER, VECTOR_CALL, VECTOR_RESCHEDULE, VECTOR_IO = 1, 2, 4, 8
NR_VECTORS = 4

lapic = Struct(
    "lapic",
    [
        ("irr", "i8"),  # accepted, not yet in service
        ("cpu", "i8"),  # physical CPU that has the vCPU loaded, NIL if it is scheduled out
        ("since_ns", "i8", (NR_VECTORS,)),  # when each pending vector was accepted
        ("ipis", "i8"),  # IPIs taken into service
        ("ipi_latency_ns", "i8"),  # their sum of times from acceptance to the handler
        ("ipi_latency_log2", "i8", (LOG2_BINS,)),  # how many took 2^i ns and less than twice as long
    ],
)
ipi_totals = Struct("ipi_totals", [("latency_ns", "i8")], single=True)
lapic_costs = Struct("lapic_costs", [("ipi_ns", "i8"), ("posted_ipi_ns", "i8"), ("eoi_exit_ns", "i8")], single=True)


def lapic_arrays(nr_vcpus: int) -> list[StructArray]:
    """The struct arrays of the local APICs."""
    return [
        lapic.array(nr_vcpus),
        lapic_costs.array(),
        ipi_totals.array(),
    ]


@kjit
def vector_number(vector):
    """0 .. NR_VECTORS - 1 for the bit of a vector."""
    if vector < VECTOR_RESCHEDULE:
        return vector - VECTOR_TIMER
    return 2 if vector == VECTOR_RESCHEDULE else 3


@kjit
def accept_interrupt(w, v, vector, delay_ns, from_cpu, now_ns):
    """kvm_apic_set_irq(): the vCPU's APIC takes the interrupt; `delay_ns` is how long a kick to its CPU travels."""
    apic = lapic(w, v)
    vcpu = kvm_vcpu(w, v)
    trace_irq_accept(w, v, vector, apic.irr & vector != 0, apic.cpu, vcpu.blocking, now_ns)
    if apic.irr & vector == 0:
        apic.since_ns[vector_number(vector)] = now_ns
    apic.irr |= vector
    apicv = kvm_params(w).apicv
    if apicv == APICV_OFF:
        vcpu.event = 1
    elif apicv != APICV_AVIC:
        vcpu.pir_pending = 1
    if vcpu.blocking:
        if kvm_vcpu_wake_up(w, v):
            # timers and devices interrupt the CPU where the vCPU last ran
            waker_cpu = task_struct(w, v).cpu if from_cpu == NIL else from_cpu
            update_rq_clock(w, waker_cpu, now_ns)
            try_to_wake_up(w, v, waker_cpu, 0)
            if pvsched(w).cs_bits:
                preempt_for(w, v)
        return
    mode = pcpu(w, apic.cpu).mode if apic.cpu != NIL else HOST
    if mode == GUEST or mode == POLL:
        kick(w, apic.cpu, KICK_EVENT if apicv == APICV_OFF else KICK_POSTED, now_ns + delay_ns)
    elif pvsched(w).cs_bits:
        pvsched_inject(w, v, now_ns)


@kjit
def icr_write_exits(w, dst):
    """Whether the ICR write of a unicast IPI leaves the guest."""
    apicv = kvm_params(w).apicv
    if apicv == APICV_AVIC:
        return lapic(w, dst).cpu == NIL
    return apicv != APICV_IPIV


@kjit
def send_ipi(w, src, dst, vector, now_ns):
    """Unicast fixed IPI between two vCPUs: one x2APIC ICR write, seen by IPI tracking unless hardware delivers it.

    The handler of AVIC's incomplete-IPI exit delivers nothing, so tracking does not see it either.
    """
    if kvm_params(w).apicv < APICV_IPIV:
        kvm_track_ipi_communication(w, src, dst, now_ns, vector)
        if kvm_params(w).filter == FILTER_STRICT and lapic(w, dst).cpu == NIL:
            kvm_vcpu(w, dst).ipi_senders |= sender_bit(w, src)
    deliver_ipi(w, src, dst, vector, now_ns)


@kjit
def deliver_ipi(w, src, dst, vector, now_ns):
    """Deliver an IPI that tracking does not see: one of a shorthand's, of a multicast's, of IPI virtualisation's."""
    costs = lapic_costs(w)
    trace_ipi_send(w, src, dst, vector, lapic(w, src).cpu, now_ns)
    delay = costs.ipi_ns if kvm_params(w).apicv == APICV_OFF else costs.posted_ipi_ns
    accept_interrupt(w, dst, vector, delay, lapic(w, src).cpu, now_ns)


@kjit
def take_interrupt(w, v, now_ns):
    """Take the first pending vector (0: none) into service: it leaves irr."""
    apic = lapic(w, v)
    if apic.irr == 0:
        return 0
    vector = apic.irr & -apic.irr
    apic.irr &= ~vector
    if vector == VECTOR_CALL or vector == VECTOR_RESCHEDULE:
        waited_ns = now_ns - apic.since_ns[vector_number(vector)]
        apic.ipis += 1
        apic.ipi_latency_ns += waited_ns
        ipi_totals(w).latency_ns += waited_ns
        apic.ipi_latency_log2[log2_bin(waited_ns)] += 1
    if apic.irr == 0:
        vcpu = kvm_vcpu(w, v)
        vcpu.event = 0
        vcpu.pir_pending = 0
        vcpu.irq_injections += 1
    return vector


@kjit
def write_eoi(w, v, vector, now_ns):
    """EOI, which Linux guests write before they serve the interrupt. The time of its VM exit, 0 if there is none.

    PV EOI is armed only while no other interrupt is pending; virtualised EOI never exits. Both pass IPI tracking by.
    """
    params = kvm_params(w)
    if params.apicv != APICV_OFF or (params.pv_eoi and lapic(w, v).irr == 0):
        return 0
    kvm_vcpu(w, v).exits += 1
    kvm_clear_ipi_on_eoi(w, v, now_ns, vector)
    return lapic_costs(w).eoi_exit_ns
