"""The only loop: take the next event, let host, KVM and guest react, kick the CPUs that were asked to reschedule."""

from vcpu_env.base.interrupts import INTERRUPTED
from vcpu_env.base.jit import NIL, entry_point, kjit
from vcpu_env.base.stop import stop_asked
from vcpu_env.base.timeline import NEVER, event, machine_clock, next_slot, set_event, time_stands_still
from vcpu_env.engine.alignment import alignment_tick, settle_alignment
from vcpu_env.engine.directed_yield import hypercall, on_spin, take_answer
from vcpu_env.engine.host_changes import host_change_is_due
from vcpu_env.engine.host_tasks.devices import device_event
from vcpu_env.engine.host_tasks.run import account_task, enter_task, start_host_tasks, task_timer
from vcpu_env.engine.state import ANSWERED, FAILED, RUNNING, engine, host_costs
from vcpu_env.engine.vcpu_thread import (
    enter_guest,
    halt_again,
    handle_exit,
    host_work,
    leave_guest,
    on_halt,
    reschedule,
    set_next_tick,
)
from vcpu_env.engine.vm_life import vm_begins_or_ends
from vcpu_env.guest.entry_points import guest_run
from vcpu_env.guest.run import EXIT_PAUSE, account_segment, spun_too_long, timer_expired
from vcpu_env.kernel.cgroup import cgroup_event, timer_cpu
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.core import pop_kicked
from vcpu_env.kernel.entry_points import flush_smp_call_function_queue, sched_tick
from vcpu_env.kernel.fair_server import dl_server_timer
from vcpu_env.kernel.throttle import cfsb_csd_unthrottle
from vcpu_env.kernel.types import CSD_UNTHROTTLE, TIF_NEED_RESCHED, cpu_rq, sched_tunables
from vcpu_env.kernel.v7_3.fair import hrtick
from vcpu_env.kvm.lapic import lapic
from vcpu_env.kvm.pcpu import (
    ENTER,
    GUEST,
    HALT,
    HOST,
    HYPERCALL,
    IDLE,
    KICK_EVENT,
    KICK_POSTED,
    KICK_RESCHED,
    ON_SPIN,
    POLL,
    TASK,
    event_slots,
    kick,
    pcpu,
    set_mode,
    set_run_event,
)
from vcpu_env.kvm.pvsched import preempt_for_boosted, pvsched
from vcpu_env.kvm.types import kvm_vcpu
from vcpu_env.policy.coscheduling import coscheduling_tick


@kjit
def interrupt(w, cpu, cost_ns, now_ns):
    """A CPU that is not idle serves an interrupt. It takes the CPU from the guest or the task, or delays host work."""
    pc = pcpu(w, cpu)
    if pc.mode == GUEST:
        kvm_vcpu(w, pc.vcpu).irq_exits += 1
        kvm_vcpu(w, pc.vcpu).at_instruction_boundary = 1
        leave_guest(w, cpu, now_ns)
        host_work(w, cpu, cost_ns, ENTER, now_ns)
    elif pc.mode == TASK:
        account_task(w, cpu, now_ns)
        host_work(w, cpu, cost_ns, ENTER, now_ns)
    elif pc.mode == HOST:
        set_run_event(w, cpu, event(w, event_slots(w).run + cpu).when_ns + cost_ns)


@kjit
def on_cgroup_event(w, slot, now_ns):
    """A timer of bandwidth control interrupts the CPU that has started it, or somebody writes to a cgroup.

    The CPU unthrottles its own queue; if it idles, it schedules when it is done.
    """
    cpu = timer_cpu(w, slot)
    cost_ns = cgroup_event(w, slot, now_ns)
    if cpu == NIL:
        return
    costs, mode = host_costs(w), pcpu(w, cpu).mode
    cost_ns += costs.bandwidth_timer_ns
    if mode == IDLE and cpu_rq(w, cpu).need_resched:
        update_rq_clock(w, cpu, now_ns)
        reschedule(w, cpu, costs.wake_ns + cost_ns, now_ns)
    else:
        interrupt(w, cpu, cost_ns + (costs.vm_exit_ns if mode == GUEST else 0), now_ns)


