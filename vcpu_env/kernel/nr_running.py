"""How many tasks a CPU has, and all CPUs have."""

from vcpu_env.base.jit import kjit
from vcpu_env.kernel.types import cfs_rq, cpu_rq, rq_totals


@kjit
def add_nr_running(w, cpu, count):
    """sched.h: add_nr_running(), sub_nr_running()."""
    rq, totals = cpu_rq(w, cpu), rq_totals(w)
    before = rq.nr_running
    rq.nr_running += count
    totals.nr_running += count
    if (before > 0) != (rq.nr_running > 0):
        totals.nr_busy_cpus += 1 if before == 0 else -1
    if rq.nr_running > 1:
        totals.overloaded = 1


@kjit
def sched_idle_rq(w, cpu):
    """fair.c: sched_idle_rq(). Whether a CPU has tasks, all of them of idle policy or in idle groups."""
    h_nr_idle = cfs_rq(w, cpu).h_nr_idle
    return h_nr_idle != 0 and h_nr_idle == cpu_rq(w, cpu).nr_running
