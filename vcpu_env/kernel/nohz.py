"""Balancing for idle CPUs, which have no tick: a busy CPU's tick wakes one of them, and that one serves them all.

It also lets the load of idle CPUs age, which they do not do themselves. That a CPU is idle no longer is noticed at its
next tick.
"""

from vcpu_env.base.jit import kjit
from vcpu_env.kernel.balance_trigger import MAX_BALANCE_WAIT_NS, sched_balance_domains
from vcpu_env.kernel.clock import jiffies_ns, sched_clock, update_rq_clock
from vcpu_env.kernel.domain_types import nohz, sched_domain_shared
from vcpu_env.kernel.find_busiest import CPU_IDLE, CPU_NOT_IDLE
from vcpu_env.kernel.group_stats import idle_cpu
from vcpu_env.kernel.load_avg import update_blocked_averages
from vcpu_env.kernel.resched import smp_call_function_single_async
from vcpu_env.kernel.types import CSD_NOHZ, cpu_rq, sched_tunables

BLOCKED_LOAD_INTERVAL_MS = 32
NOHZ_BALANCE_KICK, NOHZ_STATS_KICK, NOHZ_NEXT_KICK = 0x1, 0x2, 0x8


@kjit
def nohz_balance_enter_idle(w, cpu):
    """fair.c: nohz_balance_enter_idle(). A CPU has gone idle: its tick stops."""
    rq, idle = cpu_rq(w, cpu), nohz(w)
    rq.has_blocked_load = 1
    if rq.nohz_tick_stopped == 0:
        rq.nohz_tick_stopped = 1
        idle.nr_cpus += 1
        sched_domain_shared(w, rq.llc).nr_busy_cpus -= 1
        idle.needs_update = 1
    idle.has_blocked = 1


@kjit
def nohz_balance_exit_idle(w, cpu):
    """fair.c: nohz_balance_exit_idle(). The first tick of a CPU that is not idle any more."""
    rq = cpu_rq(w, cpu)
    if rq.nohz_tick_stopped:
        rq.nohz_tick_stopped = 0
        nohz(w).nr_cpus -= 1
        sched_domain_shared(w, rq.llc).nr_busy_cpus += 1


@kjit
def kick_ilb(w, cpu, flags):
    """fair.c: kick_ilb(), find_new_ilb(). Send an IPI to the first idle CPU, to balance for all of them."""
    if flags & NOHZ_BALANCE_KICK:
        nohz(w).next_balance_ns = jiffies_ns(w) + sched_tunables(w).tick_ns
    for other in range(sched_tunables(w).nr_cpus):
        rq = cpu_rq(w, other)
        if rq.nohz_tick_stopped and other != cpu and idle_cpu(w, other):
            rq.nohz_flags |= flags
            smp_call_function_single_async(w, other, CSD_NOHZ)
            return


@kjit
def nohz_balancer_kick(w, cpu):
    """fair.c: nohz_balancer_kick(). At a busy CPU's tick: what is to be done for the idle CPUs, if there are any."""
    rq, idle = cpu_rq(w, cpu), nohz(w)
    nohz_balance_exit_idle(w, cpu)
    if idle.nr_cpus == 0:
        return
    now, flags = jiffies_ns(w), 0
    if idle.has_blocked and now > idle.next_blocked_ns:
        flags = NOHZ_STATS_KICK
    if now >= idle.next_balance_ns and (rq.nr_running >= 2 or sched_domain_shared(w, rq.llc).nr_busy_cpus > 1):
        flags = NOHZ_STATS_KICK | NOHZ_BALANCE_KICK
    if idle.needs_update:
        flags |= NOHZ_NEXT_KICK
    if flags:
        kick_ilb(w, cpu, flags)


@kjit
def update_nohz_stats(w, cpu):
    """fair.c: update_nohz_stats(). Age the load of an idle CPU, once a jiffy; returns whether any is left."""
    rq = cpu_rq(w, cpu)
    if rq.has_blocked_load == 0 or rq.nohz_tick_stopped == 0:
        return False
    if jiffies_ns(w) > rq.last_blocked_load_update_ns:
        update_rq_clock(w, cpu, sched_clock(w))
        update_blocked_averages(w, cpu)
    return rq.has_blocked_load != 0


@kjit
def _nohz_idle_balance(w, this_cpu, flags):
    """fair.c: _nohz_idle_balance(). Serve all idle CPUs, from the next one round, until there is work to do here."""
    nr_cpus, now, idle = sched_tunables(w).nr_cpus, jiffies_ns(w), nohz(w)
    next_balance = unset = now + MAX_BALANCE_WAIT_NS
    blocked = False
    stats = flags & NOHZ_STATS_KICK
    if stats:
        idle.has_blocked = 0
    if flags & NOHZ_NEXT_KICK:
        idle.needs_update = 0
    cpu, finished = this_cpu, True
    for _ in range(nr_cpus):
        cpu = cpu + 1 if cpu + 1 < nr_cpus else 0
        rq = cpu_rq(w, cpu)
        if rq.nohz_tick_stopped == 0 or not idle_cpu(w, cpu):
            continue
        if not idle_cpu(w, this_cpu) and cpu_rq(w, this_cpu).need_resched:
            finished = False
            break
        if stats and update_nohz_stats(w, cpu):
            blocked = True
        if now >= rq.next_balance_ns:
            update_rq_clock(w, cpu, sched_clock(w))
            if flags & NOHZ_BALANCE_KICK:
                sched_balance_domains(w, cpu, CPU_IDLE)
        next_balance = min(next_balance, rq.next_balance_ns)
    if finished:
        if next_balance < unset:
            idle.next_balance_ns = next_balance
        if stats:
            tick_ns = sched_tunables(w).tick_ns
            idle.next_blocked_ns = now + (BLOCKED_LOAD_INTERVAL_MS * 1_000_000 + tick_ns - 1) // tick_ns * tick_ns
    elif flags & NOHZ_NEXT_KICK:
        idle.needs_update = 1
    if blocked or (stats and not finished):
        idle.has_blocked = 1


@kjit
def nohz_idle_balance(w, cpu):
    """fair.c: nohz_csd_func(), nohz_idle_balance(). An IPI that asks a CPU to balance for the idle ones arrives."""
    rq = cpu_rq(w, cpu)
    flags, rq.nohz_flags = rq.nohz_flags, 0
    rq.csd_pending &= ~CSD_NOHZ
    if idle_cpu(w, cpu):
        _nohz_idle_balance(w, cpu, flags)


@kjit
def enter_idle(w, cpu):
    """idle.c: do_idle(), its part in balancing: nohz_run_idle_balance(), tick_nohz_stop_tick()."""
    if sched_tunables(w).nr_cpus == 1:
        return
    rq = cpu_rq(w, cpu)
    if rq.nohz_newidle:
        rq.nohz_newidle = 0
        if rq.need_resched == 0:
            _nohz_idle_balance(w, cpu, NOHZ_STATS_KICK)
    nohz_balance_enter_idle(w, cpu)


@kjit
def sched_balance_trigger(w, cpu):
    """fair.c: sched_balance_trigger(), sched_balance_softirq(). The tick's part in balancing."""
    if sched_tunables(w).nr_cpus == 1:
        return
    rq = cpu_rq(w, cpu)
    due = jiffies_ns(w) >= rq.next_balance_ns
    nohz_balancer_kick(w, cpu)
    if due:
        update_blocked_averages(w, cpu)
        sched_balance_domains(w, cpu, CPU_NOT_IDLE)
