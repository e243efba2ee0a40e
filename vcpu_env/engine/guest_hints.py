"""What a guest with pvsched publishes, read from its state, and the exits that it makes when that changes."""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.timeline import event
from vcpu_env.guest.interpreter import holds_spinlock
from vcpu_env.guest.types import OVERHEAD, guest_thread, guest_vcpu
from vcpu_env.kvm.pcpu import event_slots, set_run_event
from vcpu_env.kvm.pvsched import CS_HARDIRQ, CS_PREEMPT_OFF, pvsched, pvsched_vcpu

STAYS, GIVES_NOTICE, IS_CUT_OFF = range(3)
"""Whether a boosted guest is left: not; it says that its critical section is over; a budget is used up."""


@kjit
def cs_state(w, v):
    """The critical sections that a vCPU is in and its guest publishes, CS_*: an interrupt, or preemption is off.

    That is in a spin lock, while waiting for one or for the owner of a mutex, in a cross-call, and in schedule().
    """
    g = guest_vcpu(w, v)
    bits = 0
    if g.irq != 0:
        bits = CS_PREEMPT_OFF if g.irq == OVERHEAD else CS_HARDIRQ
    if g.current != NIL and holds_spinlock(w, guest_thread(w, g.current)):
        bits |= CS_PREEMPT_OFF
    return bits & pvsched(w).cs_bits


@kjit
def leaves_early(w, cpu, v, now_ns):
    """What becomes of a guest whose next segment has just been put on the timeline, STAYS or else.

    A guest that was idle in its critical section gives no notice. A segment that stays is cut at the end of the budget.
    """
    account = pvsched_vcpu(w, v)
    if not account.boosted:
        return STAYS
    if cs_state(w, v):
        account.was_idle = guest_vcpu(w, v).current == NIL
    elif not account.was_idle:
        account.notices += 1
        return GIVES_NOTICE
    if now_ns >= account.cutoff_ns:
        account.cutoffs += 1
        return IS_CUT_OFF
    if event(w, event_slots(w).run + cpu).when_ns > account.cutoff_ns:
        set_run_event(w, cpu, account.cutoff_ns)
    return STAYS
