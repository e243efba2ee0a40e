"""The time that all CPUs have in common, beside each CPU's own clock, which may be a little old."""

from vcpu_env.base.jit import kjit
from vcpu_env.kernel.types import cpu_rq, rq_totals, sched_tunables


@kjit
def update_rq_clock(w, cpu, now_ns):
    """core.c: update_rq_clock(). Let a CPU's clock be `now_ns`; it never goes back."""
    rq, totals = cpu_rq(w, cpu), rq_totals(w)
    if now_ns > rq.clock_ns:
        rq.clock_ns = now_ns
        totals.now_ns = max(totals.now_ns, now_ns)


@kjit
def schedule_clock(w, cpu, now_ns):
    """core.c: __schedule(), the clock: as above, unless the CPU is to skip one update (RQCF_REQ_SKIP)."""
    rq = cpu_rq(w, cpu)
    if rq.clock_skip:
        rq.clock_skip = 0
        set_time(w, now_ns)
    else:
        update_rq_clock(w, cpu, now_ns)


@kjit
def set_time(w, now_ns):
    """The time is `now_ns`, though no CPU may have looked yet."""
    rq_totals(w).now_ns = max(rq_totals(w).now_ns, now_ns)


@kjit
def sched_clock(w):
    """sched_clock_cpu(). The time."""
    return rq_totals(w).now_ns


@kjit
def jiffies_ns(w):
    """jiffies, as ns: when the last tick was due."""
    now_ns = rq_totals(w).now_ns
    return now_ns - now_ns % sched_tunables(w).tick_ns
