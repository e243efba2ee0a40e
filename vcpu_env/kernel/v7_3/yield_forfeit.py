"""What a yielder gives up besides any penalty, of v7.3: in favour of all tasks of its CPU, its own VM's or not."""

from vcpu_env.base.jit import entry_point
from vcpu_env.kernel.types import cpu_rq, sched_entity
from vcpu_env.kernel.v7_3.entity import clear_buddies, entity_eligible, update_curr_eevdf
from vcpu_env.kernel.v7_3.fair import yield_task_fair
from vcpu_env.kernel.yield_types import FORFEIT_ALL, deboost_params, yield_decision


@entry_point
def forfeit(w, cpu):
    """The yielder's forfeit: all that is left of its request, or a part of it. Returns whether it gave up anything.

    Nothing where it has just been penalised, since that was charged to the same account.
    """
    part_1024, rq = deboost_params(w).forfeit_1024, cpu_rq(w, cpu)
    if yield_decision(w).applied:
        return 0
    if part_1024 == FORFEIT_ALL:
        return yield_task_fair(w, cpu)
    if rq.nr_running == 1:
        return 0
    clear_buddies(w, cpu, rq.curr)
    update_curr_eevdf(w, cpu)
    if not entity_eligible(w, cpu, rq.curr):
        return 0
    se = sched_entity(w, rq.curr)
    se.vruntime += (se.deadline - se.vruntime) * part_1024 >> 10
    return 1
