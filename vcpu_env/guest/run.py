"""A vCPU in guest mode: what it does next, and accounting of what it did."""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.timeline import MOST_STEPS_AT_ONCE, NEVER, note_stall, set_event
from vcpu_env.guest.balance import periodic_balance
from vcpu_env.guest.calls import answer_calls, call_finished
from vcpu_env.guest.eevdf import entity_tick, update_curr
from vcpu_env.guest.interpreter import advance, holds_spinlock
from vcpu_env.guest.locks import notify_owner_spinners, try_spinner, yields_to_holder
from vcpu_env.guest.pvqspinlock import pv_wait, pvq_halts, pvq_spin_ns, pvq_still_waits
from vcpu_env.guest.rcu import EXPEDITED, NORMAL, grace_period, note_quiescent_state
from vcpu_env.guest.steal_governor import evacuate, governor_tick
from vcpu_env.guest.threads import is_preferred, pick_thread, wake_thread
from vcpu_env.guest.types import (
    AWAKE,
    COMPUTE,
    FULL_SPEED,
    HALTED_IDLE,
    HALTED_PV_WAIT,
    HC_NONE,
    LOCK_PVQ,
    OVERHEAD,
    SEG_COMPUTE,
    SEG_IRQ,
    SEG_NONE,
    SEG_SPIN,
    SPIN_CALL,
    SPIN_LOCK,
    guest_costs,
    guest_lock,
    guest_thread,
    guest_totals,
    guest_vcpu,
    guest_vm,
)
from vcpu_env.kvm.lapic import (
    VECTOR_CALL,
    VECTOR_IO,
    VECTOR_RESCHEDULE,
    VECTOR_TIMER,
    accept_interrupt,
    take_interrupt,
    write_eoi,
)
from vcpu_env.kvm.pcpu import event_slots, set_run_event
from vcpu_env.kvm.ple import ple_window_ns
from vcpu_env.kvm.trace import trace_irq_handle

EXIT_NONE, EXIT_HLT, EXIT_PAUSE, EXIT_HYPERCALL = range(4)
"""Why the guest was left: still in it, HLT, PAUSE-loop exit, a hypercall that ends in a directed yield."""

COLD_LOSS_TENTHS = 3
"""With a cold cache a vCPU computes at seven tenths of its speed, until it has lost `cold_ns`."""


