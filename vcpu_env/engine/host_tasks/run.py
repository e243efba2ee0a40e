"""A host task on a CPU: the interpreter of its program, its sleeps, and its timers.

Everything but computing is a system call: first its time is spent, then it happens; only who waits for a signal is on
its list from the start, so that no signal is lost on the way to sleep. What the C library does in user mode takes no
time. A task looks at the resched flag on its way back to user mode, as in exit_to_user_mode_loop().
"""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.base.random import HOST_TASK_DURATION, draw_of, sample
from vcpu_env.base.timeline import MOST_STEPS_AT_ONCE, NEVER, event, note_stall, set_event
from vcpu_env.engine.host_tasks.devices import request_served
from vcpu_env.engine.host_tasks.program import (
    OP_AFFINITY,
    OP_BARRIER,
    OP_CREATE_VCPU,
    OP_EXIT,
    OP_GOTO,
    OP_GROUP,
    OP_LOCK,
    OP_NICE,
    OP_POLICY,
    OP_REPEAT,
    OP_RUN,
    OP_SERVED,
    OP_SIGNAL,
    OP_SLEEP,
    OP_TIMER,
    OP_UNLOCK,
    OP_WAIT,
    OP_YIELD,
    SIGNAL_KEPT,
)
from vcpu_env.engine.host_tasks.signals import begin_wait, send_signal, try_lock, unlock, wait_at_barrier, wait_for
from vcpu_env.engine.host_tasks.types import STAGE_BEGIN, STAGE_CALLED, STAGE_WOKEN, host_op, host_signal, host_task
from vcpu_env.engine.state import host_costs
from vcpu_env.engine.vcpu_thread import begin_vcpu, give_way, host_work, reschedule, switch_to
from vcpu_env.guest.types import guest_vm
from vcpu_env.kernel.affinity import cpumask_equal
from vcpu_env.kernel.clock import update_rq_clock
from vcpu_env.kernel.entry_points import (
    migration_cpu_stop,
    sched_move_task,
    sched_setscheduler,
    sched_yield,
    set_cpus_allowed,
    set_user_nice,
    try_to_wake_up,
    wake_up_new_task,
)
from vcpu_env.kernel.throttle import throttle_cfs_rq_work
from vcpu_env.kernel.types import TASK_DEAD, TASK_INTERRUPTIBLE, cpu_rq, sched_tunables, task_struct
from vcpu_env.kvm.pcpu import ENTER, IDLE, KICK_RESCHED, TASK, event_slots, kick, pcpu, set_mode, set_run_event

GO_ON, CPU_TAKEN, BLOCKS = range(3)
"""What an operation leaves: the next one follows; the CPU does something else now; the task is to sleep."""


@kjit
def account_task(w, cpu, now_ns):
    """Book what the running host task has computed since its segment began."""
    ht = host_task(w, cpu_rq(w, cpu).curr - event_slots(w).nr_vcpus)
    past = now_ns - ht.segment_start_ns
    ht.segment_start_ns = now_ns
    ht.run_ns += past
    ht.remaining_ns -= past


@kjit
def duration(w, h, op):
    """A duration from the task's own random stream."""
    ht = host_task(w, h)
    ht.draws += 1
    return sample(op.dist, op.mean_ns, draw_of(w, HOST_TASK_DURATION, h, ht.draws))


@kjit
def set_task_timer(w, h, when_ns):
    """Let the task's timer expire at `when_ns`, or within its slack after that."""
    host_task(w, h).slack_used = 0
    set_event(w, event_slots(w).task + h, when_ns)


@kjit
def start_sleep(w, h, op, now_ns):
    """nanosleep(), clock_nanosleep(TIMER_ABSTIME)."""
    ht = host_task(w, h)
    when_ns = now_ns
    if op.kind == OP_SLEEP:
        when_ns += duration(w, h, op)
    else:
        last_ns = ht.timer_ns[op.a]
        when_ns = (ht.start_ns if last_ns == NIL else last_ns) + op.mean_ns
        ht.timer_ns[op.a] = now_ns if op.b and when_ns < now_ns else when_ns
    if when_ns <= now_ns:
        return GO_ON
    set_task_timer(w, h, when_ns)
    return BLOCKS


