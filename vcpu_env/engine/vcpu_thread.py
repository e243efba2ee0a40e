"""A vCPU thread on the host: guest entry and exit, switches with their preempt notifiers, halts.

A physical CPU's life is a chain of RUN events: end of a guest segment -> VM exit -> host work -> scheduling -> entry.
What the host kernel calls upwards in Linux is a result here: after a reschedule the preempt notifiers run.
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.random import CPU_TICK, draw_of
from vcpu_env.base.timeline import NEVER, event, set_event
from vcpu_env.engine.alignment import vcpu_comes, vcpu_leaves
from vcpu_env.engine.guest_hints import GIVES_NOTICE, STAYS, cs_state, leaves_early
from vcpu_env.engine.hardware import core_changes, lose_caches, thread_speed
from vcpu_env.engine.state import engine, host_costs
from vcpu_env.engine.yield_trace import trace_hint
from vcpu_env.guest.entry_points import guest_run
from vcpu_env.guest.locks import notify_preempted
from vcpu_env.guest.run import (
    EXIT_HLT,
    EXIT_HYPERCALL,
    EXIT_NONE,
    EXIT_PAUSE,
    account_segment,
    at_cpl0,
    start_timer,
    wake_from_halt,
)
from vcpu_env.guest.trace import trace_segment
from vcpu_env.guest.types import STEAL_REPORTED, guest_thread, guest_vcpu, guest_vm
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.entry_points import block_task, schedule, wake_up_new_task
from vcpu_env.kernel.throttle import throttle_cfs_rq_work
from vcpu_env.kernel.types import (
    TASK_INTERRUPTIBLE,
    WORK_SIGNAL,
    WORK_THROTTLE,
    cpu_rq,
    sched_tunables,
    task_struct,
)
from vcpu_env.kvm.halt_poll import halt_finished, halt_poll_limit
from vcpu_env.kvm.lapic import lapic
from vcpu_env.kvm.on_spin import on_spin_finish
from vcpu_env.kvm.pcpu import (
    ENTER,
    GUEST,
    HALT,
    HOST,
    HYPERCALL,
    IDLE,
    ON_SPIN,
    POLL,
    event_slots,
    pcpu,
    set_mode,
    set_run_event,
)
from vcpu_env.kvm.ple import grow_ple_window, ple_window_ns
from vcpu_env.kvm.preempt import (
    KVM_VCPU_FLUSH_TLB,
    KVM_VCPU_PREEMPTED,
    kvm_sched_in,
    kvm_sched_out,
    record_steal_time,
)
from vcpu_env.kvm.pvsched import (
    force_boosted,
    pvsched,
    pvsched_entry,
    pvsched_exit,
    pvsched_gets_cpu,
)
from vcpu_env.kvm.trace import trace_halt_poll, trace_kvm_entry, trace_kvm_exit
from vcpu_env.kvm.types import kvm, kvm_vcpu
from vcpu_env.policy.coscheduling import delays_preemption


@kjit
def host_work(w, cpu, cost_ns, next_work, now_ns):
    """The CPU is in the host kernel for `cost_ns`, then does `next_work`."""
    set_mode(w, cpu, HOST, now_ns)
    pcpu(w, cpu).next_work = next_work
    set_run_event(w, cpu, now_ns + cost_ns)


@kjit
def begin_vcpu(w, v, cpu, now_ns):
    """A vCPU's thread is forked on `cpu` and becomes runnable."""
    update_rq_clock(w, cpu, now_ns)
    guest_vcpu(w, v).sched_out_ns = now_ns
    wake_up_new_task(w, v, cpu)
    start_timer(w, v, now_ns)


@kjit
def leave_guest(w, cpu, now_ns):
    """VM exit of a vCPU in the middle of a segment."""
    v = pcpu(w, cpu).vcpu
    account_segment(w, v, now_ns)
    guest_vcpu(w, v).cpu = NIL
    kvm_vcpu(w, v).exits += 1
    trace_kvm_exit(w, cpu, v, EXIT_NONE, 0, guest_vcpu(w, v).current, now_ns)
    if pvsched(w).cs_bits:
        pvsched_exit(w, v, cs_state(w, v) != 0, now_ns)


@kjit
def note_pause(w, v, now_ns):
    """Remember how long a vCPU has been spinning: since the first of PAUSE exits with hardly any guest time between."""
    vcpu, run_ns = kvm_vcpu(w, v), guest_vcpu(w, v).run_ns
    if run_ns - vcpu.pause_run_ns > 2 * ple_window_ns(w, v):
        vcpu.spin_since_ns = now_ns
    vcpu.pause_run_ns = run_ns


