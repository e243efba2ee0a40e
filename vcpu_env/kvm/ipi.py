"""IPI tracking of the series (patches 6 and 7): who sent the last unicast IPI to whom, and has it been acknowledged.

Only the last receiver of a sender and the last sender of a receiver are remembered. What never reaches these functions
is not seen: PV multicast, PV EOI, and everything that IPI virtualisation delivers without an exit. Vectors matter to
v3's clearing only.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kvm.types import TRACK_OFF, TRACK_V3, kvm, kvm_params, kvm_vcpu

ADAPTIVE_FACTOR = 16

APIC_DM_FIXED, APIC_DM_LOWEST, APIC_DM_SMI, APIC_DM_NMI, APIC_DM_INIT = 0, 1, 2, 4, 5
APIC_DEST_NOSHORT, APIC_DEST_SELF, APIC_DEST_ALLINC, APIC_DEST_ALLBUT = 0, 1, 2, 3


@kjit
def ipi_tracking(w):
    """Whether the kernel has the tracking patches and the module parameter turns them on."""
    params = kvm_params(w)
    return params.track != TRACK_OFF and params.ipi_tracking_enabled != 0


@kjit
def kvm_track_ipi_communication(w, sender, receiver, now_ns, vector=0):
    """x86.c (series): kvm_track_ipi_communication(). Record `sender` -> `receiver` as the latest of both."""
    if sender == NIL or receiver == NIL or sender == receiver or not ipi_tracking(w):
        return False
    s = kvm_vcpu(w, sender)
    r = kvm_vcpu(w, receiver)
    s.last_ipi_receiver = r.vcpu_idx
    s.last_ipi_vector = vector
    s.pending_ipi = 1
    s.ipi_time_ns = now_ns
    r.last_ipi_sender = s.vcpu_idx
    return True


@kjit
def track_delivery(w, src, receiver, nr_accepted, delivery_mode, shorthand, now_ns, vector=0):
    """lapic.c (series): the recording condition of kvm_irq_delivery_to_apic() and its fast path.

    `src` is NIL for interrupts of devices and timers; `receiver` accepted the interrupt, as `nr_accepted` vCPUs did.
    A multicast that a single vCPU accepts counts, a shorthand never does, however few vCPUs it reaches.
    """
    if src == NIL or nr_accepted != 1 or delivery_mode != APIC_DM_FIXED or shorthand != APIC_DEST_NOSHORT:
        return False
    return kvm_track_ipi_communication(w, src, receiver, now_ns, vector)


@kjit
def ipi_window(w, vm_id):
    """How long an unanswered IPI counts: the series' constant; adaptive: at most 16 mean response times of the VM.

    The cover letter names an adaptive window as future work; the factor is this project's.
    """
    params = kvm_params(w)
    response_ns = kvm(w, vm_id).ipi_response_ns
    if params.adaptive_window == 0 or response_ns == 0:
        return params.ipi_window_ns
    return min(params.ipi_window_ns, ADAPTIVE_FACTOR * response_ns)


@kjit
def kvm_vcpu_is_ipi_receiver(w, sender, receiver, now_ns):
    """x86.c (series): kvm_vcpu_is_ipi_receiver(). `sender` still waits for `receiver`, as far as the host can tell."""
    s = kvm_vcpu(w, sender)
    if s.pending_ipi == 0 or not ipi_tracking(w) or now_ns - s.ipi_time_ns > ipi_window(w, s.vm):
        return False
    idx = kvm_vcpu(w, receiver).vcpu_idx
    if s.last_ipi_receiver == idx:
        return True
    if kvm_params(w).ipi_chain == 0 or s.last_ipi_receiver < 0 or receiver == sender:
        return False
    middle = kvm_vcpu(w, kvm(w, s.vm).first_vcpu + s.last_ipi_receiver)
    return (
        middle.pending_ipi != 0
        and middle.last_ipi_receiver == idx
        and now_ns - middle.ipi_time_ns <= ipi_window(w, s.vm)
    )


@kjit
def kvm_vcpu_clear_ipi_context(w, v):
    """x86.c (series): kvm_vcpu_clear_ipi_context(), at INIT. The time stays, and so do others' records of this vCPU."""
    vcpu = kvm_vcpu(w, v)
    vcpu.pending_ipi = 0
    vcpu.last_ipi_sender = NIL
    vcpu.last_ipi_receiver = NIL


@kjit
def kvm_vcpu_reset_ipi_context(w, v):
    """x86.c (series): kvm_vcpu_reset_ipi_context(), when a vCPU is created or destroyed."""
    kvm_vcpu_clear_ipi_context(w, v)
    kvm_vcpu(w, v).ipi_time_ns = 0


@kjit
def kvm_clear_ipi_on_eoi(w, receiver, now_ns, vector=0):
    """lapic.c (series): kvm_clear_ipi_on_eoi(). An EOI exits: `receiver` took an interrupt, its sender is served.

    v2 looks at no vector: any EOI, a timer's too, wipes the receiver's own context, also what it sent itself and still
    waits for. v3 clears only on the recorded vector and leaves the receiver's own sends alone (model of its changelog).
    """
    if not ipi_tracking(w):
        return
    r = kvm_vcpu(w, receiver)
    sender_idx = r.last_ipi_sender
    by_vector = kvm_params(w).track == TRACK_V3
    if not by_vector:
        kvm_vcpu_clear_ipi_context(w, receiver)
    if sender_idx < 0:
        return
    s = kvm_vcpu(w, kvm(w, r.vm).first_vcpu + sender_idx)
    if s.last_ipi_receiver != r.vcpu_idx or now_ns - s.ipi_time_ns > kvm_params(w).ipi_window_ns:
        return
    if by_vector:
        if s.last_ipi_vector != vector:
            return
        r.last_ipi_sender = NIL
    s.pending_ipi = 0
    vm = kvm(w, r.vm)
    vm.ipi_response_ns += (now_ns - s.ipi_time_ns - vm.ipi_response_ns) >> 3
