"""The scheduler as the rest of the machine calls it: each function compiled once, reached by symbol.

What it imports has all entry points of this folder: they are compiled together.
"""

from vcpu_env.base.jit import entry_point
from vcpu_env.kernel import affinity, cgroup, core, sched_change  # noqa: F401


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


@entry_point
def set_cpus_allowed(w, p, word0, word1, word2, word3, cpu):
    """`affinity.set_cpus_allowed`."""
    return affinity.set_cpus_allowed(w, p, word0, word1, word2, word3, cpu)


@entry_point
def migration_cpu_stop(w, cpu, dst):
    """`core.migration_cpu_stop`."""
    return core.migration_cpu_stop(w, cpu, dst)


@entry_point
def sched_move_task(w, p, tg):
    """`sched_change.sched_move_task`."""
    sched_change.sched_move_task(w, p, tg)
    return 0


@entry_point
def sched_setscheduler(w, p, policy):
    """`sched_change.sched_setscheduler`."""
    sched_change.sched_setscheduler(w, p, policy)
    return 0


@entry_point
def set_user_nice(w, p, nice):
    """`core.set_user_nice`."""
    core.set_user_nice(w, p, nice)
    return 0