@kjit
def leave_early(w, cpu, why, now_ns):
    """A boosted guest is left (`guest_hints`): it has written to the host, or the host's timer has interrupted it."""
    vcpu = kvm_vcpu(w, pcpu(w, cpu).vcpu)
    interrupted = 0 if why == GIVES_NOTICE else 1
    vcpu.irq_exits += interrupted
    vcpu.at_instruction_boundary = interrupted
    leave_guest(w, cpu, now_ns)
    host_work(w, cpu, host_costs(w).vm_exit_ns, ENTER, now_ns)


@kjit
def handle_exit(w, cpu, reason, now_ns):
    """The guest was left for a reason of its own: the host's work for it."""
    v = pcpu(w, cpu).vcpu
    if reason == EXIT_NONE:
        trace_segment(w, v, now_ns)
        if pvsched(w).cs_bits:
            why = leaves_early(w, cpu, v, now_ns)
            if why != STAYS:
                leave_early(w, cpu, why, now_ns)
        return
    vcpu = kvm_vcpu(w, v)
    costs = host_costs(w)
    guest_vcpu(w, v).cpu = NIL
    vcpu.exits += 1
    vcpu.at_instruction_boundary = 0
    if pvsched(w).cs_bits:
        pvsched_exit(w, v, reason == EXIT_HLT or cs_state(w, v) != 0, now_ns)
    if reason == EXIT_HLT:
        vcpu.halt_exits += 1
        trace_kvm_exit(w, cpu, v, reason, 0, guest_vcpu(w, v).current, now_ns)
        host_work(w, cpu, costs.hlt_exit_ns, HALT, now_ns)
    elif reason == EXIT_PAUSE:
        vcpu.pause_exits += 1
        note_pause(w, v, now_ns)
        vcpu.cpl_kernel = at_cpl0(w, v)
        grow_ple_window(w, v)
        trace_kvm_exit(w, cpu, v, reason, ple_window_ns(w, v), guest_vcpu(w, v).current, now_ns)
        scan_ns = costs.pause_scan_ns * kvm(w, vcpu.vm).nr_vcpus
        host_work(w, cpu, costs.pause_exit_ns + scan_ns, ON_SPIN, now_ns)
    elif reason == EXIT_HYPERCALL:
        vcpu.hypercalls += 1
        trace_kvm_exit(w, cpu, v, reason, 0, guest_vcpu(w, v).current, now_ns)
        host_work(w, cpu, costs.vm_exit_ns, HYPERCALL, now_ns)


@kjit
def enter_guest(w, cpu, now_ns):
    """vcpu_run(): reschedule if anybody asked for it, leave if there is no run time, else enter the guest."""
    update_rq_clock(w, cpu, now_ns)
    v = pcpu(w, cpu).vcpu
    if cpu_rq(w, cpu).need_resched and not delays_preemption(w, v, now_ns):
        reschedule(w, cpu, 0, now_ns)
        return
    work = task_struct(w, v).exit_work
    if work & WORK_THROTTLE and throttle_cfs_rq_work(w, v):
        reschedule(w, cpu, 0, now_ns)
        return
    if work & WORK_SIGNAL:
        stop_vcpu(w, cpu, v, now_ns)
        return
    if pvsched(w).cs_bits:
        pvsched_entry(w, v, now_ns)
    wake_from_halt(w, v, now_ns)
    if record_steal_time(w, v) & KVM_VCPU_FLUSH_TLB:
        kvm_vcpu(w, v).pv_tlb_flush += 1
        guest_vcpu(w, v).cold_ns += host_costs(w).tlb_flush_ns
    set_mode(w, cpu, GUEST, now_ns)
    trace_kvm_entry(w, cpu, v, now_ns)
    guest_vcpu(w, v).cpu = cpu
    guest_vcpu(w, v).speed_1024 = thread_speed(w, cpu)
    handle_exit(w, cpu, guest_run(w, v, now_ns), now_ns)


@kjit
def stop_vcpu(w, cpu, v, now_ns):
    """KVM_RUN returns, since a signal is pending, and the thread sleeps in QEMU until the VM goes on (`vm_pause`)."""
    slot = event_slots(w).timer + v
    guest_vcpu(w, v).timer_due_ns = event(w, slot).when_ns
    set_event(w, slot, NEVER)
    kvm_vcpu(w, v).stopped = 1
    task_struct(w, v).exit_work &= ~WORK_SIGNAL
    switch_to(w, cpu, v, block_task(w, cpu, TASK_INTERRUPTIBLE), 0, now_ns)
    kvm_vcpu(w, v).blocking = kvm_vcpu(w, v).asleep = 0  # it does not sleep in kvm_vcpu_block(): interrupts wait