@kjit
def on_tick(w, cpu, now_ns):
    """The host's tick. It interrupts the guest and delays host work.

    An idle CPU has none: nothing that it could change matters before the CPU's next task. `exact_ticks` runs it all
    the same.
    """
    pc = pcpu(w, cpu)
    idle = pc.mode == IDLE
    if idle and not engine(w).exact_ticks:
        set_event(w, event_slots(w).tick + cpu, NEVER)
    else:
        set_next_tick(w, cpu, now_ns)
    update_rq_clock(w, cpu, now_ns)
    if idle:
        return
    sched_tick(w, cpu)
    coscheduling_tick(w, cpu, now_ns)
    alignment_tick(w, cpu)
    interrupt(w, cpu, host_costs(w).tick_ns if pc.vcpu != NIL else host_costs(w).task_tick_ns, now_ns)


@kjit
def on_hrtick(w, cpu, now_ns):
    """The slice of the running task is over: an interrupt as the tick's, and the CPU reschedules (kernel 7.3)."""
    set_event(w, event_slots(w).hrtick + cpu, NEVER)
    update_rq_clock(w, cpu, now_ns)
    hrtick(w, cpu)
    interrupt(w, cpu, host_costs(w).tick_ns if pcpu(w, cpu).vcpu != NIL else host_costs(w).task_tick_ns, now_ns)


@kjit
def on_fair_server(w, cpu, now_ns):
    """The timer of a CPU's fair server: an interrupt as the tick's, after which fair tasks may come first."""
    update_rq_clock(w, cpu, now_ns)
    dl_server_timer(w, cpu)
    interrupt(w, cpu, host_costs(w).tick_ns if pcpu(w, cpu).vcpu != NIL else host_costs(w).task_tick_ns, now_ns)


@kjit
def on_kick(w, cpu, now_ns):
    """An IPI arrives: reschedule, injection of an interrupt, or a posted interrupt."""
    pc = pcpu(w, cpu)
    reasons = pc.kick_reasons
    pc.kick_reasons = 0
    set_event(w, event_slots(w).kick + cpu, NEVER)
    cost_ns = cfsb_csd_unthrottle(w, cpu, now_ns) if cpu_rq(w, cpu).csd_pending & CSD_UNTHROTTLE else 0
    if cpu_rq(w, cpu).csd_pending:
        update_rq_clock(w, cpu, now_ns)
        flush_smp_call_function_queue(w, cpu)
        if pvsched(w).cs_bits:
            preempt_for_boosted(w, cpu)
    if pc.mode == IDLE:
        update_rq_clock(w, cpu, now_ns)
        if cpu_rq(w, cpu).need_resched or cpu_rq(w, cpu).nr_running > 0:
            reschedule(w, cpu, cost_ns, now_ns)
    elif pc.mode == POLL:
        halt_again(w, cpu, now_ns)
    elif pc.mode == GUEST:
        v = pc.vcpu
        if reasons & (KICK_RESCHED | KICK_EVENT):
            kvm_vcpu(w, v).irq_exits += 1
            kvm_vcpu(w, v).at_instruction_boundary = 1
            leave_guest(w, cpu, now_ns)
            costs = host_costs(w)
            cost_ns += costs.injection_exit_ns if lapic(w, v).irr else costs.vm_exit_ns
            host_work(w, cpu, cost_ns, ENTER, now_ns)
        elif reasons & KICK_POSTED:
            account_segment(w, v, now_ns)
            handle_exit(w, cpu, guest_run(w, v, now_ns), now_ns)
    elif pc.mode == TASK and cost_ns == 0:
        account_task(w, cpu, now_ns)
        enter_task(w, cpu, now_ns)
    else:
        interrupt(w, cpu, cost_ns, now_ns)


@kjit
def on_run(w, cpu, now_ns):
    """What the CPU was doing is done: guest segment, poll, a task's computing, or host work with what follows it."""
    pc = pcpu(w, cpu)
    set_run_event(w, cpu, NEVER)
    if pc.mode == GUEST:
        account_segment(w, pc.vcpu, now_ns)
        reason = EXIT_PAUSE if spun_too_long(w, pc.vcpu, now_ns) else guest_run(w, pc.vcpu, now_ns)
        handle_exit(w, cpu, reason, now_ns)
    elif pc.mode == POLL:
        halt_again(w, cpu, now_ns)
    elif pc.mode == TASK:
        account_task(w, cpu, now_ns)
        enter_task(w, cpu, now_ns)
    elif pc.next_work == ON_SPIN:
        on_spin(w, cpu, now_ns)
    elif pc.next_work == HALT:
        on_halt(w, cpu, now_ns)
    elif pc.next_work == HYPERCALL:
        hypercall(w, cpu, now_ns)
    elif pc.vcpu == NIL:
        enter_task(w, cpu, now_ns)
    else:
        enter_guest(w, cpu, now_ns)


