"""When CPUs balance: about to go idle, at ticks while they are busy (`kernel.nohz` has the idle ones)."""

from vcpu_env.base.jit import NIL, entry_point, kjit
from vcpu_env.base.random import CPU_NEWIDLE, draw_of
from vcpu_env.kernel import balance
from vcpu_env.kernel.clock import jiffies_ns
from vcpu_env.kernel.domain_types import lb_env, newidle_dice, nohz, sched_domain
from vcpu_env.kernel.find_busiest import CPU_IDLE, CPU_NEWLY_IDLE, CPU_NOT_IDLE
from vcpu_env.kernel.group_stats import idle_cpu
from vcpu_env.kernel.load_avg import update_blocked_averages
from vcpu_env.kernel.select_idlest import sched_idle_cpu
from vcpu_env.kernel.types import NSEC_PER_SEC, cpu_rq, rq_totals, sched_features, sched_tunables

BUSY_FACTOR = 16
NSEC_PER_MSEC = 1_000_000
MAX_BALANCE_WAIT_NS = 60 * NSEC_PER_SEC


@entry_point
def sched_balance_rq(w, cpu, sd, idle):
    """`balance.sched_balance_rq`, by symbol: large, and reached from ticks as well as from schedule()."""
    return balance.sched_balance_rq(w, cpu, sd, idle)


@kjit
def get_sd_balance_interval(w, sd_id, busy):
    """fair.c: get_sd_balance_interval(). How long (ns, whole ticks) a CPU waits between two balances of a domain."""
    tun = sched_tunables(w)
    interval = sched_domain(w, sd_id).balance_interval_ms * NSEC_PER_MSEC
    if busy:
        interval *= BUSY_FACTOR
    ticks = (interval + tun.tick_ns - 1) // tun.tick_ns
    if busy:
        ticks -= 1
    return min(max(ticks, 1), tun.hz * tun.nr_cpus // 10) * tun.tick_ns


@kjit
def throw_dice(w, cpu):
    """A draw of 0..1023 for the CPU's next attempt.

    A replay takes the recorded draws, one after the other, as long as there are any.
    """
    rq, totals = cpu_rq(w, cpu), rq_totals(w)
    if totals.nr_dice < sched_tunables(w).recorded_dice:
        totals.nr_dice += 1
        return newidle_dice(w, totals.nr_dice - 1).value
    rq.newidle_draws += 1
    return draw_of(w, CPU_NEWIDLE, cpu, rq.newidle_draws) >> 22


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
    if not sched_features(w).NI_RANDOM:
        return 1
    ratio = 1 + sd.newidle_ratio
    if throw_dice(w, cpu) > ratio:
        return 0
    return (1024 + ratio // 2) // ratio


@kjit
def update_next_balance(w, sd_id, next_balance):
    """fair.c: update_next_balance(). A CPU that goes idle wants to be served when this domain is due."""
    return min(next_balance, sched_domain(w, sd_id).last_balance_ns + get_sd_balance_interval(w, sd_id, False))


@kjit
def newidle_domains(w, cpu):
    """fair.c: sched_balance_newidle(), the walk up the domains until a task has come or the time is too dear.

    Returns whether a task has come, and when the CPU has to be served at the latest.
    """
    rq, cost_ns = cpu_rq(w, cpu), sched_tunables(w).newidle_cost_ns
    spent_ns, sd_id, next_balance = 0, rq.sd, jiffies_ns(w) + NSEC_PER_SEC
    while sd_id != NIL:
        sd = sched_domain(w, sd_id)
        next_balance = update_next_balance(w, sd_id, next_balance)
        if rq.avg_idle_ns < spent_ns + cost_ns:
            break
        weight = newidle_weight(w, cpu, sd)
        if weight == 0:
            update_newidle_stats(sd, 0)
        else:
            pulled = sched_balance_rq(w, cpu, sd_id, CPU_NEWLY_IDLE) > 0
            spent_ns += cost_ns
            if cost_ns:  # in the kernel a balance that took no measurable time is not counted
                update_newidle_stats(sd, weight if pulled else 0)
            if pulled or not lb_env(w).continue_balancing:
                return pulled, next_balance
        sd_id = sd.parent
    return False, next_balance


@kjit
def nohz_newidle_balance(w, cpu):
    """fair.c: nohz_newidle_balance(). Whether the CPU should age the load of idle CPUs before it goes idle itself."""
    rq, idle = cpu_rq(w, cpu), nohz(w)
    long_idle = rq.avg_idle_ns >= sched_tunables(w).migration_cost_ns
    return long_idle and idle.has_blocked != 0 and jiffies_ns(w) >= idle.next_blocked_ns


@kjit
def sched_balance_newidle(w, cpu):
    """fair.c: sched_balance_newidle(). A CPU with nothing to run looks for a task elsewhere; returns whether one came.

    Not if it is usually idle too briefly for that, and, by dice, the less often the less it has helped.
    """
    rq, tun = cpu_rq(w, cpu), sched_tunables(w)
    if rq.ttwu_pending:
        return False
    rq.idle_stamp_ns = rq.clock_ns
    if rq.sd == NIL:
        return False
    pulled = False
    if rq_totals(w).overloaded and rq.avg_idle_ns >= tun.newidle_cost_ns:
        update_blocked_averages(w, cpu)
        pulled, next_balance = newidle_domains(w, cpu)
        pulled = pulled or rq.nr_running > 0
    else:
        next_balance = update_next_balance(w, rq.sd, jiffies_ns(w) + NSEC_PER_SEC)
    rq.next_balance_ns = min(rq.next_balance_ns, next_balance)
    if pulled:
        rq.idle_stamp_ns = NIL
    elif nohz_newidle_balance(w, cpu):
        rq.nohz_newidle = 1
    return pulled


@kjit
def sched_balance_domains(w, cpu, idle):
    """fair.c: sched_balance_domains(). Balance those of a CPU's domains whose intervals have passed.

    Where another CPU of its group does that, the CPU leaves the larger domains alone, too. A CPU that runs only tasks
    of idle policy or idle groups is not busy.
    """
    rq, now = cpu_rq(w, cpu), jiffies_ns(w)
    next_balance, sd_id = now + MAX_BALANCE_WAIT_NS, rq.sd
    busy = idle != CPU_IDLE and not sched_idle_cpu(w, cpu)
    continue_balancing = 1
    while sd_id != NIL and continue_balancing:
        sd = sched_domain(w, sd_id)
        if now - sd.last_balance_ns >= get_sd_balance_interval(w, sd_id, busy):
            if sched_balance_rq(w, cpu, sd_id, idle):
                idle = CPU_IDLE if idle_cpu(w, cpu) else CPU_NOT_IDLE
                busy = idle != CPU_IDLE and not sched_idle_cpu(w, cpu)
            continue_balancing = lb_env(w).continue_balancing
            sd.last_balance_ns = now
        next_balance = min(next_balance, sd.last_balance_ns + get_sd_balance_interval(w, sd_id, busy))
        sd_id = sd.parent
    rq.next_balance_ns = next_balance
