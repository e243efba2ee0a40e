"""When CPUs balance: about to go idle, at the tick of a busy CPU, and, for idle CPUs, at the tick of some busy one.

An idle CPU has no tick. A busy CPU's tick finds out, at most as often as the idle CPUs' intervals ask for it, that
somebody is idle, and lets all idle CPUs balance (the kernel wakes one of them to do that for the others).
"""

from vcpu_env._jit import NIL, entry_point, kjit
from vcpu_env.kernel import balance
from vcpu_env.kernel.balance import CPU_IDLE, CPU_NEWLY_IDLE, CPU_NOT_IDLE
from vcpu_env.kernel.pelt import update_blocked_averages
from vcpu_env.kernel.runqueue import update_rq_clock
from vcpu_env.kernel.select_cpu import idle_cpu, idle_for_wakeup
from vcpu_env.kernel.types import cpu_rq, sched_domain_shared, sched_features, sched_tunables
from vcpu_env.kernel.weights import logical_shift_right

BUSY_FACTOR = 16
NSEC_PER_MSEC = 1_000_000
BLOCKED_LOAD_INTERVAL_NS = 32 * NSEC_PER_MSEC
NOHZ_STATS_KICK, NOHZ_BALANCE_KICK = 1, 2


@entry_point
def sched_balance_rq(w, cpu, idle):
    """`balance.sched_balance_rq`, by symbol: large, and reached from ticks as well as from schedule()."""
    return balance.sched_balance_rq(w, cpu, idle)


@kjit
def sched_balance_interval(w, cpu, idle):
    """fair.c: get_sd_balance_interval(). How long (ns) a CPU waits between two balances; longer if it is busy.

    A CPU that runs only tasks of idle groups is not.
    """
    tun = sched_tunables(w, 0)
    interval = cpu_rq(w, cpu).balance_interval_ms * NSEC_PER_MSEC
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
def update_newidle_stats(rq, success):
    """fair.c: update_newidle_stats(). The share of attempts that found something, over the last 1024 or so."""
    rq.newidle_call += 1
    rq.newidle_success += success
    if rq.newidle_call >= 1024:
        rq.newidle_ratio = rq.newidle_success
        rq.newidle_call >>= 1
        rq.newidle_success >>= 1


@kjit
def any_overloaded(w):
    """Whether any CPU has a second task (the root domain's ``overloaded``, not remembered but looked up)."""
    for cpu in range(sched_tunables(w, 0).nr_cpus):
        if cpu_rq(w, cpu).nr_running > 1:
            return True
    return False


@kjit
def sched_balance_newidle(w, cpu):
    """fair.c: sched_balance_newidle(). A CPU with nothing to run looks for a task elsewhere; returns whether one came.

    Not if it is usually idle too briefly for that, and, by dice, the less often the less it has helped.
    """
    rq, tun = cpu_rq(w, cpu), sched_tunables(w, 0)
    if tun.nr_cpus == 1:
        return False
    rq.idle_stamp_ns = rq.clock_ns
    rq.next_balance_ns = min(rq.next_balance_ns, rq.last_balance_ns + sched_balance_interval(w, cpu, CPU_IDLE))
    if rq.avg_idle_ns >= tun.newidle_cost_ns and any_overloaded(w):
        update_blocked_averages(w, cpu)
        weight = 1
        if sched_features(w, 0).NI_RANDOM:
            ratio = 1 + rq.newidle_ratio
            weight = (1024 + ratio // 2) // ratio
            if newidle_dice(w, cpu) > ratio:
                weight = 0
        pulled = weight > 0 and sched_balance_rq(w, cpu, CPU_NEWLY_IDLE) > 0
        update_newidle_stats(rq, weight if pulled else 0)
        if pulled:
            rq.idle_stamp_ns = 0
            return True
    shared = sched_domain_shared(w, 0)
    shared.nohz_next_balance_ns = min(shared.nohz_next_balance_ns, rq.next_balance_ns)
    return False


@kjit
def sched_balance_domains(w, cpu, idle):
    """fair.c: sched_balance_domains(). Balance one CPU if its interval has passed."""
    rq = cpu_rq(w, cpu)
    now = rq.clock_ns
    if now - rq.last_balance_ns >= sched_balance_interval(w, cpu, idle):
        if sched_balance_rq(w, cpu, idle):
            idle = CPU_IDLE if idle_cpu(w, cpu) else CPU_NOT_IDLE
        rq.last_balance_ns = now
    rq.next_balance_ns = rq.last_balance_ns + sched_balance_interval(w, cpu, idle)


@kjit
def nohz_balancer_kick(w, cpu):
    """fair.c: nohz_balancer_kick(). At a busy CPU's tick: what is to be done for the idle CPUs, if there are any."""
    rq, shared, nr_cpus = cpu_rq(w, cpu), sched_domain_shared(w, 0), sched_tunables(w, 0).nr_cpus
    now = rq.clock_ns
    stats, balance = now > shared.nohz_next_blocked_ns, now >= shared.nohz_next_balance_ns
    if rq.curr == NIL or not (stats or balance):
        return 0
    busy = 0
    for other in range(nr_cpus):
        if not idle_cpu(w, other):
            busy += 1
    if busy == nr_cpus:
        return 0
    if balance and (rq.nr_running >= 2 or busy > 1):
        return NOHZ_BALANCE_KICK
    return NOHZ_STATS_KICK if stats else 0


@kjit
def sched_balance_trigger(w, cpu):
    """fair.c: sched_balance_trigger(), sched_balance_softirq(), _nohz_idle_balance(). The tick's part in balancing.

    The CPU itself balances if it is time, then the idle CPUs, from the next one round, if one of them has to be served.
    """
    nr_cpus, shared, now = sched_tunables(w, 0).nr_cpus, sched_domain_shared(w, 0), cpu_rq(w, cpu).clock_ns
    if nr_cpus == 1:
        return
    kick = nohz_balancer_kick(w, cpu)
    due = now >= cpu_rq(w, cpu).next_balance_ns
    next_balance = now + 60_000 * NSEC_PER_MSEC
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
        shared.nohz_next_blocked_ns = now + BLOCKED_LOAD_INTERVAL_NS
    if kick == NOHZ_BALANCE_KICK:
        shared.nohz_next_balance_ns = next_balance
