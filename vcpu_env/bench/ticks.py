"""The scheduler alone: CPU-bound tasks on one CPU, every tick executed. The yardstick for the cost of kernel code."""

from vcpu_env.base.jit import kjit
from vcpu_env.base.world import World
from vcpu_env.kernel.build import Group, Task, build_kernel
from vcpu_env.kernel.core import sched_tick, schedule, update_rq_clock, wake_up_new_task
from vcpu_env.kernel.types import cpu_rq, kernel_arrays, sched_tunables
from vcpu_env.kernel.yield_types import init_yield, yield_arrays


def fair_ticks_world(nr_tasks: int, grouped: bool) -> World:
    """One CPU with nice-0 tasks, running, in the root group or each in a group of its own."""
    nr_groups = nr_tasks if grouped else 0
    world = World([*kernel_arrays(1, nr_tasks, nr_groups), *yield_arrays()])
    tasks = [Task(group=1 + p if grouped else 0) for p in range(nr_tasks)]
    build_kernel(world, 1, tasks, [Group()] * nr_groups)
    world["sched_tunables"]["base_slice_ns"] = 2_800_000
    init_yield(world)
    for p in range(nr_tasks):
        wake_up_new_task(world.handle, p, 0)
    schedule(world.handle, 0)
    return world


@kjit
def fair_ticks(w, ticks):
    """Let `ticks` ticks pass, with the reschedules they ask for."""
    rq, tick_ns = cpu_rq(w, 0), sched_tunables(w).tick_ns
    for _ in range(ticks):
        update_rq_clock(w, 0, rq.clock_ns + tick_ns)
        sched_tick(w, 0)
        if rq.need_resched:
            schedule(w, 0)