@kjit
def send_kicks(w, now_ns):
    """Every CPU on which resched_curr() was called: an idle one wakes up, one in guest or user mode gets an IPI.

    A CPU in the host kernel sees the flag before it enters the guest; with lazy preemption a running guest is not
    kicked. CPUs that have to unthrottle their queues are asked to one after the other.
    """
    cpu, costs = pop_kicked(w), host_costs(w)
    while cpu != NIL:
        rq, mode = cpu_rq(w, cpu), pcpu(w, cpu).mode
        called = rq.csd_pending != 0
        if rq.csd_pending & CSD_UNTHROTTLE:
            now_ns += sched_tunables(w).distribute_cost_ns
        urgent = called or rq.need_resched & TIF_NEED_RESCHED
        if mode == IDLE:
            kick(w, cpu, KICK_RESCHED, now_ns + costs.wake_ns)
        elif mode == POLL:
            kick(w, cpu, KICK_RESCHED, now_ns)
        elif mode == GUEST and urgent:
            kick(w, cpu, KICK_RESCHED, now_ns + costs.resched_ipi_ns)
        elif (mode == TASK and urgent) or called:
            kick(w, cpu, KICK_RESCHED, now_ns + costs.task_ipi_ns)
        cpu = pop_kicked(w)


@kjit
def dispatch(w, slot, now_ns):
    """One event."""
    slots = event_slots(w)
    if slot < slots.kick:
        on_tick(w, slot, now_ns)
    elif slot < slots.run:
        on_kick(w, slot - slots.kick, now_ns)
    elif slot < slots.timer:
        on_run(w, slot - slots.run, now_ns)
    elif slot < slots.io:
        timer_expired(w, slot - slots.timer, now_ns)
    elif slot < slots.task:
        device_event(w, slot - slots.io, now_ns)
    elif slot < slots.vm:
        task_timer(w, slot - slots.task, now_ns)
    elif slot < slots.hrtick:
        vm_begins_or_ends(w, slot - slots.vm, now_ns)
    elif slot < slots.fair_server:
        on_hrtick(w, slot - slots.hrtick, now_ns)
    elif slot < slots.end:
        on_fair_server(w, slot - slots.fair_server, now_ns)
    elif slot < slots.change:
        on_cgroup_event(w, slot, now_ns)
    else:
        host_change_is_due(w, slot, now_ns)
    send_kicks(w, now_ns)


@kjit
def cut_short(w, end_ns):
    """Whether `run_until` has returned because of a signal: nothing else keeps a running machine from its end."""
    behind = machine_clock(w).now_ns < end_ns or event(w, next_slot(w)).when_ns <= end_ns
    return engine(w).status == RUNNING and behind


@entry_point
def run_until(w, end_ns):
    """Run all events up to and including `end_ns`, unless a decision has to be answered first. Returns the status.

    An answer to the decision that the machine had stopped at is taken first. Where time stands still the machine has
    failed. Where a signal has arrived, it returns INTERRUPTED, in a fraction of a second (`EVENTS_BETWEEN_LOOKS`);
    called again, it goes on as if it had not.
    """
    clock = machine_clock(w)
    state = engine(w)
    if state.status == ANSWERED:
        take_answer(w, clock.now_ns)
        send_kicks(w, clock.now_ns)
    while state.status == RUNNING:
        slot = next_slot(w)
        when = event(w, slot).when_ns
        if when > end_ns:
            clock.now_ns = max(clock.now_ns, end_ns)
            break
        clock.now_ns = when
        clock.events += 1
        dispatch(w, slot, when)
        if clock.events >= clock.check_events:
            if time_stands_still(w, slot):
                state.status = FAILED
            elif stop_asked():
                return INTERRUPTED
    return state.status


@entry_point
def start_tasks(w):
    """Start the VMs that exist from time 0 on, then the host's other tasks; what comes later goes on the timeline."""
    slots = event_slots(w)
    for vm_id in range(slots.hrtick - slots.vm):
        vm_begins_or_ends(w, vm_id, 0)
    start_host_tasks(w)
    send_kicks(w, 0)
    return 0


@kjit
def settle(w, now_ns):
    """Book what is under way up to now, so that the counters add up to the time that has passed."""
    for cpu in range(event_slots(w).nr_cpus):
        pc = pcpu(w, cpu)
        set_mode(w, cpu, pc.mode, now_ns)
        if pc.mode == GUEST:
            account_segment(w, pc.vcpu, now_ns)
        elif pc.mode == TASK:
            account_task(w, cpu, now_ns)
    slots = event_slots(w)
    settle_alignment(w, slots.hrtick - slots.vm, now_ns)