@kjit
def account_segment(w, v, now_ns):
    """Book the guest time since the current segment began."""
    g = guest_vcpu(w, v)
    past = now_ns - g.segment_start_ns
    g.segment_start_ns = now_ns
    if past <= 0:
        return
    g.run_ns += past
    guest_vm(w, g.vm).run_ns += past
    done = past
    if g.speed_1024 != FULL_SPEED:
        done = past * g.speed_1024 >> 10
    if g.segment == SEG_IRQ:
        g.irq_remaining_ns -= done
        g.irq_ns += past
        g.kernel_ns += past
        return
    th = guest_thread(w, g.current)
    if g.segment == SEG_SPIN:
        g.spin_ns += past
        g.kernel_ns += past
        guest_totals(w).spin_ns += past
        th.spun_ns += past
        return
    g.smt_lost_ns += past - done
    lost = min(done * COLD_LOSS_TENTHS // 10, g.cold_ns)
    g.cold_ns -= lost
    g.cold_lost_ns += lost
    guest_totals(w).useful_ns += done - lost
    th.remaining_ns -= done - lost
    if th.in_kernel:
        g.kernel_ns += past
    else:
        g.user_ns += past


@kjit
def begin_interrupt(w, v, vector, now_ns):
    """Take a vector into service: EOI first, as Linux guests do, then the handler's work."""
    g = guest_vcpu(w, v)
    costs = guest_costs(w)
    work = write_eoi(w, v, vector, now_ns)
    if vector == VECTOR_TIMER:
        work += costs.timer_ns
        g.timer_interrupts += 1
    elif vector == VECTOR_CALL:
        callers = g.call_mask
        count = 0
        while callers != 0:
            callers &= callers - 1
            count += 1
        work += costs.call_ns * max(1, count)
        g.ipi_call += 1
    elif vector == VECTOR_RESCHEDULE:
        work += costs.reschedule_ns
        g.ipi_reschedule += 1
    else:
        work += costs.io_ns
    g.irq = vector
    g.irq_remaining_ns = work
    trace_irq_handle(w, v, vector, work, g.cpu, now_ns)


@kjit
def end_tick(w, v, now_ns):
    """sched_tick() of the guest: slice, quiescent state of RCU, periodic balance."""
    g = guest_vcpu(w, v)
    vm = guest_vm(w, g.vm)
    if g.current != NIL and entity_tick(w, v, now_ns):
        g.need_resched = 1
    if grace_period(w, 2 * g.vm + NORMAL).awaited != 0:
        if g.current == NIL or not holds_spinlock(w, guest_thread(w, g.current)):
            note_quiescent_state(w, v, NORMAL, now_ns)
    if vm.balance_ns > 0 and is_preferred(w, v):
        periodic_balance(w, v, now_ns)
    if vm.governor_interval_ns > 0:
        governor_tick(w, v, now_ns)


@kjit
def end_interrupt(w, v, now_ns):
    """The handler is done: what it was for happens."""
    g = guest_vcpu(w, v)
    vector = g.irq
    g.irq = 0
    if vector == VECTOR_CALL:
        answer_calls(w, v, now_ns)
        if grace_period(w, 2 * g.vm + EXPEDITED).awaited != 0:
            note_quiescent_state(w, v, EXPEDITED, now_ns)
    elif vector == VECTOR_TIMER:
        end_tick(w, v, now_ns)
    elif vector == VECTOR_RESCHEDULE:
        g.need_resched |= g.kernel_thread_woken
    elif vector == VECTOR_IO:
        while g.io_head != NIL:
            t = g.io_head
            g.io_head = guest_thread(w, t).next
            wake_thread(w, t, v, now_ns)


@kjit
def enter_halt(w, v, kind):
    """The guest executes HLT."""
    g = guest_vcpu(w, v)
    g.halted = kind
    g.segment = SEG_NONE
    return EXIT_HLT


@kjit
def spin(w, v, now_ns):
    """Spin until the lock or the call changes, the PAUSE-loop window ends, or a paravirtual waiter gives up."""
    g = guest_vcpu(w, v)
    th = guest_thread(w, g.current)
    g.segment = SEG_SPIN
    g.ple_expire_ns = now_ns + ple_window_ns(w, v)
    end = g.ple_expire_ns
    if th.activity == SPIN_LOCK and guest_lock(w, th.wait_lock).kind == LOCK_PVQ:
        end = min(end, now_ns + pvq_spin_ns(w, g.current))
    if th.activity == SPIN_LOCK and guest_vm(w, g.vm).pv_lock_yield:
        end = min(end, now_ns + th.yield_spun_ns - th.spun_ns)
    set_run_event(w, g.cpu, end)


@kjit
def retime_segment(w, v, now_ns):
    """Put the end of the current interrupt or computation on the timeline; a spin's does not depend on speed."""
    g = guest_vcpu(w, v)
    if g.segment == SEG_SPIN:
        return
    left = g.irq_remaining_ns
    if g.segment == SEG_COMPUTE:
        remaining = guest_thread(w, g.current).remaining_ns
        left = remaining + min((remaining * COLD_LOSS_TENTHS + 6) // (10 - COLD_LOSS_TENTHS), g.cold_ns)
    if g.speed_1024 != FULL_SPEED:
        left = (left * FULL_SPEED + g.speed_1024 - 1) // g.speed_1024
    set_run_event(w, g.cpu, now_ns + left)


@kjit
def guest_schedule(w, v, now_ns):
    """schedule() of the guest kernel: another thread, or the same, takes the vCPU. Returns whether there is one."""
    g = guest_vcpu(w, v)
    t = g.current
    if t != NIL:
        notify_owner_spinners(w, t, now_ns)
    if grace_period(w, 2 * g.vm + NORMAL).awaited != 0:
        note_quiescent_state(w, v, NORMAL, now_ns)
    if t != NIL and not is_preferred(w, v):
        update_curr(w, v, now_ns)
        evacuate(w, v, now_ns)
    return pick_thread(w, v, now_ns)


@kjit
def guest_run(w, v, now_ns):
    """Run the vCPU from here: returns an exit reason, or EXIT_NONE with the end of its next segment on the timeline."""
    g = guest_vcpu(w, v)
    g.segment_start_ns = now_ns
    turns = 0
    while True:
        turns += 1
        if turns > MOST_STEPS_AT_ONCE:
            note_stall(w)
            return EXIT_NONE
        if g.irq_remaining_ns > 0:
            g.segment = SEG_IRQ
            retime_segment(w, v, now_ns)
            return EXIT_NONE
        if g.irq != 0:
            end_interrupt(w, v, now_ns)
        if g.hypercall != HC_NONE:
            return EXIT_HYPERCALL
        vector = take_interrupt(w, v, now_ns)
        if vector != 0:
            begin_interrupt(w, v, vector, now_ns)
            continue
        if g.overhead_ns > 0:
            g.irq = OVERHEAD
            g.irq_remaining_ns = g.overhead_ns
            g.overhead_ns = 0
            continue
        t = g.current
        if t == NIL or (g.need_resched and not holds_spinlock(w, guest_thread(w, t))):
            if not guest_schedule(w, v, now_ns) and g.overhead_ns == 0:
                return enter_halt(w, v, HALTED_IDLE)
            continue
        th = guest_thread(w, t)
        if th.activity == COMPUTE:
            if th.remaining_ns > 0:
                g.segment = SEG_COMPUTE
                retime_segment(w, v, now_ns)
                return EXIT_NONE
            advance(w, t, now_ns)
            continue
        if th.activity == SPIN_CALL:
            if not call_finished(w, t, now_ns):
                spin(w, v, now_ns)
                return EXIT_NONE
            continue
        result = try_spinner(w, t, now_ns)
        if result == 0:
            if th.activity == SPIN_LOCK and guest_lock(w, th.wait_lock).kind == LOCK_PVQ and pvq_halts(w, t, now_ns):
                pv_wait(w, t, now_ns)
                return enter_halt(w, v, HALTED_PV_WAIT)
            if guest_vm(w, g.vm).pv_lock_yield and yields_to_holder(w, t):
                return EXIT_HYPERCALL
            spin(w, v, now_ns)
            return EXIT_NONE
        if result < 0:
            th.activity = COMPUTE
            th.pc -= 1
            th.stage = 2


@kjit
def spun_too_long(w, v, now_ns):
    """The segment that ends now is a spin whose PAUSE-loop window is over, and nothing has changed."""
    g = guest_vcpu(w, v)
    return g.segment == SEG_SPIN and now_ns >= g.ple_expire_ns and still_waits(w, g.current)


@kjit
def still_waits(w, t):
    """Nothing has changed yet for a spinning thread."""
    th = guest_thread(w, t)
    if th.activity == SPIN_CALL:
        return guest_vcpu(w, th.vcpu).csd_mask != 0
    if guest_lock(w, th.wait_lock).kind == LOCK_PVQ:
        return pvq_still_waits(w, t)
    return th.granted == 0


@kjit
def start_timer(w, v, now_ns):
    """Start the vCPU's tick, in its VM's phase."""
    vm = guest_vm(w, guest_vcpu(w, v).vm)
    ticks = (now_ns - vm.tick_phase_ns) // vm.tick_ns + 1
    set_event(w, event_slots(w).timer + v, vm.tick_phase_ns + ticks * vm.tick_ns)


@kjit
def wake_from_halt(w, v, now_ns):
    """The vCPU is about to run again after HLT: leave the idle loop or pv_wait(); its timer ticks again."""
    g = guest_vcpu(w, v)
    if g.halted == AWAKE:
        return
    if g.halted == HALTED_PV_WAIT and g.current != NIL:
        th = guest_thread(w, g.current)
        th.pv_halted = 0
        th.spun_ns = 0
    else:
        start_timer(w, v, now_ns)
    g.halted = AWAKE


@kjit
def timer_expired(w, v, now_ns):
    """The vCPU's tick. An idle vCPU has none (NOHZ)."""
    g = guest_vcpu(w, v)
    slot = event_slots(w).timer + v
    if g.halted == HALTED_IDLE:
        set_event(w, slot, NEVER)
        return
    set_event(w, slot, now_ns + guest_vm(w, g.vm).tick_ns)
    accept_interrupt(w, v, VECTOR_TIMER, 0, g.cpu, now_ns)


@kjit
def device_done(w, t, now_ns):
    """The device that a thread waits for is done: an interrupt for the vCPU on which the thread slept."""
    th = guest_thread(w, t)
    g = guest_vcpu(w, th.vcpu)
    set_event(w, event_slots(w).io + t, NEVER)
    th.next = g.io_head
    g.io_head = t
    accept_interrupt(w, th.vcpu, VECTOR_IO, 0, NIL, now_ns)


@kjit
def at_cpl0(w, v):
    """Whether the vCPU is in its kernel: an interrupt, a system call, a lock, or the idle loop."""
    g = guest_vcpu(w, v)
    return g.irq != 0 or g.current == NIL or guest_thread(w, g.current).in_kernel != 0


@kjit
def awaited_vcpu(w, v):
    """The vCPU that a spinning vCPU waits for: its lock's owner, or one that has not answered its call; or NIL.

    Of several, one that is not running: the others will answer without help.

    No host kernel can know this; it is for oracles and statistics.
    """
    g = guest_vcpu(w, v)
    if g.current == NIL or g.segment != SEG_SPIN:
        return NIL
    th = guest_thread(w, g.current)
    if th.activity == COMPUTE:
        return NIL
    if th.activity == SPIN_CALL:
        first = guest_vm(w, g.vm).first_vcpu
        late = NIL
        for i in range(guest_vm(w, g.vm).nr_vcpus):
            if g.csd_mask >> i & 1:
                if guest_vcpu(w, first + i).cpu == NIL:
                    return first + i
                late = first + i
        return late
    lk = guest_lock(w, th.wait_lock)
    owner = lk.owner
    if lk.kind == LOCK_PVQ and owner == NIL and lk.spinners.head != g.current:
        owner = lk.spinners.head  # the lock is free for the queue head only
    return NIL if owner == NIL else guest_thread(w, owner).vcpu
