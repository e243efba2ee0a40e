"""When CPUs balance: about to go idle, at the tick of a busy CPU, and, for idle CPUs, at the tick of some busy one.

An idle CPU has no tick. A busy CPU's tick finds out, at most as often as the idle CPUs' intervals ask for it, that
somebody is idle, and lets all idle CPUs balance (the kernel wakes one of them to do that for the others).
"""

from vcpu_env._jit import NIL, entry_point, kjit
from vcpu_env.kernel import balance
from vcpu_env.kernel.domain_types import lb_env, nohz, sched_domain, sched_domain_shared
from vcpu_env.kernel.find_busiest import CPU_IDLE, CPU_NEWLY_IDLE, CPU_NOT_IDLE
from vcpu_env.kernel.group_stats import idle_cpu
from vcpu_env.kernel.pelt import update_blocked_averages
from vcpu_env.kernel.runqueue import update_rq_clock
from vcpu_env.kernel.select_cpu import idle_for_wakeup
from vcpu_env.kernel.types import cpu_rq, rq_totals, sched_features, sched_tunables
from vcpu_env.kernel.weights import logical_shift_right

BUSY_FACTOR = 16
NSEC_PER_MSEC = 1_000_000
MAX_BALANCE_WAIT_NS = 60_000 * NSEC_PER_MSEC
BLOCKED_LOAD_INTERVAL_NS = 32 * NSEC_PER_MSEC
NOHZ_STATS_KICK, NOHZ_BALANCE_KICK = 1, 2


@entry_point
def sched_balance_rq(w, cpu, sd, idle):
    """`balance.sched_balance_rq`, by symbol: large, and reached from ticks as well as from schedule()."""
    return balance.sched_balance_rq(w, cpu, sd, idle)


@kjit
def sched_balance_interval(w, cpu, sd, idle):
    """fair.c: get_sd_balance_interval(). How long (ns) a CPU waits between two balances of a domain; longer if busy.

    A CPU that runs only tasks of idle groups is not.
    """
    tun = sched_tunables(w, 0)
    interval = sched_domain(w, sd).balance_interval_ms * NSEC_PER_MSEC
    if idle == CPU_NOT_IDLE and not idle_for_wakeup(w, cpu):
        interval = interval * BUSY_FACTOR - tun.tick_ns
    return min(max(interval, tun.tick_ns), tun.nr_cpus * 100 * NSEC_PER_MSEC)


@kjit
def newidle_dice(w, cpu):
    """A draw of 0..1023 for the CPU's next attempt: a hash of the CPU and the number of its draws."""
    rq = cpu_rq(w, cpu)
    rq.newidle_draws += 1
    x = (rq.newidle_draws << 8 | cpu) * -7046029254386353131
    x = (x ^ logical_shift_right(x, 32)) * -4658895280553007687
    return logical_shift_right(x ^ logical_shift_right(x, 29), 54)


@kjit
def update_newidle_stats(sd, success):
    """fair.c: update_newidle_stats(). The share of attempts that found something, over the last 1024 or so."""
    sd.newidle_call += 1
    sd.newidle_success += success
    if sd.newidle_call >= 1024:
        sd.newidle_ratio = sd.newidle_success
        sd.newidle_call >>= 1
        sd.newidle_success >>= 1


