"""Useful time: guest time that was neither spinning nor interrupts nor lost to cold caches."""

from vcpu_env.base.jit import kjit
from vcpu_env.base.timeline import machine_clock
from vcpu_env.guest.run import COLD_LOSS_TENTHS
from vcpu_env.guest.types import SEG_COMPUTE, guest_totals, guest_vcpu
from vcpu_env.kvm.pcpu import GUEST, event_slots, pcpu


@kjit
def unbooked_useful_ns(w, v, now_ns):
    """What a running compute segment has done since it was last booked."""
    g = guest_vcpu(w, v)
    past = max(now_ns - g.segment_start_ns, 0)
    return past - min(past * COLD_LOSS_TENTHS // 10, g.cold_ns) if g.segment == SEG_COMPUTE else 0


@kjit
def useful_now_ns(w):
    """Useful time of all VMs so far."""
    useful, now_ns = guest_totals(w).useful_ns, machine_clock(w).now_ns
    for cpu in range(event_slots(w).nr_cpus):
        pc = pcpu(w, cpu)
        if pc.mode == GUEST:
            useful += unbooked_useful_ns(w, pc.vcpu, now_ns)
    return useful
