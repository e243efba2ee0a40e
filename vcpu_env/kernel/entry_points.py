"""The scheduler as the rest of the machine calls it: each function of `core` compiled once, reached by symbol."""

from vcpu_env._jit import entry_point
from vcpu_env.kernel import core


@entry_point
def schedule(w, cpu):
    """`core.schedule`."""
    return core.schedule(w, cpu)


@entry_point
def block_task(w, cpu, state):
    """`core.block_task`."""
    return core.block_task(w, cpu, state)


@entry_point
def sched_tick(w, cpu):
    """`core.sched_tick`."""
    core.sched_tick(w, cpu)
    return 0


@entry_point
def try_to_wake_up(w, p, waker_cpu, wake_flags):
    """`core.try_to_wake_up`."""
    return core.try_to_wake_up(w, p, waker_cpu, wake_flags)


@entry_point
def flush_smp_call_function_queue(w, cpu):
    """`core.flush_smp_call_function_queue`."""
    core.flush_smp_call_function_queue(w, cpu)
    return 0


@entry_point
def wake_up_new_task(w, p, cpu):
    """`core.wake_up_new_task`."""
    core.wake_up_new_task(w, p, cpu)
    return 0


@entry_point
def sched_yield(w, cpu):
    """`core.sched_yield`."""
    core.sched_yield(w, cpu)
    return 0


@entry_point
def yield_to_begin(w, cpu, p):
    """`core.yield_to_begin`."""
    return core.yield_to_begin(w, cpu, p)


@entry_point
def yield_to_end(w, cpu, p):
    """`core.yield_to_end`."""
    core.yield_to_end(w, cpu, p)
    return 0