@kjit
def signal_pending(w, v):
    """Whether a vCPU is to stop."""
    return task_struct(w, v).exit_work & WORK_SIGNAL != 0


@kjit
def reschedule(w, cpu, extra_ns, now_ns):
    """schedule() of a CPU whose current task stays runnable; `extra_ns` of host work go before the next entry."""
    prev = cpu_rq(w, cpu).curr
    if pvsched(w).cs_bits:
        force_boosted(w, cpu, True)
    switch_to(w, cpu, prev, schedule(w, cpu), extra_ns, now_ns)


@kjit
def give_way(w, cpu, state, now_ns):
    """schedule() of a CPU whose current task sleeps, or ends, in `state`."""
    prev = cpu_rq(w, cpu).curr
    if pvsched(w).cs_bits:
        force_boosted(w, cpu, False)
    switch_to(w, cpu, prev, block_task(w, cpu, state), 0, now_ns)


@kjit
def sched_out(w, cpu, v, now_ns):
    """The preempt notifier of the vCPU that loses its CPU, and what the statistics keep of it."""
    g = guest_vcpu(w, v)
    runnable = task_struct(w, v).state == 0
    kernel = at_cpl0(w, v)
    kvm_sched_out(w, v, runnable, kernel, 1)
    lapic(w, v).cpu = NIL
    g.sched_out_ns = now_ns
    g.last_cpu = cpu
    g.last_guest_ns = pcpu(w, cpu).guest_ns + pcpu(w, cpu).task_ns
    pcpu(w, cpu).last_vcpu = v
    if runnable and g.current != NIL:
        th = guest_thread(w, g.current)
        g.preempt_in_lock += th.nr_held > 0
        g.preempt_as_waiter += th.wait_lock != NIL
        if guest_vm(w, g.vm).steal_time == STEAL_REPORTED and kvm_vcpu(w, v).st_preempted & KVM_VCPU_PREEMPTED:
            notify_preempted(w, g.current, now_ns)


@kjit
def sched_in(w, cpu, v, now_ns):
    """The preempt notifier of the vCPU that gets the CPU. Returns the cost of the switch (ns)."""
    g = guest_vcpu(w, v)
    vcpu = kvm_vcpu(w, v)
    pc = pcpu(w, cpu)
    costs = host_costs(w)
    if vcpu.blocking:
        g.idle_ns += now_ns - g.sched_out_ns
        halt_finished(w, v, now_ns - g.halt_start_ns, 0, 1)
    else:
        g.steal_ns += now_ns - g.sched_out_ns
    if pvsched(w).cs_bits:
        pvsched_gets_cpu(w, v, vcpu.blocking, g.sched_out_ns, now_ns)
    kvm_sched_in(w, v)
    lapic(w, v).cpu = cpu
    cost = 0
    foreign = pc.guest_ns + pc.task_ns - g.last_guest_ns
    if pc.last_vcpu != v or g.last_cpu != cpu or foreign > 0:
        cost = costs.context_switch_ns
        if pc.last_vcpu != NIL and guest_vcpu(w, pc.last_vcpu).vm != g.vm:
            cost += costs.ibpb_ns
        if g.last_cpu != cpu and g.last_cpu != NIL:
            cost += costs.migration_ns
        lose_caches(w, cpu, v)
    return cost


@kjit
def switch_to(w, cpu, prev, following, extra_ns, now_ns):
    """context_switch() with the preempt notifiers of vCPUs, then host work until the next task's entry."""
    pc = pcpu(w, cpu)
    if pc.hint_vcpu != NIL:
        trace_hint(w, cpu, pc.hint_vcpu, following, pc.hint_awaited, now_ns)
        if following == pc.hint_vcpu:
            kvm_vcpu(w, following).ple_yield_ran += 1
            kvm_vcpu(w, following).ple_yield_useful += pc.hint_awaited
        pc.hint_vcpu = NIL
    cost = extra_ns
    if following != prev:
        if pc.vcpu != NIL:
            sched_out(w, cpu, prev, now_ns)
            vcpu_leaves(w, prev, now_ns)
        pc.vcpu = following if following < event_slots(w).nr_vcpus else NIL
        if following == NIL:
            set_mode(w, cpu, IDLE, now_ns)
            set_run_event(w, cpu, NEVER)
            core_changes(w, cpu, now_ns)
            return
        if pc.vcpu != NIL:
            cost += sched_in(w, cpu, following, now_ns)
            vcpu_comes(w, cpu, following, now_ns)
        elif prev != NIL:
            cost += host_costs(w).task_switch_ns
        start_tick(w, cpu, now_ns)
    elif following == NIL:
        return  # the task that an idle CPU was woken for has been killed
    if pc.vcpu != NIL and kvm_vcpu(w, following).parked:
        on_spin_finish(w, following)
    host_work(w, cpu, cost, ENTER, now_ns)
    if prev == NIL:
        core_changes(w, cpu, now_ns)


