"""What the real-time class takes from a CPU, as the fair class sees it when it balances: less capacity."""

from vcpu_env.base.jit import kjit
from vcpu_env.kernel.pelt import SCHED_CAPACITY_SCALE, ___update_load_avg, ___update_load_sum
from vcpu_env.kernel.rt_types import rt_rq
from vcpu_env.kernel.types import cpu_rq, sched_tunables


@kjit
def update_rt_rq_load_avg(w, cpu, running):
    """pelt.c: update_rt_rq_load_avg(). Age a CPU's use by real-time tasks; `running`: one has run since then."""
    rt = rt_rq(w, cpu)
    if ___update_load_sum(cpu_rq(w, cpu).clock_ns, rt, running, running, running != 0):
        ___update_load_avg(rt, 1)


@kjit
def capacity_of(w, cpu):
    """fair.c: scale_rt_capacity(). What is left to fair tasks, of 1024; always looked up, not once a balance."""
    if sched_tunables(w).rt_used == 0:
        return SCHED_CAPACITY_SCALE
    return max(SCHED_CAPACITY_SCALE - rt_rq(w, cpu).util_avg, 1)


@kjit
def has_reduced_capacity(w, cpu, imbalance_pct):
    """fair.c: check_cpu_capacity(). Whether other classes take so much of a CPU that its fair tasks should leave."""
    return capacity_of(w, cpu) * imbalance_pct < SCHED_CAPACITY_SCALE * 100
