"""Asking a CPU to reschedule, or to run a function: what is asked of another CPU goes by interrupt."""

from vcpu_env.base.jit import NIL, kjit
from vcpu_env.kernel.types import TIF_NEED_RESCHED, TIF_NEED_RESCHED_LAZY, cpu_rq, kicked_cpus, sched_tunables


@kjit
def send_ipi(w, cpu):
    """A CPU joins the list, first sent first served, that `core.pop_kicked` empties; unless it waits there already."""
    rq = cpu_rq(w, cpu)
    if rq.kicked:
        return
    rq.kicked, rq.kicked_next = 1, NIL
    kicked = kicked_cpus(w)
    if kicked.head == NIL:
        kicked.head = cpu
    else:
        cpu_rq(w, kicked.tail).kicked_next = cpu
    kicked.tail = cpu


@kjit
def __resched_curr(w, cpu, bit):
    """core.c: __resched_curr(). Ask a CPU to reschedule, by interrupt if it is another one."""
    rq = cpu_rq(w, cpu)
    if rq.curr == NIL:
        bit = TIF_NEED_RESCHED
    if rq.need_resched & (bit | TIF_NEED_RESCHED):
        return
    rq.need_resched |= bit
    send_ipi(w, cpu)


@kjit
def smp_call_function_single_async(w, cpu, csd):
    """smp.c: smp_call_function_single_async(). Ask another CPU, by interrupt, to run a function, one of CSD_*."""
    cpu_rq(w, cpu).csd_pending |= csd
    send_ipi(w, cpu)


@kjit
def resched_curr(w, cpu):
    """core.c: resched_curr(). Reschedule at the next opportunity, by interrupt if the CPU is another one."""
    __resched_curr(w, cpu, TIF_NEED_RESCHED)


@kjit
def resched_curr_lazy(w, cpu):
    """core.c: resched_curr_lazy(). As resched_curr(), but without an interrupt under lazy preemption."""
    lazy = sched_tunables(w).preempt_lazy
    __resched_curr(w, cpu, TIF_NEED_RESCHED_LAZY if lazy else TIF_NEED_RESCHED)
