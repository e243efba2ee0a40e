"""What happens on a host of many CPUs between two records of a trace: ticks, timers, operations, and what they lead to.

Kernel work takes no time. After an event on a CPU, that CPU goes back to user mode or idles; then, in the order in
which they were sent, the interrupts to other CPUs are served, each to the end.
"""

from vcpu_env.base.jit import NIL, entry_point, kjit
from vcpu_env.kernel import affinity, core
from vcpu_env.kernel.balance_trigger import sched_balance_rq
from vcpu_env.kernel.cgroup import cgroup_event
from vcpu_env.kernel.clock import schedule_clock, set_time, update_rq_clock
from vcpu_env.kernel.entry_points import (
    flush_smp_call_function_queue,
    sched_tick,
    sched_yield,
    schedule,
    try_to_wake_up,
    wake_up_new_task,
    yield_to_begin,
    yield_to_end,
)
from vcpu_env.kernel.find_busiest import CPU_IDLE, CPU_NOT_IDLE
from vcpu_env.kernel.group_weight import sched_group_set_shares
from vcpu_env.kernel.throttle import cfsb_csd_unthrottle, tg_set_cfs_bandwidth, throttle_cfs_rq_work
from vcpu_env.kernel.types import CSD_UNTHROTTLE, WORK_THROTTLE, cpu_rq, sched_tunables, task_struct


@kjit
def leave_kernel(w, cpu, now_ns):
    """exit_to_user_mode_loop(), do_idle(). A CPU reschedules while it is asked to; tasks without run time leave."""
    rq = cpu_rq(w, cpu)
    if rq.csd_pending & CSD_UNTHROTTLE:
        cfsb_csd_unthrottle(w, cpu, now_ns)
    if rq.csd_pending:
        update_rq_clock(w, cpu, now_ns)
        flush_smp_call_function_queue(w, cpu)
    while True:
        if rq.need_resched == 0:
            p = rq.curr
            if p == NIL or task_struct(w, p).exit_work & WORK_THROTTLE == 0:
                return
            update_rq_clock(w, cpu, now_ns)
            if not throttle_cfs_rq_work(w, p):
                continue
        schedule_clock(w, cpu, now_ns)
        schedule(w, cpu)


@entry_point
def settle(w, cpu, now_ns):
    """A CPU leaves the kernel; then those that were sent interrupts do, first sent first served."""
    leave_kernel(w, cpu, now_ns)
    other = core.pop_kicked(w)
    while other != NIL:
        leave_kernel(w, other, now_ns)
        other = core.pop_kicked(w)
    return 0


@entry_point
def tick(w, cpu, now_ns):
    """A CPU's tick, if it has one: an idle CPU has not."""
    if cpu_rq(w, cpu).curr != NIL:
        update_rq_clock(w, cpu, now_ns)
        sched_tick(w, cpu)
        settle(w, cpu, now_ns)
    return 0


@entry_point
def ticks(w, now_ns):
    """One tick of every CPU, in the order of their numbers."""
    for cpu in range(sched_tunables(w).nr_cpus):
        tick(w, cpu, now_ns)
    return 0


@entry_point
def timer(w, slot, cpu, now_ns):
    """A timer of bandwidth control expires on a CPU."""
    cgroup_event(w, slot, now_ns)
    settle(w, cpu, now_ns)
    return 0


@entry_point
def fork(w, p, cpu, now_ns):
    """A task is forked by a task on a CPU."""
    set_time(w, now_ns)
    wake_up_new_task(w, p, cpu)
    settle(w, cpu, now_ns)
    return 0


@entry_point
def wake(w, p, cpu, flags, now_ns):
    """A task is woken by whoever runs on a CPU, or by an interrupt if that idles; returns whether it slept."""
    set_time(w, now_ns)
    ret = try_to_wake_up(w, p, cpu, flags)
    settle(w, cpu, now_ns)
    return min(ret, 1)


@entry_point
def block(w, p, state, now_ns):
    """A running task goes to sleep."""
    cpu = task_struct(w, p).cpu
    schedule_clock(w, cpu, now_ns)
    core.block_task(w, cpu, state)
    settle(w, cpu, now_ns)
    return 0


@entry_point
def exit_task(w, p, now_ns):
    """A running task ends."""
    cpu = task_struct(w, p).cpu
    schedule_clock(w, cpu, now_ns)
    core.exit_task(w, cpu)
    settle(w, cpu, now_ns)
    return 0


@entry_point
def yield_cpu(w, p, now_ns):
    """A running task calls sched_yield(). One that is alone there does not even look at the clock."""
    cpu = task_struct(w, p).cpu
    if cpu_rq(w, cpu).nr_running > 1:
        update_rq_clock(w, cpu, now_ns)
    sched_yield(w, cpu)
    schedule_clock(w, cpu, now_ns)
    schedule(w, cpu)
    settle(w, cpu, now_ns)
    return 0


@entry_point
def yield_to(w, p, to, now_ns):
    """A running task calls yield_to(); returns what that does."""
    cpu = task_struct(w, p).cpu
    update_rq_clock(w, cpu, now_ns)
    ret = yield_to_begin(w, cpu, to)
    if ret > 0:
        yield_to_end(w, cpu, to)
        schedule(w, cpu)
    settle(w, cpu, now_ns)
    return ret


@entry_point
def renice(w, p, nice, now_ns):
    """Somebody changes a task's nice value."""
    cpu = task_struct(w, p).cpu
    update_rq_clock(w, cpu, now_ns)
    core.set_user_nice(w, p, nice)
    settle(w, 0, now_ns)
    return 0


@entry_point
def set_shares(w, tg, weight, now_ns):
    """Somebody writes a group's weight, in scaled units."""
    for cpu in range(sched_tunables(w).nr_cpus):
        update_rq_clock(w, cpu, now_ns)
    sched_group_set_shares(w, tg, weight)
    settle(w, 0, now_ns)
    return 0


@entry_point
def set_affinity(w, p, mask, now_ns):
    """Somebody changes the CPUs that a task may use."""
    update_rq_clock(w, task_struct(w, p).cpu, now_ns)
    affinity.set_cpus_allowed_ptr(w, p, mask, 0, 0, 0, 0)
    settle(w, 0, now_ns)
    return 0


@entry_point
def set_bandwidth(w, tg, quota_ns, period_ns, burst_ns, cpu, now_ns):
    """Somebody writes a group's cpu.max and cpu.max.burst, on a CPU."""
    tg_set_cfs_bandwidth(w, tg, quota_ns, period_ns, burst_ns, cpu, now_ns)
    settle(w, cpu, now_ns)
    return 0


@entry_point
def balance(w, cpu, sd, now_ns):
    """A CPU balances one of its domains; returns how many tasks came."""
    update_rq_clock(w, cpu, now_ns)
    moved = sched_balance_rq(w, cpu, sd, CPU_IDLE if cpu_rq(w, cpu).curr == NIL else CPU_NOT_IDLE)
    settle(w, cpu, now_ns)
    return moved