@kjit
def newidle_weight(w, cpu, sd):
    """fair.c: sched_balance_newidle(), NI_RANDOM. What a success of this attempt counts for; 0: no attempt, by dice."""
    if not sched_features(w, 0).NI_RANDOM:
        return 1
    ratio = 1 + sd.newidle_ratio
    if newidle_dice(w, cpu) > ratio:
        return 0
    return (1024 + ratio // 2) // ratio


@kjit
def update_next_balance(w, cpu, sd_id):
    """fair.c: update_next_balance(). The CPU, idle from now on, wants to be served when this domain is due."""
    due = sched_domain(w, sd_id).last_balance_ns + sched_balance_interval(w, cpu, sd_id, CPU_IDLE)
    rq = cpu_rq(w, cpu)
    rq.next_balance_ns = min(rq.next_balance_ns, due)


@kjit
def newidle_domains(w, cpu):
    """fair.c: sched_balance_newidle(), the walk up the domains until a task has come or the time is too dear."""
    rq, cost_ns = cpu_rq(w, cpu), sched_tunables(w, 0).newidle_cost_ns
    spent_ns, sd_id = 0, rq.sd
    while sd_id != NIL:
        sd = sched_domain(w, sd_id)
        update_next_balance(w, cpu, sd_id)
        if rq.avg_idle_ns < spent_ns + cost_ns:
            return False
        weight = newidle_weight(w, cpu, sd)
        pulled = weight > 0 and sched_balance_rq(w, cpu, sd_id, CPU_NEWLY_IDLE) > 0
        update_newidle_stats(sd, weight if pulled else 0)
        if pulled:
            return True
        if weight > 0:
            spent_ns += cost_ns
        sd_id = sd.parent
    return False


@kjit
def sched_balance_newidle(w, cpu):
    """fair.c: sched_balance_newidle(). A CPU with nothing to run looks for a task elsewhere; returns whether one came.

    Not if it is usually idle too briefly for that, and, by dice, the less often the less it has helped.
    """
    rq, tun = cpu_rq(w, cpu), sched_tunables(w, 0)
    if rq.sd == NIL:
        return False
    rq.idle_stamp_ns = rq.clock_ns
    if rq.avg_idle_ns >= tun.newidle_cost_ns and rq_totals(w, 0).nr_overloaded_cpus > 0:
        update_blocked_averages(w, cpu)
        if newidle_domains(w, cpu):
            rq.idle_stamp_ns = 0
            return True
    else:
        update_next_balance(w, cpu, rq.sd)
    idle = nohz(w, 0)
    idle.next_balance_ns = min(idle.next_balance_ns, rq.next_balance_ns)
    return False


@kjit
def sched_balance_domains(w, cpu, idle):
    """fair.c: sched_balance_domains(). Balance those of a CPU's domains whose intervals have passed.

    Where another CPU of its group does that, the CPU leaves the larger domains alone, too.
    """
    rq = cpu_rq(w, cpu)
    now = rq.clock_ns
    next_balance = now + MAX_BALANCE_WAIT_NS
    continue_balancing, sd_id = 1, rq.sd
    while sd_id != NIL and continue_balancing:
        sd = sched_domain(w, sd_id)
        if now - sd.last_balance_ns >= sched_balance_interval(w, cpu, sd_id, idle):
            if sched_balance_rq(w, cpu, sd_id, idle):
                idle = CPU_IDLE if idle_cpu(w, cpu) else CPU_NOT_IDLE
            continue_balancing = lb_env(w, 0).continue_balancing
            sd.last_balance_ns = now
        next_balance = min(next_balance, sd.last_balance_ns + sched_balance_interval(w, cpu, sd_id, idle))
        sd_id = sd.parent
    rq.next_balance_ns = next_balance


@kjit
def nohz_balancer_kick(w, cpu):
    """fair.c: nohz_balancer_kick(). At a busy CPU's tick: what is to be done for the idle CPUs, if there are any."""
    rq, idle = cpu_rq(w, cpu), nohz(w, 0)
    now = rq.clock_ns
    stats, balance = now > idle.next_blocked_ns, now >= idle.next_balance_ns
    if rq.curr == NIL or not (stats or balance):
        return 0
    if rq_totals(w, 0).nr_busy_cpus == sched_tunables(w, 0).nr_cpus:
        return 0
    if balance and (rq.nr_running >= 2 or sched_domain_shared(w, rq.llc).nr_busy_cpus > 1):
        return NOHZ_BALANCE_KICK
    return NOHZ_STATS_KICK if stats else 0


@kjit
def sched_balance_trigger(w, cpu):
    """fair.c: sched_balance_trigger(), sched_balance_softirq(), _nohz_idle_balance(). The tick's part in balancing.

    The CPU itself balances if it is time, then the idle CPUs, from the next one round, if one of them has to be served.
    """
    nr_cpus, now = sched_tunables(w, 0).nr_cpus, cpu_rq(w, cpu).clock_ns
    if nr_cpus == 1:
        return
    kick = nohz_balancer_kick(w, cpu)
    due = now >= cpu_rq(w, cpu).next_balance_ns
    next_balance = now + MAX_BALANCE_WAIT_NS
    other = cpu
    for _ in range(nr_cpus if kick else 1):
        rq, idle = cpu_rq(w, other), idle_cpu(w, other)
        if (other == cpu and due) or (other != cpu and idle):
            update_rq_clock(w, other, now)
            update_blocked_averages(w, other)
            if now >= rq.next_balance_ns and (other == cpu or kick == NOHZ_BALANCE_KICK):
                sched_balance_domains(w, other, CPU_IDLE if idle else CPU_NOT_IDLE)
            if idle:
                next_balance = min(next_balance, rq.next_balance_ns)
        other = other + 1 if other + 1 < nr_cpus else 0
    if kick:
        nohz(w, 0).next_blocked_ns = now + BLOCKED_LOAD_INTERVAL_NS
    if kick == NOHZ_BALANCE_KICK:
        nohz(w, 0).next_balance_ns = next_balance