@kjit
def create_vcpu(w, cpu, h, now_ns):
    """clone(): the VMM's next vCPU thread, forked on the VMM's CPU; nothing once all are there."""
    ht = host_task(w, h)
    vm = guest_vm(w, ht.vm)
    if ht.nr_created < vm.nr_vcpus:
        begin_vcpu(w, vm.first_vcpu + ht.nr_created, cpu, now_ns)
        ht.nr_created += 1


@kjit
def system_call(w, cpu, h, op, now_ns):
    """What a system call does, its time being spent."""
    kind = op.kind
    if kind == OP_SLEEP or kind == OP_TIMER:
        return start_sleep(w, h, op, now_ns)
    if kind == OP_WAIT:
        return BLOCKS
    if kind == OP_SIGNAL:
        send_signal(w, cpu, op.a, op.b)
        return GO_ON
    if kind == OP_BARRIER:
        return GO_ON if wait_at_barrier(w, cpu, h, op.a) else BLOCKS
    if kind == OP_UNLOCK:
        unlock(w, cpu, op.a)
        return GO_ON
    if kind == OP_CREATE_VCPU:
        create_vcpu(w, cpu, h, now_ns)
        return GO_ON
    if kind == OP_LOCK:
        if try_lock(w, op.a):
            return GO_ON
        wait_for(w, h, op.a)
        return BLOCKS
    if kind != OP_YIELD:
        return change_task(w, cpu, h, op, now_ns)
    host_task(w, h).yields += 1
    next_operation(w, h)
    sched_yield(w, cpu)
    reschedule(w, cpu, 0, now_ns)
    return CPU_TAKEN


@kjit
def next_operation(w, h):
    """The current operation of a task is over."""
    ht = host_task(w, h)
    ht.stage = STAGE_BEGIN
    ht.pc += 1


@kjit
def change_task(w, cpu, h, op, now_ns):
    """The running task changes where and how it is scheduled; off a CPU that it may not use it goes at once."""
    p = event_slots(w).nr_vcpus + h
    if op.kind == OP_GROUP:
        sched_move_task(w, p, op.a)
    elif op.kind == OP_NICE:
        set_user_nice(w, p, op.a)
    elif op.kind == OP_POLICY:
        sched_setscheduler(w, p, op.a)
    else:
        dst = set_cpus_allowed(w, p, op.a, op.b, op.dist, op.mean_ns, cpu)
        if dst != NIL:
            next_operation(w, h)
            switch_to(w, cpu, p, migration_cpu_stop(w, cpu, dst), 0, now_ns)
            return CPU_TAKEN
    return GO_ON


@kjit
def control(w, ht, op):
    """Jumps and loops: the next program counter."""
    if op.kind == OP_GOTO:
        return op.a
    level, times = op.b & 7, op.b >> 3
    ht.loops[level] += 1
    if ht.loops[level] < times:
        return op.a
    ht.loops[level] = 0
    return ht.pc + 1


@kjit
def needs_no_call(w, h, op):
    """Whether it is done in user mode: a mutex that is free is taken, one for which nobody waits is let go, a condition
    variable without waiters is signalled, and a task that is where it is to be stays there.
    """
    if op.kind == OP_SIGNAL:
        return not op.b & SIGNAL_KEPT and host_signal(w, op.a).head == NIL
    if op.kind == OP_LOCK:
        return try_lock(w, op.a)
    if op.kind == OP_UNLOCK and host_signal(w, op.a).head == NIL:
        host_signal(w, op.a).count = 0
        return True
    if op.kind == OP_AFFINITY:
        return cpumask_equal(w, event_slots(w).nr_vcpus + h, op.a, op.b, op.dist, op.mean_ns)
    if op.kind >= OP_GROUP:
        task = task_struct(w, event_slots(w).nr_vcpus + h)
        now = task.tg if op.kind == OP_GROUP else task.nice if op.kind == OP_NICE else task.policy
        return now == op.a
    return False