@kjit
def start_tick(w, cpu, now_ns):
    """An idle CPU has no tick; one that gets a task joins its phase again."""
    if event(w, event_slots(w).tick + cpu).when_ns == NEVER:
        set_next_tick(w, cpu, now_ns)


@kjit
def set_next_tick(w, cpu, now_ns):
    """A CPU's tick comes at a multiple of its period, in its phase, or by a draw up to `tick_jitter_ns` later."""
    tick_ns, phase_ns, state = sched_tunables(w).tick_ns, pcpu(w, cpu).tick_phase_ns, engine(w)
    number = (now_ns - phase_ns) // tick_ns + 1
    when_ns = number * tick_ns + phase_ns
    if state.tick_jitter_ns:
        when_ns += draw_of(w, CPU_TICK, cpu, number) * state.tick_jitter_ns >> 32
    set_event(w, event_slots(w).tick + cpu, when_ns)


@kjit
def has_wakeup(w, v):
    """kvm_arch_vcpu_runnable(): a halted vCPU has something to do."""
    return lapic(w, v).irr != 0 or kvm_vcpu(w, v).pv_unhalted != 0


@kjit
def on_halt(w, cpu, now_ns):
    """kvm_vcpu_halt(): return at once if there is something to do, poll for it while alone, or block."""
    v = pcpu(w, cpu).vcpu
    g = guest_vcpu(w, v)
    g.halt_start_ns = now_ns
    if signal_pending(w, v):
        kvm_vcpu(w, v).stops_in_halt = not has_wakeup(w, v)
        enter_guest(w, cpu, now_ns)
        return
    if has_wakeup(w, v):
        kvm_vcpu(w, v).pv_unhalted = 0
        enter_guest(w, cpu, now_ns)
        return
    limit = halt_poll_limit(w, v)
    rq = cpu_rq(w, cpu)
    if limit > 0:
        if rq.nr_running == 1 and not rq.need_resched:
            set_mode(w, cpu, POLL, now_ns)
            trace_halt_poll(w, cpu, v, limit, now_ns)
            set_run_event(w, cpu, now_ns + limit)
            return
        kvm_vcpu(w, v).halt_polled_ns = 0
    block(w, cpu, now_ns)


@kjit
def block(w, cpu, now_ns):
    """kvm_vcpu_block(): the vCPU thread sleeps."""
    update_rq_clock(w, cpu, now_ns)
    if pvsched(w).cs_bits:
        pvsched_exit(w, pcpu(w, cpu).vcpu, True, now_ns)
    give_way(w, cpu, TASK_INTERRUPTIBLE, now_ns)


@kjit
def halt_again(w, cpu, now_ns):
    """Polling ends: by a wake-up, by another task that wants the CPU, or because its time is over."""
    v = pcpu(w, cpu).vcpu
    g = guest_vcpu(w, v)
    polled = now_ns - g.halt_start_ns
    if signal_pending(w, v):
        kvm_vcpu(w, v).stops_in_halt = not has_wakeup(w, v)
        g.idle_ns += polled
        halt_finished(w, v, polled, 1, 0)
        enter_guest(w, cpu, now_ns)
        return
    if has_wakeup(w, v):
        kvm_vcpu(w, v).pv_unhalted = 0
        g.idle_ns += polled
        halt_finished(w, v, polled, 1, 1)
        enter_guest(w, cpu, now_ns)
        return
    if cpu_rq(w, cpu).nr_running == 1 and not cpu_rq(w, cpu).need_resched:
        if polled < kvm_vcpu(w, v).halt_polled_ns:
            set_run_event(w, cpu, g.halt_start_ns + kvm_vcpu(w, v).halt_polled_ns)
            return
    kvm_vcpu(w, v).halt_polled_ns = polled
    g.idle_ns += polled
    block(w, cpu, now_ns)