@kjit
def advance(w, cpu, h, now_ns):
    """One operation of the running task's program. Returns as `system_call`."""
    ht = host_task(w, h)
    op = host_op(w, ht.pc)
    kind = op.kind
    if kind == OP_RUN:
        ht.remaining_ns = duration(w, h, op)
        ht.pc += 1
        return GO_ON
    if kind == OP_GOTO or kind == OP_REPEAT:
        ht.pc = control(w, ht, op)
        return GO_ON
    if kind == OP_SERVED:
        request_served(w, cpu, ht.vm, now_ns)
        ht.pc += 1
        return GO_ON
    if needs_no_call(w, h, op):
        next_operation(w, h)
        return GO_ON
    if ht.stage == STAGE_BEGIN and kind != OP_EXIT:
        ht.stage = STAGE_CALLED
        if kind == OP_WAIT:
            begin_wait(w, cpu, h, op.a, op.b)
        costs = host_costs(w)
        cost = costs.task_yield_ns if kind == OP_YIELD else costs.task_syscall_ns
        if cost > 0:
            host_work(w, cpu, cost, ENTER, now_ns)
            return CPU_TAKEN
    result = GO_ON
    if kind == OP_EXIT:
        result = BLOCKS
    elif ht.stage == STAGE_CALLED:
        result = system_call(w, cpu, h, op, now_ns)
    if result == BLOCKS:
        ht.stage = STAGE_BEGIN if kind == OP_LOCK else STAGE_WOKEN
        state = TASK_DEAD if kind == OP_EXIT else TASK_INTERRUPTIBLE
        give_way(w, cpu, state, now_ns)
        return CPU_TAKEN
    if result == GO_ON:
        next_operation(w, h)
    return result


@kjit
def enter_task(w, cpu, now_ns):
    """The host task that has the CPU returns to user mode, unless it has to give the CPU away first."""
    update_rq_clock(w, cpu, now_ns)
    p = cpu_rq(w, cpu).curr
    h = p - event_slots(w).nr_vcpus
    ht = host_task(w, h)
    steps = 0
    while True:
        steps += 1
        if steps > MOST_STEPS_AT_ONCE:
            note_stall(w)
            return
        if cpu_rq(w, cpu).need_resched:
            reschedule(w, cpu, 0, now_ns)
            return
        if task_struct(w, p).exit_work and throttle_cfs_rq_work(w, p):
            reschedule(w, cpu, 0, now_ns)
            return
        if ht.remaining_ns > 0:
            ht.segment_start_ns = now_ns
            set_mode(w, cpu, TASK, now_ns)
            set_run_event(w, cpu, now_ns + ht.remaining_ns)
            return
        if advance(w, cpu, h, now_ns) != GO_ON:
            return


@kjit
def start_host_tasks(w):
    """The host tasks that are there from the beginning become runnable; the others have a timer for it."""
    slots = event_slots(w)
    for h in range(slots.vm - slots.task):
        if host_task(w, h).start_ns > 0:
            set_event(w, slots.task + h, host_task(w, h).start_ns)
        else:
            begin(w, h, 0)


@kjit
def begin(w, h, now_ns):
    """fork(): the task becomes runnable for the first time."""
    p = event_slots(w).nr_vcpus + h
    cpu = task_struct(w, p).cpu
    host_task(w, h).started = 1
    update_rq_clock(w, cpu, now_ns)
    wake_up_new_task(w, p, cpu)


@kjit
def task_timer(w, h, now_ns):
    """A host task's timer interrupts the CPU on which the task slept.

    hrtimer_interrupt(): within its slack a timer expires as soon as the CPU has another timer interrupt, here a tick.
    """
    slots, ht = event_slots(w), host_task(w, h)
    set_event(w, slots.task + h, NEVER)
    if ht.started == 0:
        begin(w, h, now_ns)
        return
    p = slots.nr_vcpus + h
    cpu = task_struct(w, p).cpu
    idle = pcpu(w, cpu).mode == IDLE
    at_tick = not idle and (now_ns - pcpu(w, cpu).tick_phase_ns) % sched_tunables(w).tick_ns == 0
    if ht.slack_ns > 0 and ht.slack_used == 0 and not at_tick:
        ht.slack_used = 1
        latest_ns = now_ns + ht.slack_ns
        set_event(w, slots.task + h, latest_ns if idle else min(latest_ns, event(w, slots.tick + cpu).when_ns))
        return
    update_rq_clock(w, cpu, now_ns)
    ht.wakeups += 1
    try_to_wake_up(w, p, cpu, 0)
    if pcpu(w, cpu).mode == TASK and cpu_rq(w, cpu).need_resched:
        kick(w, cpu, KICK_RESCHED, now_ns)
